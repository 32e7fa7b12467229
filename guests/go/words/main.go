// Words counts the commonest words of /in/data: `words [N]`. It shows that a program built by the Go compiler for
// WASI runs unchanged.
package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

func main() {
	top := 10
	if len(os.Args) > 1 {
		if n, err := strconv.Atoi(os.Args[1]); err == nil {
			top = n
		}
	}
	file, err := os.Open("/in/data")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	defer file.Close()
	counts := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 64<<10), 16<<20)
	for lines.Scan() {
		words := strings.FieldsFunc(strings.ToLower(lines.Text()), func(r rune) bool { return !unicode.IsLetter(r) })
		for _, word := range words {
			counts[word]++
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(4)
	}
	words := make([]string, 0, len(counts))
	for word := range counts {
		words = append(words, word)
	}
	sort.Slice(words, func(a, b int) bool {
		if counts[words[a]] != counts[words[b]] {
			return counts[words[a]] > counts[words[b]]
		}
		return words[a] < words[b]
	})
	report := fmt.Sprintf("%d different words\n", len(words))
	for _, word := range words[:min(top, len(words))] {
		report += fmt.Sprintf("%8d %s\n", counts[word], word)
	}
	fmt.Print(report)
	if err := os.WriteFile("/out/words.txt", []byte(report), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(5)
	}
}
