package asm

import "os"

const generic = "generic"

// Tier returns the name of the tier that runs: generic, avx2 or neon.
//
// There is no AVX-512 tier: where these kernels were measured (Zen 4), a 512-bit
// operation takes two passes, so that the peak is that of AVX2, which the
// micro-kernel reaches.
func Tier() string {
	if useVec {
		return vec
	}
	return generic
}

// chooseTier returns the best tier of this machine or the one that TENON_TIER
// names; it panics if the machine or the build has no such tier, since a test
// must not pass because it ran another one.
func chooseTier() string {
	best := generic
	if hasVec() {
		best = vec
	}
	switch want := os.Getenv("TENON_TIER"); want {
	case "", best:
		return best
	case generic:
		return generic
	default:
		panic("TENON_TIER=" + want + ": the best tier of this build on this machine is " + best)
	}
}
