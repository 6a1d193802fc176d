//go:build !amd64 || purego

package asm

const (
	use512  = false
	useBF16 = false
)
