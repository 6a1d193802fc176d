//go:build !amd64 || purego

package asm

const has16 = false

func dots16Blocks(rowFormat, *dots16Args) { panic("asm: no kernel") }
