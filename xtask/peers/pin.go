//go:build tools

// Package peers keeps the programs that are built from this module in its go.mod.
package peers

import (
	_ "github.com/ipfs/kubo/cmd/ipfs"
)
