//go:build !unix

package asm

import "testing"

// guardedPages has no pages to protect here: the kernels' bounds are tested on
// Unix, and they are the same.
func guardedPages(_ testing.TB, n int, _ bool) []byte { return make([]byte, n) }
