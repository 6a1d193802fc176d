//go:build !purego

package asm

// fmaLoop512 is the loop of FMALoop.
//
//go:noescape
func fmaLoop512(n int)
