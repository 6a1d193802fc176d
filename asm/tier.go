package asm

// Tier returns the name of the tier that runs: generic, avx2 or neon.
func Tier() string { return "generic" }
