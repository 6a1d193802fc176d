//go:build !purego

package asm

const (
	lanes = 4 // float32 in a vector
	vec   = "neon"
)

func hasVec() bool { return true } // part of every arm64 that Go runs on
