// Package asm holds the CPU kernels: loops over plain slices of float32,
// written once in Go and once in assembly. It knows nothing of tensors.
//
// The doc comment of a kernel is the loop that it computes. Unless it says
// otherwise, the slices of a kernel have the length of dst (longer ones are
// fine), and dst may be one of the inputs but may not overlap one in part.
//
// On amd64 with AVX2, FMA and F16C and on arm64 the loops run on vectors; the
// environment variable TENON_TIER (see Tier) forces a tier for tests and bug
// reports, and the build tag purego removes all assembly. Kernels
// written in assembly work on whole blocks and return within about 50 µs, since
// the garbage collector cannot stop a thread inside of them; tails and blocking
// are Go.
//
// What a kernel computes for one element depends on the lengths alone, never on
// where the slices lie in memory. Between tiers, results differ by rounding:
// fused multiply-adds, the order of sums and the polynomial of Exp.
//
// The package carries no compatibility promise.
package asm

//go:generate go run ./_gen
