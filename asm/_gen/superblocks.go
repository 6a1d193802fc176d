package main

import "fmt"

// The decoders of GGUF's formats of 256 elements a block take the scales as
// floats, which Go has computed.

const superDecls = `
// nibblesVec decodes 256 nibbles, 64 in 32 bytes, low ones first, with a scale
// and a minimum for every 32:
//
//	dst[i] = scale[i/32] * nibble(i) - minimum[i/32]
//
//go:noescape
func nibblesVec(dst *float32, q *byte, scale, minimum *[8]float32)

// sixBitsVec decodes 256 numbers of six bits, laid out as in DecodeQ6_K:
//
//	dst[i] = scale[i/16] * (l(i) + 16*h(i) - 32)
//
//go:noescape
func sixBitsVec(dst *float32, l, h *byte, scale *[16]float32)
`

const superStubs = `func nibblesVec(dst *float32, q *byte, scale, minimum *[8]float32) { panic(useVec) }
func sixBitsVec(dst *float32, l, h *byte, scale *[16]float32) { panic(useVec) }
`

type printer func(string, ...any)

func superblocks(arm bool, text func(name string, frame int, body func(p func(string, ...any)))) {
	text("nibblesVec", 32, func(p func(string, ...any)) {
		if arm {
			nibblesARM64(p)
		} else {
			nibblesAMD64(p)
		}
	})
	text("sixBitsVec", 32, func(p func(string, ...any)) {
		if arm {
			sixBitsARM64(p)
		} else {
			sixBitsAMD64(p)
		}
	})
}

// bytesAMD64 writes the 16 signed bytes of X register r, times Y register scale
// and less minimum if that is not -1, to dst[at:].
func bytesAMD64(p printer, r, scale, minimum, at int) {
	for i := range 2 {
		if i == 1 {
			p("VPSRLDQ $8, X%d, X%d", r, r)
		}
		p("VPMOVSXBD X%d, Y%d", r, i)
		p("VCVTDQ2PS Y%d, Y%d", i, i)
		p("VMULPS Y%d, Y%d, Y%d", scale, i, i)
		if minimum >= 0 {
			p("VSUBPS Y%d, Y%d, Y%d", minimum, i, i)
		}
		p("VMOVUPS Y%d, %d(DI)", i, 4*at+32*i)
	}
}

// maskAMD64 fills X register r with byte b.
func maskAMD64(p printer, r int, b byte) {
	p("MOVL $0x%02x%02x%02x%02x, AX", b, b, b, b)
	p("VMOVD AX, X%d", r)
	p("VPBROADCASTD X%d, X%d", r, r)
}

func nibblesAMD64(p func(string, ...any)) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ q+8(FP), SI")
	p("MOVQ scale+16(FP), DX")
	p("MOVQ minimum+24(FP), CX")
	maskAMD64(p, 14, 0x0f)
	for g := range 4 {
		for i := range 2 {
			p("VBROADCASTSS %d(DX), Y%d", 4*(2*g+i), 10+i)
			p("VBROADCASTSS %d(CX), Y%d", 4*(2*g+i), 12+i)
		}
		for half := range 2 {
			p("VMOVDQU %d(SI), X8", 32*g+16*half)
			p("VPSRLW $4, X8, X9")
			p("VPAND X14, X8, X8")
			p("VPAND X14, X9, X9")
			bytesAMD64(p, 8, 10, 12, 64*g+16*half)
			bytesAMD64(p, 9, 11, 13, 64*g+32+16*half)
		}
	}
	p("VZEROUPPER")
	p("RET")
}

func sixBitsAMD64(p func(string, ...any)) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ l+8(FP), SI")
	p("MOVQ h+16(FP), CX")
	p("MOVQ scale+24(FP), DX")
	maskAMD64(p, 14, 0x0f)
	maskAMD64(p, 13, 0x30)
	maskAMD64(p, 12, 32)
	for half := range 2 {
		for at := range 2 {
			p("VMOVDQU %d(SI), X4", 64*half+16*at)
			p("VMOVDQU %d(SI), X5", 64*half+32+16*at)
			p("VMOVDQU %d(CX), X6", 32*half+16*at)
			for k := range 4 { // the 32s of the half
				low := 4 + k%2
				if k >= 2 {
					p("VPSRLW $4, X%d, X7", low)
					low = 7
				}
				p("VPAND X14, X%d, X7", low)
				high := 8
				switch k {
				case 0:
					p("VPSLLW $4, X6, X8")
				case 1:
					p("VPSLLW $2, X6, X8")
				case 2:
					high = 6
				case 3:
					p("VPSRLW $2, X6, X8")
				}
				p("VPAND X13, X%d, X8", high)
				p("VPOR X8, X7, X7")
				p("VPSUBB X12, X7, X7")
				p("VBROADCASTSS %d(DX), Y9", 4*(8*half+at+2*k))
				bytesAMD64(p, 7, 9, -1, 128*half+32*k+16*at)
			}
		}
	}
	p("VZEROUPPER")
	p("RET")
}

// bytesARM64 writes the 16 signed bytes of V register r, times V register scale
// and less minimum if that is not -1, to dst[at:].
func bytesARM64(p printer, r, scale, minimum, at int) {
	word := func(w uint32, format string, args ...any) { p("WORD $0x%08x // "+format, append([]any{w}, args...)...) }
	word(0x0F08A400|uint32(r<<5|2), "sshll v2.8h, v%d.8b, #0", r)
	word(0x4F08A400|uint32(r<<5|3), "sshll2 v3.8h, v%d.16b, #0", r)
	for q := range 4 {
		d, s := 4+q, 2+q/2
		if q%2 == 0 {
			word(0x0F10A400|uint32(s<<5|d), "sshll v%d.4s, v%d.4h, #0", d, s)
		} else {
			word(0x4F10A400|uint32(s<<5|d), "sshll2 v%d.4s, v%d.8h, #0", d, s)
		}
		word(0x4E21D800|uint32(d<<5|d), "scvtf v%d.4s, v%d.4s", d, d)
		word(0x6E20DC00|uint32(scale<<16|d<<5|d), "fmul v%d.4s, v%d.4s, v%d.4s", d, d, scale)
		if minimum >= 0 {
			word(0x4EA0D400|uint32(minimum<<16|d<<5|d), "fsub v%d.4s, v%d.4s, v%d.4s", d, d, minimum)
		}
		p("FMOVQ F%d, %d(R1)", d, 4*at+16*q)
	}
}

func nibblesARM64(p func(string, ...any)) {
	p("MOVD dst+0(FP), R1")
	p("MOVD q+8(FP), R2")
	p("MOVD scale+16(FP), R3")
	p("MOVD minimum+24(FP), R4")
	for g := range 4 {
		for i := range 2 {
			p("VLD1R.P 4(R3), [V%d.S4]", 28+i)
			p("VLD1R.P 4(R4), [V%d.S4]", 30+i)
		}
		for half := range 2 {
			p("VLD1.P 16(R2), [V0.B16]")
			p("VUSHR $4, V0.B16, V1.B16")
			p("VSHL $4, V0.B16, V0.B16")
			p("VUSHR $4, V0.B16, V0.B16")
			bytesARM64(p, 0, 28, 30, 64*g+16*half)
			bytesARM64(p, 1, 29, 31, 64*g+32+16*half)
		}
	}
	p("RET")
}

func sixBitsARM64(p func(string, ...any)) {
	p("MOVD dst+0(FP), R1")
	p("MOVD l+8(FP), R2")
	p("MOVD h+16(FP), R3")
	p("MOVD scale+24(FP), R4")
	p("MOVD $32, R5")
	p("VDUP R5, V29.B16")
	for half := range 2 {
		for at := range 2 {
			p("FMOVQ %d(R2), F16", 64*half+16*at)
			p("FMOVQ %d(R2), F17", 64*half+32+16*at)
			p("FMOVQ %d(R3), F18", 32*half+16*at)
			for k := range 4 {
				low := fmt.Sprintf("V%d.B16", 16+k%2)
				if k < 2 {
					p("VSHL $4, %s, V19.B16", low)
					p("VUSHR $4, V19.B16, V19.B16")
				} else {
					p("VUSHR $4, %s, V19.B16", low)
				}
				high := "V18.B16"
				if k < 3 {
					p("VSHL $%d, V18.B16, V20.B16", 6-2*k)
					high = "V20.B16"
				}
				p("VUSHR $6, %s, V20.B16", high)
				p("VSHL $4, V20.B16, V20.B16")
				p("VORR V20.B16, V19.B16, V19.B16")
				p("VSUB V29.B16, V19.B16, V19.B16")
				p("ADD $%d, R4, R6", 4*(8*half+at+2*k))
				p("VLD1R (R6), [V28.S4]")
				bytesARM64(p, 19, 28, -1, 128*half+32*k+16*at)
			}
		}
	}
	p("RET")
}
