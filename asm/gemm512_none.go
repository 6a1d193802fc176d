//go:build !amd64 || purego

package asm

// Never called: use512 is a constant false.
func fmaLoop512(int) { panic(use512) }
