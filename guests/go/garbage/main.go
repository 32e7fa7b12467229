// Garbage keeps the collector busy: `garbage [MIB]` keeps that much alive (default 64), throws away four times as
// much on the way, and then checks every byte of what it kept. A host that touched a Go program's memory behind its
// back would show here.
package main

import (
	"os"
	"runtime"
	"strconv"
)

const piece = 64 << 10

// A list, so that the collector has pointers to follow.
type kept struct {
	bytes [piece]byte
	next  *kept
}

var thrown []byte

func main() {
	mib := 64
	if len(os.Args) > 1 {
		if n, err := strconv.Atoi(os.Args[1]); err == nil {
			mib = n
		}
	}
	pieces := mib << 20 / piece
	var last *kept
	for i := 0; i < pieces; i++ {
		last = &kept{next: last}
		for at := range last.bytes {
			last.bytes[at] = byte(i + at)
		}
		for range 4 {
			thrown = make([]byte, piece)
			thrown[i%piece] = 1
		}
		// Calls of the host in between, as programs make them.
		if _, err := os.Stat("/out"); err != nil {
			os.Exit(2)
		}
	}
	for i := pieces - 1; last != nil; i, last = i-1, last.next {
		for at, value := range last.bytes {
			if value != byte(i+at) {
				os.Stderr.WriteString("a byte has changed\n")
				os.Exit(1)
			}
		}
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	os.Stdout.WriteString(strconv.Itoa(mib) + " MiB kept, collected " + strconv.FormatBool(memory.NumGC > 2) + "\n")
}
