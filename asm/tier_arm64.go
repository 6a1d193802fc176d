//go:build !purego

package asm

import "golang.org/x/sys/cpu"

const lanes = 4 // float32 in a vector

// What the tier that runs may use. They are set before main and by tests.
var (
	level  = chooseTier()
	useVec = level >= 1
	useDot = level >= 2 // SDOT
)

func setTier(i int) { level, useVec, useDot = i, i >= 1, i >= 2 }

func tiers() []string {
	// NEON is part of every arm64 that Go runs on.
	if cpu.ARM64.HasASIMDDP {
		return []string{generic, "neon", "neondot"}
	}
	return []string{generic, "neon"}
}
