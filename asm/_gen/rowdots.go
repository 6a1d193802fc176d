package main

import (
	"fmt"
	"math"
	"strings"
)

// The kernels that multiply rows where they lie, by 1 to 8 vectors. A row is
// read in units; of each unit, elements l, l+8 (or l+16, l+4), … come as vectors
// of F32, are multiplied and added to the sum of their slot, l mod 32. The slots
// go to memory: the caller adds them up, or goes on with the next piece. So the
// order of a sum is the same in every format and for every number of vectors.
//
// All take one argument, a *dotsArgs: its fields by their offsets.
const (
	argAcc = 8 * iota
	argW
	argStride
	argRows
	argX
	argLdx
	argM
	argUnits
	argAbsmax
	argUnit
	argSkip
	argShift
	argTable
	argApart    // bytes between the four rows that are multiplied side by side
	argAccApart // and between their sums
	argUnits1   // NF4: units between the first and the second row, the third, the fourth
	argUnits2
	argUnits3
)

// A dotFormat is a type of stored rows. Its functions unpack the unit at SI (R3 on
// arm64) and give vectors of consecutive elements to use, the first being element at
// of the unit.
type dotFormat struct {
	name        string
	bytes, unit int // of a unit, and its elements
	frame       int // of the stack
	vectors     []int
	setup       func(p printer)                                       // sets constants
	next, row   func(p printer)                                       // at the end of a unit, of a row
	unpack      func(p printer, s int, use func(at int, regs ...int)) // of row s of several side by side
	prefetch    int                                                   // bytes ahead
}

// dotConstants are in memory, by offset.
const (
	kIota    = 0   // 0…15 as floats
	kQ4_0    = 64  // -8…7
	kIQ4_NL  = 128 // its values
	kNL8     = 192 // the same as 16 bytes, twice
	kSplit   = 224 // of four floats, all first bytes, all second ones, …, twice
	kShift4  = 256 // eight words 4 and eight 0, twice: as quadwords 4, 4, 0, 0
	kLow4    = 288 // quadwords 0, 0, 4, 4
	kHigh512 = 320 // 16 words 4, 16 words 2
	kDown512 = 384 // 16 words 0, 16 words 2
	kEnd     = 448
)

var iq4nl = [16]int8{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

func dotConstants() string {
	var b [kEnd]byte
	put32 := func(at int, v uint32) {
		for i := range 4 {
			b[at+i] = byte(v >> (8 * i))
		}
	}
	for i := range 16 {
		put32(kIota+4*i, math.Float32bits(float32(i)))
		put32(kQ4_0+4*i, math.Float32bits(float32(i-8)))
		put32(kIQ4_NL+4*i, math.Float32bits(float32(iq4nl[i])))
		for half := range 2 {
			b[kNL8+16*half+i] = byte(iq4nl[i])
			b[kSplit+16*half+i] = byte(i%4*4 + i/4)
		}
		b[kHigh512+2*i], b[kHigh512+32+2*i] = 4, 2
		b[kDown512+32+2*i] = 2
	}
	b[kShift4], b[kShift4+8], b[kLow4+16], b[kLow4+24] = 4, 4, 4, 4
	var out strings.Builder
	for i := 0; i < kEnd; i += 8 {
		var v uint64
		for j := range 8 {
			v |= uint64(b[i+j]) << (8 * j)
		}
		fmt.Fprintf(&out, "DATA rowK<>+%d(SB)/8, $0x%016x\n", i, v)
	}
	fmt.Fprintf(&out, "GLOBL rowK<>(SB), RODATA|NOPTR, $%d\n\n", kEnd)
	return out.String()
}

func constant(p printer, ins string, k int, reg string) { p("%s rowK<>+%d(SB), %s", ins, k, reg) }

// fill sets all dwords of a register to v.
func fill(p printer, v uint32, reg string) {
	p("MOVL $0x%08x, AX", v)
	p("VMOVD AX, X%s", reg[1:])
	p("VPBROADCASTD X%s, %s", reg[1:], reg)
}

// scaleOf sets Y or Z register r to the F16 at offset of the unit.
func scaleOf(p printer, wide bool, offset, r int) {
	if wide {
		p("VPBROADCASTW %d(SI), Y%d", offset, r)
		p("VCVTPH2PS Y%d, Z%d", r, r)
		return
	}
	p("VPBROADCASTW %d(SI), X%d", offset, r)
	p("VCVTPH2PS X%d, Y%d", r, r)
}

// tinyScale puts 2^-112 times the F16 at offset of the unit on the stack: its bits
// moved to where F32 has them. Multiplied by 2^112, which a table may hold already, it
// is exact.
func tinyScale(p printer, offset, at int) {
	p("MOVWLSX %d(SI), AX", offset)
	p("SHLL $13, AX")
	p("ANDL $0x8fffe000, AX")
	p("MOVL AX, %d(SP)", at)
}

// The formats in AVX2: Y0…Y11 are free (of F32 Y0…Y3), Y12…Y15 hold the slots.
func dotsAVX2() []dotFormat {
	one := []int{1}
	nibbles := func(p printer, at int) { // the low ones of 16 bytes to Y0, Y1, the high ones to Y2, Y3
		p("VPMOVZXBD %d(SI), Y0", at)
		p("VPMOVZXBD %d(SI), Y1", at+8)
		p("VPSRLD $4, Y0, Y2")
		p("VPSRLD $4, Y1, Y3")
		p("VPAND Y10, Y0, Y0")
		p("VPAND Y10, Y1, Y1")
		for i := range 4 {
			p("VCVTDQ2PS Y%d, Y%d", i, i)
		}
	}
	signed := func(p printer, ins string) { // the 32 signed bytes on the stack
		for i := range 4 {
			p("VPMOVSXBD %d(SP), Y%d", 8*i, i)
			p("VCVTDQ2PS Y%d, Y%d", i, i)
		}
		for i := range 4 {
			p(ins, i, i)
		}
	}
	return []dotFormat{
		{name: "F32", bytes: 128, unit: 32, vectors: []int{1, 2, 3}, prefetch: 4096,
			unpack: func(p printer, _ int, use func(int, ...int)) {
				for i := range 4 {
					p("VMOVUPS %d(SI), Y%d", 32*i, i)
				}
				use(0, 0, 1, 2, 3)
			}},
		{name: "BF16", bytes: 64, unit: 32, vectors: one, prefetch: 4096,
			unpack: func(p printer, _ int, use func(int, ...int)) {
				for i := range 4 {
					p("VPMOVZXWD %d(SI), Y%d", 16*i, i)
					p("VPSLLD $16, Y%d, Y%d", i, i)
				}
				use(0, 0, 1, 2, 3)
			}},
		{name: "F16", bytes: 64, unit: 32, vectors: one, prefetch: 4096,
			unpack: func(p printer, _ int, use func(int, ...int)) {
				for i := range 4 {
					p("VCVTPH2PS %d(SI), Y%d", 16*i, i)
				}
				use(0, 0, 1, 2, 3)
			}},
		{name: "Q8_0", bytes: 34, unit: 32, vectors: one, prefetch: 4096,
			unpack: func(p printer, _ int, use func(int, ...int)) {
				scaleOf(p, false, 0, 4)
				for i := range 4 {
					p("VPMOVSXBD %d(SI), Y%d", 2+8*i, i)
					p("VCVTDQ2PS Y%d, Y%d", i, i)
					p("VMULPS Y4, Y%d, Y%d", i, i)
				}
				use(0, 0, 1, 2, 3)
			}},
		{name: "Q4_0", bytes: 18, unit: 32, vectors: one, prefetch: 2048,
			setup: func(p printer) {
				fill(p, 15, "Y10")
				fill(p, math.Float32bits(-8), "Y11")
			},
			unpack: func(p printer, _ int, use func(int, ...int)) {
				scaleOf(p, false, 0, 4)
				nibbles(p, 2)
				p("VMULPS Y11, Y4, Y5")
				for i := range 4 { // (q-8)·d is exact before it is rounded, and so is q·d - 8·d
					p("VFMADD213PS Y5, Y4, Y%d", i)
				}
				use(0, 0, 1, 2, 3)
			}},
		{name: "Q4_1", bytes: 20, unit: 32, vectors: one, prefetch: 2048,
			setup: func(p printer) { fill(p, 15, "Y10") },
			unpack: func(p printer, _ int, use func(int, ...int)) {
				scaleOf(p, false, 0, 4)
				scaleOf(p, false, 2, 5)
				nibbles(p, 4)
				for i := range 4 { // q·d is exact
					p("VFMADD213PS Y5, Y4, Y%d", i)
				}
				use(0, 0, 1, 2, 3)
			}},
		{name: "IQ4_NL", bytes: 18, unit: 32, frame: 32, vectors: one, prefetch: 2048,
			setup: func(p printer) {
				fill(p, 0x0f0f0f0f, "Y10")
				constant(p, "VMOVDQU", kNL8, "Y11")
				constant(p, "VMOVDQU", kLow4, "Y9")
			},
			unpack: func(p printer, _ int, use func(int, ...int)) {
				p("VBROADCASTI128 2(SI), Y0")
				p("VPSRLVQ Y9, Y0, Y0")
				p("VPAND Y10, Y0, Y0")
				p("VPSHUFB Y0, Y11, Y0")
				p("VMOVDQU Y0, (SP)")
				scaleOf(p, false, 0, 4)
				signed(p, "VMULPS Y4, Y%d, Y%d")
				use(0, 0, 1, 2, 3)
			}},
		{name: "NF4", bytes: 16, unit: 32, vectors: one, prefetch: 2048, next: pairsNext, row: pairsRow,
			setup: func(p printer) {
				// The four bytes of the table's values, in Y8…Y11.
				p("MOVQ %d(R11), AX", argTable)
				constant(p, "VMOVDQU", kSplit, "Y4")
				for i := range 4 {
					p("VBROADCASTI128 %d(AX), Y%d", 16*i, i)
					p("VPSHUFB Y4, Y%d, Y%d", i, i)
				}
				p("VPUNPCKLDQ Y1, Y0, Y4")
				p("VPUNPCKHDQ Y1, Y0, Y5")
				p("VPUNPCKLDQ Y3, Y2, Y6")
				p("VPUNPCKHDQ Y3, Y2, Y7")
				p("VPUNPCKLQDQ Y6, Y4, Y8")
				p("VPUNPCKHQDQ Y6, Y4, Y9")
				p("VPUNPCKLQDQ Y7, Y5, Y10")
				p("VPUNPCKHQDQ Y7, Y5, Y11")
				fill(p, 0x0f0f0f0f, "Y6")
				constant(p, "VMOVDQU", kShift4, "Y7")
				pairsSetup(p)
			},
			// Y0…Y3 have even and odd elements: see SplitNF4.
			unpack: func(p printer, _ int, use func(int, ...int)) {
				p("SHRXQ R13, R14, AX")
				p("VBROADCASTI128 (SI), Y0")
				p("VPSRLVQ Y7, Y0, Y0")
				p("VPAND Y6, Y0, Y0")
				p("VBROADCASTSS (BX)(AX*4), Y5")
				for i := range 4 {
					p("VPSHUFB Y0, Y%d, Y%d", 8+i, 1+i)
				}
				p("VPUNPCKLBW Y2, Y1, Y0")
				p("VPUNPCKHBW Y2, Y1, Y2")
				p("VPUNPCKLBW Y4, Y3, Y1")
				p("VPUNPCKHBW Y4, Y3, Y4")
				p("VPUNPCKHWD Y4, Y2, Y3")
				p("VPUNPCKLWD Y4, Y2, Y2")
				p("VPUNPCKHWD Y1, Y0, Y4")
				p("VPUNPCKLWD Y1, Y0, Y0")
				for _, i := range []int{0, 4, 2, 3} {
					p("VMULPS Y5, Y%d, Y%d", i, i)
				}
				use(0, 0, 4, 2, 3)
			}},
		{name: "Q4_K", bytes: 144, unit: 256, frame: 64, vectors: one, prefetch: 2048,
			setup: func(p printer) { fill(p, 15, "Y10") },
			unpack: func(p printer, _ int, use func(int, ...int)) {
				scalesQ4_K(p)
				for g := range 4 {
					for i := range 4 {
						p("VPMOVZXBD %d(SI), Y%d", 16+32*g+8*i, i)
					}
					for high := range 2 {
						p("VBROADCASTSS %d(SP), Y8", 4*(2*g+high))
						p("VBROADCASTSS %d(SP), Y9", 32+4*(2*g+high))
						for i := range 4 {
							if high == 0 {
								p("VPAND Y10, Y%d, Y%d", i, 4+i)
							} else {
								p("VPSRLD $4, Y%d, Y%d", i, 4+i)
							}
							p("VCVTDQ2PS Y%d, Y%d", 4+i, 4+i)
							p("VFMADD213PS Y9, Y8, Y%d", 4+i)
						}
						use(64*g+32*high, 4, 5, 6, 7)
					}
				}
			}},
		{name: "Q6_K", bytes: 210, unit: 256, frame: 96, vectors: one, prefetch: 2048,
			setup: func(p printer) {
				fill(p, 0x0f0f0f0f, "Y10")
				fill(p, 0x30303030, "Y9")
				fill(p, 0x20202020, "Y8")
			},
			unpack: func(p printer, _ int, use func(int, ...int)) {
				scaleOf(p, false, 208, 4)
				for i := range 2 {
					p("VPMOVSXBD %d(SI), Y0", 192+8*i)
					p("VCVTDQ2PS Y0, Y0")
					p("VMULPS Y4, Y0, Y0")
					p("VMOVUPS Y0, %d(SP)", 32+32*i)
				}
				for half := range 2 {
					p("VMOVDQU %d(SI), Y7", 128+32*half)
					for k := range 4 {
						p("VMOVDQU %d(SI), Y5", 64*half+32*(k%2))
						if k >= 2 {
							p("VPSRLW $4, Y5, Y5")
						}
						p("VPAND Y10, Y5, Y5")
						high := 6
						switch k {
						case 0:
							p("VPSLLW $4, Y7, Y6")
						case 1:
							p("VPSLLW $2, Y7, Y6")
						case 2:
							high = 7
						case 3:
							p("VPSRLW $2, Y7, Y6")
						}
						p("VPAND Y9, Y%d, Y6", high)
						p("VPOR Y6, Y5, Y5")
						p("VPSUBB Y8, Y5, Y5")
						p("VMOVDQU Y5, (SP)")
						for i := range 2 {
							p("VBROADCASTSS %d(SP), Y%d", 32+4*(8*half+2*k+i), 4+i)
						}
						for i := range 4 {
							p("VPMOVSXBD %d(SP), Y%d", 8*i, i)
							p("VCVTDQ2PS Y%d, Y%d", i, i)
							p("VMULPS Y%d, Y%d, Y%d", 4+i/2, i, i)
						}
						use(128*half+32*k, 0, 1, 2, 3)
					}
				}
			}},
	}
}

// pairsSetup and pairsRow keep the count of the units: R14, which R13 shifts to
// that of a scale at BX.
func pairsSetup(p printer) {
	p("MOVQ %d(R11), BX", argAbsmax)
	p("MOVQ %d(R11), R14", argUnit)
	p("MOVQ %d(R11), R13", argShift)
}

func pairsNext(p printer) { p("INCQ R14") }

func pairsRow(p printer) { p("ADDQ %d(R11), R14", argSkip) }

// scalesQ4_K writes the eight scales d·s of a unit of Q4_K to the stack, and behind
// them the eight minima -dmin·m. All are exact.
func scalesQ4_K(p printer) {
	p("MOVL 4(SI), AX")
	p("MOVL 8(SI), BX")
	p("MOVL 12(SI), R13")
	p("MOVL AX, R14")
	p("ANDL $0x3f3f3f3f, R14")
	p("VMOVD R14, X0")
	p("MOVL BX, R14")
	p("ANDL $0x3f3f3f3f, R14")
	p("VMOVD R14, X1")
	p("MOVL R13, R14")
	p("ANDL $0x0f0f0f0f, R14")
	p("SHRL $4, R13")
	p("ANDL $0x0f0f0f0f, R13")
	p("SHRL $2, AX")
	p("ANDL $0x30303030, AX")
	p("SHRL $2, BX")
	p("ANDL $0x30303030, BX")
	p("ORL R14, AX")
	p("ORL R13, BX")
	p("VPINSRD $1, AX, X0, X0")
	p("VPINSRD $1, BX, X1, X1")
	scaleOf(p, false, 0, 2)
	scaleOf(p, false, 2, 3)
	p("VPMOVZXBD X0, Y0")
	p("VPMOVZXBD X1, Y1")
	p("VCVTDQ2PS Y0, Y0")
	p("VCVTDQ2PS Y1, Y1")
	p("VMULPS Y2, Y0, Y0")
	p("VMULPS Y3, Y1, Y1")
	p("VXORPS Y2, Y2, Y2")
	p("VSUBPS Y1, Y2, Y1")
	p("VMOVUPS Y0, (SP)")
	p("VMOVUPS Y1, 32(SP)")
}

// The formats in AVX-512: Z0…Z15 are free, from Z16 on are the slots. Four bits
// are looked up in a table that the scale has multiplied: VPERMPS looks at the
// lower four bits of an index alone.
func dots512() []dotFormat {
	all := []int{1, 2, 4, 8}
	lookup := func(p printer, at int) { // the low nibbles of 16 bytes to Z0, the high ones to Z1, table Z2
		p("VPMOVZXBD %d(SI), Z0", at)
		p("VPSRLD $4, Z0, Z1")
		p("VPERMPS Z2, Z0, Z0")
		p("VPERMPS Z2, Z1, Z1")
	}
	table := func(k int) func(printer) {
		return func(p printer) {
			constant(p, "VMOVUPS", k, "Z15")
			fill(p, math.Float32bits(0x1p112), "Z13")
			p("VMULPS Z13, Z15, Z15")
		}
	}
	scaled := func(p printer, _ int, use func(int, ...int)) {
		tinyScale(p, 0, 0)
		p("VMULPS.BCST (SP), Z15, Z2")
		lookup(p, 2)
		use(0, 0, 1)
	}
	return []dotFormat{
		{name: "F32", bytes: 128, unit: 32, vectors: all, prefetch: 4096,
			unpack: func(p printer, _ int, use func(int, ...int)) {
				p("VMOVUPS (SI), Z0")
				p("VMOVUPS 64(SI), Z1")
				use(0, 0, 1)
			}},
		{name: "BF16", bytes: 64, unit: 32, vectors: all, prefetch: 4096,
			unpack: func(p printer, _ int, use func(int, ...int)) {
				for i := range 2 {
					p("VPMOVZXWD %d(SI), Z%d", 32*i, i)
					p("VPSLLD $16, Z%d, Z%d", i, i)
				}
				use(0, 0, 1)
			}},
		{name: "F16", bytes: 64, unit: 32, vectors: all, prefetch: 4096,
			unpack: func(p printer, _ int, use func(int, ...int)) {
				p("VCVTPH2PS (SI), Z0")
				p("VCVTPH2PS 32(SI), Z1")
				use(0, 0, 1)
			}},
		{name: "Q8_0", bytes: 34, unit: 32, frame: 8, vectors: all, prefetch: 4096,
			setup: func(p printer) { fill(p, math.Float32bits(0x1p112), "Z13") },
			unpack: func(p printer, _ int, use func(int, ...int)) {
				tinyScale(p, 0, 0)
				p("VMULSS (SP), X13, X2")
				p("VMOVSS X2, 4(SP)")
				for i := range 2 {
					p("VPMOVSXBD %d(SI), Z%d", 2+16*i, i)
					p("VCVTDQ2PS Z%d, Z%d", i, i)
					p("VMULPS.BCST 4(SP), Z%d, Z%d", i, i)
				}
				use(0, 0, 1)
			}},
		{name: "Q4_0", bytes: 18, unit: 32, frame: 8, vectors: all, prefetch: 2048, setup: table(kQ4_0), unpack: scaled},
		{name: "IQ4_NL", bytes: 18, unit: 32, frame: 8, vectors: all, prefetch: 2048, setup: table(kIQ4_NL), unpack: scaled},
		{name: "Q4_1", bytes: 20, unit: 32, frame: 8, vectors: all, prefetch: 2048, setup: table(kIota),
			unpack: func(p printer, _ int, use func(int, ...int)) {
				tinyScale(p, 0, 0)
				tinyScale(p, 2, 4)
				p("VMULPS.BCST (SP), Z15, Z2") // exact
				p("VFMADD231PS.BCST 4(SP), Z13, Z2")
				lookup(p, 4)
				use(0, 0, 1)
			}},
		{name: "NF4", bytes: 16, unit: 32, vectors: all, prefetch: 2048, next: pairsNext, row: pairsRow,
			setup: func(p printer) {
				p("MOVQ %d(R11), AX", argTable)
				p("VMOVUPS (AX), Z15")
				pairsSetup(p)
			},
			// Even elements in Z1, odd ones in Z0: see SplitNF4.
			unpack: func(p printer, s int, use func(int, ...int)) {
				if s == 0 {
					p("SHRXQ R13, R14, AX")
				} else {
					p("MOVQ %d(R11), AX", argUnits1+8*(s-1))
					p("ADDQ R14, AX")
					p("SHRXQ R13, AX, AX")
				}
				p("VMULPS.BCST (BX)(AX*4), Z15, Z2")
				lookup(p, 0)
				use(0, 1, 0)
			}},
		{name: "Q4_K", bytes: 144, unit: 256, frame: 64, vectors: all, prefetch: 2048,
			setup: func(p printer) { constant(p, "VMOVUPS", kIota, "Z15") },
			unpack: func(p printer, _ int, use func(int, ...int)) {
				scalesQ4_K(p)
				for g := range 4 {
					for i := range 2 {
						p("VBROADCASTSS %d(SP), Z%d", 4*(2*g+i), 2+i)
						p("VFMADD213PS.BCST %d(SP), Z15, Z%d", 32+4*(2*g+i), 2+i)
						p("VPMOVZXBD %d(SI), Z%d", 16+32*g+16*i, i)
						p("VPSRLD $4, Z%d, Z%d", i, 4+i)
					}
					for i := range 2 {
						p("VPERMPS Z2, Z%d, Z%d", i, i)
						p("VPERMPS Z3, Z%d, Z%d", 4+i, 4+i)
					}
					use(64*g, 0, 1)
					use(64*g+32, 4, 5)
				}
			}},
		{name: "Q6_K", bytes: 210, unit: 256, frame: 192, vectors: all, prefetch: 2048,
			setup: func(p printer) {
				fill(p, 0x0f0f0f0f, "Z15")
				fill(p, 0x30303030, "Z14")
				fill(p, 0x20202020, "Z13")
				constant(p, "VMOVDQU64", kHigh512, "Z12")
				constant(p, "VMOVDQU64", kDown512, "Z11")
			},
			unpack: func(p printer, _ int, use func(int, ...int)) {
				scaleOf(p, true, 208, 2)
				p("VPMOVSXBD 192(SI), Z0")
				p("VCVTDQ2PS Z0, Z0")
				p("VMULPS Z2, Z0, Z0")
				p("VMOVUPS Z0, 128(SP)")
				for half := range 2 {
					p("VMOVDQU64 %d(SI), Z0", 64*half)
					p("VBROADCASTI64X4 %d(SI), Z2", 128+32*half)
					p("VPSRLW $4, Z0, Z1")
					p("VPSLLVW Z12, Z2, Z3")
					p("VPSRLVW Z11, Z2, Z2")
					p("VPANDQ Z15, Z0, Z0")
					p("VPANDQ Z15, Z1, Z1")
					p("VPTERNLOGQ $0xf8, Z14, Z3, Z0") // Z0 |= Z3 & Z14
					p("VPTERNLOGQ $0xf8, Z14, Z2, Z1")
					for i := range 2 {
						p("VPSUBB Z13, Z%d, Z%d", i, i)
						p("VMOVDQU64 Z%d, %d(SP)", i, 64*i)
					}
					for k := range 4 {
						for i := range 2 {
							p("VPMOVSXBD %d(SP), Z%d", 32*k+16*i, i)
							p("VCVTDQ2PS Z%d, Z%d", i, i)
							p("VMULPS.BCST %d(SP), Z%d, Z%d", 128+4*(8*half+2*k+i), i, i)
						}
						use(128*half+32*k, 0, 1)
					}
				}
			}},
	}
}

// dotsKernel writes a kernel of AVX2 or AVX-512 (wide).
func dotsKernel(p printer, f dotFormat, wide bool) {
	reg, lanes := "Y", 8
	slots := func(j, i int) int { return 12 - 4*j + i%4 }
	if wide {
		reg, lanes = "Z", 16
		slots = func(j, i int) int { return 16 + 2*j + i%2 }
	}
	vectors := []string{"(DX)", "(DX)(R8*1)", "(DX)(R8*2)", "(DX)(R9*1)", "(DX)(R8*4)", "(R15)", "(R15)(R8*1)", "(R15)(R8*2)"}
	p("MOVQ a+0(FP), R11")
	p("MOVQ %d(R11), DI", argAcc)
	p("MOVQ %d(R11), R10", argW)
	p("MOVQ %d(R11), R12", argRows)
	p("MOVQ %d(R11), R8", argLdx)
	p("SHLQ $2, R8")
	p("LEAQ (R8)(R8*2), R9")
	if f.setup != nil {
		f.setup(p)
	}
	type shape struct{ rows, vectors int }
	var shapes []shape
	for _, m := range f.vectors {
		shapes = append(shapes, shape{1, m})
	}
	if wide {
		p("CMPQ %d(R11), $0", argApart)
		p("JNE side")
		shapes = append(shapes, shape{4, 1})
	}
	if len(f.vectors) > 1 {
		p("MOVQ %d(R11), AX", argM)
		for _, m := range f.vectors[1:] {
			p("CMPQ AX, $%d", m)
			p("JEQ row1x%d", m)
		}
	}
	for _, s := range shapes {
		label := fmt.Sprintf("%dx%d", s.rows, s.vectors)
		if s.rows > 1 {
			p("side:")
			p("MOVQ %d(R11), R8", argApart)
			p("LEAQ (R8)(R8*2), R9")
		}
		slotsIO := func(format string) {
			for j := range s.vectors {
				for i := range 32 / lanes {
					at, v := fmt.Sprintf("%d(DI)", 128*j+4*lanes*i), fmt.Sprintf("%s%d", reg, slots(j, i))
					if format == "load" {
						p("VMOVUPS %s, %s", at, v)
					} else {
						p("VMOVUPS %s, %s", v, at)
					}
				}
			}
		}
		p("row%s:", label)
		p("MOVQ R10, SI")
		p("MOVQ %d(R11), DX", argX)
		p("MOVQ %d(R11), CX", argUnits)
		if s.vectors > 5 {
			p("LEAQ (DX)(R8*4), R15")
			p("ADDQ R8, R15")
		}
		if s.rows > 1 {
			for r := 16; r < 16+2*s.rows; r++ {
				p("VPXORD Z%d, Z%d, Z%d", r, r, r)
			}
		} else {
			slotsIO("load")
		}
		p("unit%s:", label)
		shared := s.rows > 1 && f.unit == 32 // x is loaded once for all rows
		if shared {
			p("VMOVUPS (DX), Z10")
			p("VMOVUPS 64(DX), Z11")
		}
		for r := range s.rows {
			row := []string{"(SI)", "(SI)(R8*1)", "(SI)(R8*2)", "(SI)(R9*1)"}[r]
			q := func(format string, args ...any) {
				p("%s", strings.ReplaceAll(fmt.Sprintf(format, args...), "(SI)", row))
			}
			for at := 0; at < f.bytes; at += 64 {
				q("PREFETCHT1 %d(SI)", f.prefetch+at)
			}
			f.unpack(q, r, func(at int, regs ...int) {
				for i, v := range regs {
					if shared {
						p("VFMADD231PS Z%d, Z%d, Z%d", 10+i, v, slots(r, i))
						continue
					}
					for j := range s.vectors {
						p("VFMADD231PS %d%s, %s%d, %s%d", 4*(at+lanes*i), vectors[j], reg, v, reg, slots(r+j, at/lanes+i))
					}
				}
			})
		}
		p("ADDQ $%d, SI", f.bytes)
		p("ADDQ $%d, DX", 4*f.unit)
		if s.vectors > 5 {
			p("ADDQ $%d, R15", 4*f.unit)
		}
		if f.next != nil {
			f.next(p)
		}
		p("DECQ CX")
		p("JNE unit%s", label)
		if s.rows > 1 {
			foldFour(p, f.name == "NF4")
			p("ADDQ $4, DI")
		} else {
			slotsIO("store")
			p("ADDQ $%d, DI", 128*s.vectors)
		}
		p("ADDQ %d(R11), R10", argStride)
		if f.row != nil {
			f.row(p)
		}
		p("DECQ R12")
		p("JNE row%s", label)
		p("VZEROUPPER")
		p("RET")
	}
}

// foldFour adds up the slots of four rows, Z16 to Z23, by halves, as foldAMD64 does, and
// stores the sums. Each step puts the halves of two registers side by side and adds
// them.
func foldFour(p printer, pairs bool) {
	halves := func(a, b, low, high, to int) {
		p("VSHUFF64X2 $0x%02x, Z%d, Z%d, Z8", low, b, a)
		p("VSHUFF64X2 $0x%02x, Z%d, Z%d, Z9", high, b, a)
		p("VADDPS Z9, Z8, Z%d", to)
	}
	inLanes := func(r int) {
		for _, i := range []int{0xEE, 0x55} {
			p("VPERMILPS $0x%02X, Z%d, Z8", i, r)
			p("VADDPS Z8, Z%d, Z%d", r, r)
		}
	}
	if pairs { // even slots, odd ones: the last two halves
		for r := range 4 {
			halves(16+2*r, 17+2*r, 0x44, 0xEE, r)
		}
		for r := range 2 {
			halves(2*r, 2*r+1, 0x88, 0xDD, 4+r)
			inLanes(4 + r)
		}
		halves(4, 5, 0x88, 0xDD, 0)
	} else {
		for r := range 4 {
			p("VADDPS Z%d, Z%d, Z%d", 17+2*r, 16+2*r, r)
		}
		for r := range 2 {
			halves(2*r, 2*r+1, 0x44, 0xEE, 4+r)
		}
		halves(4, 5, 0x88, 0xDD, 0)
		inLanes(0)
	}
	p("MOVQ %d(R11), AX", argAccApart)
	p("LEAQ (AX)(AX*2), R8")
	p("VMOVSS X0, (DI)")
	for r, to := range []string{"(DI)(AX*1)", "(DI)(AX*2)", "(DI)(R8*1)"} {
		p("VEXTRACTF32X4 $%d, Z0, X1", r+1)
		p("VMOVSS X1, %s", to)
	}
	p("MOVQ %d(R11), R8", argApart)
}

// foldAMD64 adds up slots by halves: 32, 16, 8, 4, 2. Of pairs, a 128-bit lane has
// even elements and the other one odd ones, so that the last two halves are lanes;
// wide, even ones come first.
func foldAMD64(p printer, pairs, wide bool) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ acc+8(FP), SI")
	p("MOVQ n+16(FP), CX")
	p("loop:")
	for i := range 4 {
		p("VMOVUPS %d(SI), Y%d", 32*i, i)
	}
	switch {
	case wide: // Y0, Y1 the even ones, Y2, Y3 the odd ones
		p("VADDPS Y1, Y0, Y0")
		p("VADDPS Y3, Y2, Y1")
		p("VPERM2F128 $0x20, Y1, Y0, Y2")
		p("VPERM2F128 $0x31, Y1, Y0, Y3")
		p("VADDPS Y3, Y2, Y0")
	default:
		p("VADDPS Y2, Y0, Y0")
		p("VADDPS Y3, Y1, Y1")
		p("VADDPS Y1, Y0, Y0")
	}
	if pairs {
		p("VPERMILPS $0xEE, Y0, Y1")
		p("VADDPS Y1, Y0, Y0")
		p("VPERMILPS $0x55, Y0, Y1")
		p("VADDPS Y1, Y0, Y0")
		p("VEXTRACTF128 $1, Y0, X1")
		p("VADDSS X1, X0, X0")
	} else {
		p("VEXTRACTF128 $1, Y0, X1")
		p("VADDPS X1, X0, X0")
		p("VPERMILPS $0xEE, X0, X1")
		p("VADDPS X1, X0, X0")
		p("VPERMILPS $0x55, X0, X1")
		p("VADDSS X1, X0, X0")
	}
	p("VMOVSS X0, (DI)")
	p("ADDQ $128, SI")
	p("ADDQ $4, DI")
	p("DECQ CX")
	p("JNE loop")
	p("VZEROUPPER")
	p("RET")
}

// rowDots are the kernels of rowdots.go.
func rowDots(arm bool) string {
	var l listing
	if arm {
		for _, f := range dotsNEON {
			l.text("dots"+f.name, 8, func(p func(string, ...any)) { dotsKernelNEON(p, f) })
		}
		l.text("fold", 24, foldNEON)
		return l.String()
	}
	l.WriteString(dotConstants())
	for _, f := range dotsAVX2() {
		l.textFrame("dots"+f.name, f.frame, 8, func(p func(string, ...any)) { dotsKernel(p, f, false) })
	}
	for _, f := range dots512() {
		l.textFrame("dots"+f.name+"_512", f.frame, 8, func(p func(string, ...any)) { dotsKernel(p, f, true) })
	}
	l.text("fold", 24, func(p func(string, ...any)) { foldAMD64(p, false, false) })
	l.text("foldPairs", 24, func(p func(string, ...any)) { foldAMD64(p, true, false) })
	l.text("foldPairs512", 24, func(p func(string, ...any)) { foldAMD64(p, true, true) })
	rowDots16(&l)
	return l.String()
}
