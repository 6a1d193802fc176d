//go:build !amd64 || purego

package asm

// Never called: see tier_noavx512.go.
const hasVBMI = false

func byteMapVBMI(*float32, *byte, *ByteMap, float32, float32, int) { panic(use512) }
