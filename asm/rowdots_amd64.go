//go:build !purego

package asm

import "math/bits"

// dotsVectors returns how many of m vectors the tier's kernel of a format takes at
// once: 0 if it has none, or if decoding once and multiplying is faster.
func dotsVectors(f rowFormat, m int) int {
	switch {
	case !useVec:
		return 0
	case use512:
		return min(8, 1<<(bits.Len(uint(m))-1))
	case f == rowsF32:
		return min(m, 3)
	case m == 1:
		return 1
	}
	return 0
}

// dotsUnits runs the kernel of a format.
func dotsUnits(f rowFormat, a *dotsArgs) {
	if use512 {
		dotsUnits512(f, a)
		return
	}
	switch f {
	case rowsF32:
		dotsF32(a)
	case rowsBF16:
		dotsBF16(a)
	case rowsF16:
		dotsF16(a)
	case rowsQ8_0:
		dotsQ8_0(a)
	case rowsQ4_0:
		dotsQ4_0(a)
	case rowsQ4_1:
		dotsQ4_1(a)
	case rowsIQ4_NL:
		dotsIQ4_NL(a)
	case rowsQ4_K:
		dotsQ4_K(a)
	case rowsQ6_K:
		dotsQ6_K(a)
	case rowsNF4:
		dotsNF4(a)
	}
}

func dotsUnits512(f rowFormat, a *dotsArgs) {
	switch f {
	case rowsF32:
		dotsF32_512(a)
	case rowsBF16:
		dotsBF16_512(a)
	case rowsF16:
		dotsF16_512(a)
	case rowsQ8_0:
		dotsQ8_0_512(a)
	case rowsQ4_0:
		dotsQ4_0_512(a)
	case rowsQ4_1:
		dotsQ4_1_512(a)
	case rowsIQ4_NL:
		dotsIQ4_NL_512(a)
	case rowsQ4_K:
		dotsQ4_K_512(a)
	case rowsQ6_K:
		dotsQ6_K_512(a)
	case rowsNF4:
		dotsNF4_512(a)
	}
}

// foldNF4 is fold for slots in the order of SplitNF4.
func foldNF4(dst, acc *float32, n int) {
	if use512 {
		foldPairs512(dst, acc, n)
	} else {
		foldPairs(dst, acc, n)
	}
}

// The kernels: see dotsArgs. Those of AVX2 take one vector, or up to three (F32);
// those of AVX-512 take 1, 2, 4 or 8.

//go:noescape
func dotsF32(a *dotsArgs)

//go:noescape
func dotsBF16(a *dotsArgs)

//go:noescape
func dotsF16(a *dotsArgs)

//go:noescape
func dotsQ8_0(a *dotsArgs)

//go:noescape
func dotsQ4_0(a *dotsArgs)

//go:noescape
func dotsQ4_1(a *dotsArgs)

//go:noescape
func dotsIQ4_NL(a *dotsArgs)

//go:noescape
func dotsQ4_K(a *dotsArgs)

//go:noescape
func dotsQ6_K(a *dotsArgs)

//go:noescape
func dotsNF4(a *dotsArgs)

//go:noescape
func dotsF32_512(a *dotsArgs)

//go:noescape
func dotsBF16_512(a *dotsArgs)

//go:noescape
func dotsF16_512(a *dotsArgs)

//go:noescape
func dotsQ8_0_512(a *dotsArgs)

//go:noescape
func dotsQ4_0_512(a *dotsArgs)

//go:noescape
func dotsQ4_1_512(a *dotsArgs)

//go:noescape
func dotsIQ4_NL_512(a *dotsArgs)

//go:noescape
func dotsQ4_K_512(a *dotsArgs)

//go:noescape
func dotsQ6_K_512(a *dotsArgs)

//go:noescape
func dotsNF4_512(a *dotsArgs)

// fold adds up n times 32 slots: see foldSlots.
//
//go:noescape
func fold(dst, acc *float32, n int)

//go:noescape
func foldPairs(dst, acc *float32, n int)

//go:noescape
func foldPairs512(dst, acc *float32, n int)
