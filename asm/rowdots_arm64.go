//go:build !purego

package asm

// dotsVectors returns how many of m vectors the tier's kernel of a format takes at
// once: 0 if it has none, or if decoding once and multiplying is faster.
func dotsVectors(f rowFormat, m int) int {
	switch {
	case !useVec:
		return 0
	case f == rowsF32:
		return min(m, 3)
	case m == 1 && f <= rowsQ4_1:
		return 1
	}
	return 0
}

// dotsUnits runs the kernel of a format.
func dotsUnits(f rowFormat, a *dotsArgs) {
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
	}
}

func foldNF4(_, _ *float32, _ int) { panic("asm: no kernel") }

// The kernels: see dotsArgs. They take one vector, or up to three (F32).

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

// fold adds up n times 32 slots: see foldSlots.
//
//go:noescape
func fold(dst, acc *float32, n int)
