//go:build !purego

package asm

import "golang.org/x/sys/cpu"

const (
	lanes = 8 // float32 in a vector
	vec   = "avx2"
)

func hasVec() bool { return cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C }
