package asm

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

const generic = "generic"

// Tier returns the name of the tier that runs: generic; avx2, avx512 or
// avx512bf16; neon or neondot. Each has the kernels of those before it, but for
// the ones that it has anew.
//
// On a Zen 4 a 512-bit operation takes two passes, so AVX-512 pays where it saves
// instructions and not arithmetic: 4-bit rows, 16-bit integers, BF16.
func Tier() string { return tiers()[level] }

// Tiers returns the names of the tiers that this build has on this machine.
func Tiers() []string { return slices.Clone(tiers()) }

// chooseTier returns the best tier of this machine or the one that TENON_TIER
// names; it panics if the machine or the build has no such tier, since a test
// must not pass because it ran another one.
func chooseTier() int {
	has := tiers()
	want := os.Getenv("TENON_TIER")
	if want == "" {
		return len(has) - 1
	}
	i := slices.Index(has, want)
	if i < 0 {
		panic(fmt.Sprintf("TENON_TIER=%s: this build has on this machine: %s", want, strings.Join(has, ", ")))
	}
	return i
}
