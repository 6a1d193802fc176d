package main

import "fmt"

// nf4s decode 4-bit codes: two a byte, the high nibble first.
func nf4s(arm bool) string {
	var l listing
	if arm {
		l.text("decodeNF4Vec", 48, nf4ARM64)
		return l.String()
	}
	l.text("decodeNF4Vec", 48, func(p func(string, ...any)) { nf4AMD64(p, "VMOVUPS") })
	l.text("decodeNF4Stream", 48, func(p func(string, ...any)) { nf4AMD64(p, "VMOVNTPS") })
	l.text("decodeNF4AVX512", 48, func(p func(string, ...any)) { nf4AVX512(p, "VMOVUPS") })
	l.text("decodeNF4StreamAVX512", 48, func(p func(string, ...any)) { nf4AVX512(p, "VMOVNTPS") })
	l.text("packNF4T", 64, packNF4T)
	for _, units := range []int{1, 2} {
		l.text(fmt.Sprintf("packNF4x%d", units), 72, func(p func(string, ...any)) { packNF4(p, units) })
	}
	l.text("storeFence", 0, func(p func(string, ...any)) {
		p("SFENCE")
		p("RET")
	})
	return l.String()
}

const nf4Decls = `
// decodeNF4Vec decodes units of 32 codes, at least one; per of them share a scale:
//
//	dst[i] = c.Values[code(i)] * absmax[i/(32*per)]
//
//go:noescape
func decodeNF4Vec(dst *float32, src *byte, absmax *float32, units, per int, c *Codebook)
`

const nf4Stubs = "func decodeNF4Vec(*float32, *byte, *float32, int, int, *Codebook) { panic(useVec) }\n"

// nf4LoopAMD64 writes the loop over the scales, with body for a unit.
func nf4LoopAMD64(p printer, scale string, body func()) {
	p("block:")
	p("VBROADCASTSS (DX), %s", scale)
	p("ADDQ $4, DX")
	p("MOVQ R8, R9")
	p("CMPQ R9, BX")
	p("CMOVQGT BX, R9")
	p("SUBQ R9, BX")
	p("unit:")
	body()
	p("DECQ R9")
	p("JNE unit")
	p("TESTQ BX, BX")
	p("JNE block")
}

func nf4ArgsAMD64(p printer) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ src+8(FP), SI")
	p("MOVQ absmax+16(FP), DX")
	p("MOVQ units+24(FP), BX")
	p("MOVQ per+32(FP), R8")
	p("MOVQ c+40(FP), CX")
}

// nf4AMD64 looks up the four bytes of a value each in a table of 16.
func nf4AMD64(p printer, store string) {
	nf4ArgsAMD64(p)
	for b := range 4 {
		p("VBROADCASTI128 %d(CX), Y%d", 64+16*b, 12+b)
	}
	// Codes 0..3, 8..11, … into the lower half: unpacking works within halves.
	p("MOVQ $0x0705030106040200, AX")
	p("VMOVQ AX, X11")
	p("VPMOVZXBD X11, Y11")
	p("MOVL $0x0f000f00, AX")
	p("VMOVD AX, X9")
	p("VPBROADCASTD X9, Y9")
	nf4LoopAMD64(p, "Y10", func() {
		p("VPMOVZXBW (SI), Y0")
		p("VPSRLW $4, Y0, Y1")
		p("VPSLLW $8, Y0, Y0")
		p("VPAND Y9, Y0, Y0")
		p("VPOR Y1, Y0, Y0")
		p("VPERMD Y0, Y11, Y0")
		for b := range 4 {
			p("VPSHUFB Y0, Y%d, Y%d", 12+b, 1+b)
		}
		p("VPUNPCKLBW Y2, Y1, Y5")
		p("VPUNPCKHBW Y2, Y1, Y6")
		p("VPUNPCKLBW Y4, Y3, Y7")
		p("VPUNPCKHBW Y4, Y3, Y8")
		p("VPUNPCKLWD Y7, Y5, Y1")
		p("VPUNPCKHWD Y7, Y5, Y2")
		p("VPUNPCKLWD Y8, Y6, Y3")
		p("VPUNPCKHWD Y8, Y6, Y4")
		for i := range 4 {
			p("VMULPS Y10, Y%d, Y%d", 1+i, 1+i)
			p("%s Y%d, %d(DI)", store, 1+i, 32*i)
		}
		p("ADDQ $16, SI")
		p("ADDQ $128, DI")
	})
	p("VZEROUPPER")
	p("RET")
}

// nf4AVX512 has all values in one register and each code in a lane of its own.
func nf4AVX512(p printer, store string) {
	nf4ArgsAMD64(p)
	nf4Constants512(p)
	nf4LoopAMD64(p, "Z10", func() {
		for i := range 2 {
			nf4Vector512(p, i, 10)
			p("%s Z%d, %d(DI)", store, i, 64*i)
		}
		p("ADDQ $16, SI")
		p("ADDQ $128, DI")
	})
	p("VZEROUPPER")
	p("RET")
}

// nf4Constants512 loads what nf4Vector512 uses; the codebook is at CX.
func nf4Constants512(p printer) {
	p("VMOVUPS (CX), Z9")
	p("MOVQ $0x181c1014080c0004, AX") // of a dword's codes, how far to shift
	p("VMOVQ AX, X8")
	p("VPUNPCKLQDQ X8, X8, X8")
	p("VPMOVZXBD X8, Z8")
	p("MOVL $0xff00, AX")
	p("KMOVW AX, K1")
}

// nf4Vector512 decodes number i of the vectors at SI into Z<i>.
func nf4Vector512(p printer, i, scale int) {
	p("VPBROADCASTD %d(SI), Z%d", 8*i, i)
	p("VPBROADCASTD %d(SI), K1, Z%d", 8*i+4, i)
	p("VPSRLVD Z8, Z%d, Z%d", i, i)
	p("VPERMPS Z9, Z%d, Z%d", i, i)
	p("VMULPS Z%d, Z%d, Z%d", scale, i, i)
}

// packNF4T decodes units of 32 codes of 16 rows, 16 bytes each. Row i's are in lane i
// of what the transposing within lanes gives: a register then holds eight codes
// of each row, and a shift brings one of them to where VPERMPS looks.
func packNF4T(p func(string, ...any)) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ src+8(FP), SI")
	p("MOVQ ld+16(FP), R8")
	p("MOVQ scales+24(FP), DX")
	p("MOVQ lds+32(FP), CX")
	p("MOVQ units+40(FP), BX")
	p("MOVQ c+56(FP), AX")
	p("SHLQ $2, CX")
	p("VMOVUPS (AX), Z31")
	rows := []string{"SI", "R10", "R11", "R12"} // 0, 4, 8 and 12
	for i := range 3 {
		p("LEAQ (%s)(R8*4), %s", rows[i], rows[i+1])
		p("MOVL $0x%x, AX", 0xf0<<(4*i))
		p("KMOVW AX, K%d", 1+i)
	}
	p("LEAQ (R8)(R8*2), R9")
	p("block:")
	p("MOVQ DX, AX")
	for i := range 16 {
		if i%4 == 0 {
			p("VMOVSS (AX), X%d", i/4)
		} else {
			p("VINSERTPS $0x%x, (AX), X%d, X%d", i%4<<4, i/4, i/4)
		}
		p("ADDQ CX, AX")
	}
	p("VINSERTF32X4 $1, X1, Z0, Z30")
	p("VINSERTF32X4 $2, X2, Z30, Z30")
	p("VINSERTF32X4 $3, X3, Z30, Z30")
	p("ADDQ $4, DX")
	p("MOVQ per+48(FP), R13")
	p("CMPQ R13, BX")
	p("CMOVQGT BX, R13")
	p("SUBQ R13, BX")
	at := []string{"(%s)", "(%s)(R8*1)", "(%s)(R8*2)", "(%s)(R9*1)"}
	for _, a := range at {
		for _, r := range rows {
			p("PREFETCHT1 128"+a, r) // the next piece of 256
		}
	}
	p("unit:")
	for i, at := range at {
		p("VMOVDQU "+at+", X%d", rows[0], i)
		for q := 1; q < 4; q++ {
			p("VBROADCASTI32X4 "+at+", K%d, Z%d", rows[q], q, i)
		}
	}
	for i := range 2 {
		p("VPUNPCKLDQ Z%d, Z%d, Z%d", 2*i+1, 2*i, 4+i)
		p("VPUNPCKHDQ Z%d, Z%d, Z%d", 2*i+1, 2*i, 6+i)
	}
	for i := range 2 {
		p("VPUNPCKLQDQ Z%d, Z%d, Z%d", 5+2*i, 4+2*i, 2*i)
		p("VPUNPCKHQDQ Z%d, Z%d, Z%d", 5+2*i, 4+2*i, 2*i+1)
	}
	for i := range 32 {
		// The high nibble of a byte comes first.
		z, shift := 8+i%8, i%8*4^4
		if shift == 0 {
			p("VPERMPS Z31, Z%d, Z%d", i/8, z)
		} else {
			p("VPSRLD $%d, Z%d, Z%d", shift, i/8, z)
			p("VPERMPS Z31, Z%d, Z%d", z, z)
		}
		p("VMULPS Z30, Z%d, Z%d", z, z)
		p("VMOVUPS Z%d, %d(DI)", z, 64*i)
	}
	for _, r := range rows {
		p("ADDQ $16, %s", r)
	}
	p("ADDQ $2048, DI")
	p("DECQ R13")
	p("JNE unit")
	p("TESTQ BX, BX")
	p("JNE block")
	p("VZEROUPPER")
	p("RET")
}

// packNF4 decodes units of 32 codes of each row into two panels a unit.
func packNF4(p func(string, ...any), units int) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ ldd+8(FP), R10")
	p("MOVQ src+16(FP), SI")
	p("MOVQ ld+24(FP), R8")
	p("MOVQ scales+32(FP), DX")
	p("MOVQ lds+40(FP), R9")
	p("MOVQ second+48(FP), R11")
	p("MOVQ k+56(FP), BX")
	p("MOVQ c+64(FP), CX")
	p("SHLQ $2, R10")
	p("SHLQ $2, R9")
	p("LEAQ (R10)(R10*2), R12")
	p("MOVQ BX, R13") // from a row to that of the next piece
	p("IMULQ R8, R13")
	nf4Constants512(p)
	p("row:")
	p("PREFETCHT1 (SI)(R13*1)")
	for u := range units {
		scale := []string{"(DX)", "(DX)(R11*4)"}[u]
		p("VBROADCASTSS %s, Z%d", scale, 10+u)
	}
	for i := range 2 * units {
		nf4Vector512(p, i, 10+i/2)
		p("VMOVUPS Z%d, (DI)%s", i, []string{"", "(R10*1)", "(R10*2)", "(R12*1)"}[i])
	}
	p("ADDQ R8, SI")
	p("ADDQ R9, DX")
	p("ADDQ $64, DI")
	p("DECQ BX")
	p("JNE row")
	p("VZEROUPPER")
	p("RET")
}

func nf4ARM64(p func(string, ...any)) {
	word := func(w uint32, format string, args ...any) { p("WORD $0x%08x // "+format, append([]any{w}, args...)...) }
	p("MOVD dst+0(FP), R1")
	p("MOVD src+8(FP), R2")
	p("MOVD absmax+16(FP), R3")
	p("MOVD units+24(FP), R4")
	p("MOVD per+32(FP), R5")
	p("MOVD c+40(FP), R6")
	p("ADD $64, R6")
	p("VLD1 (R6), [V16.B16, V17.B16, V18.B16, V19.B16]")
	p("MOVD $15, R7")
	p("VDUP R7, V20.B16")
	p("block:")
	p("VLD1R.P 4(R3), [V21.S4]")
	p("CMP R5, R4")
	p("CSEL LT, R4, R5, R7")
	p("SUB R7, R4")
	p("unit:")
	p("VLD1.P 16(R2), [V0.B16]")
	p("VUSHR $4, V0.B16, V1.B16")
	p("VAND V20.B16, V0.B16, V0.B16")
	p("VZIP1 V0.B16, V1.B16, V2.B16")
	p("VZIP2 V0.B16, V1.B16, V3.B16")
	for half := range 2 {
		for b := range 4 {
			p("VTBL V%d.B16, [V%d.B16], V%d.B16", 2+half, 16+b, 4+b)
		}
		p("VZIP1 V5.B16, V4.B16, V22.B16")
		p("VZIP2 V5.B16, V4.B16, V23.B16")
		p("VZIP1 V7.B16, V6.B16, V24.B16")
		p("VZIP2 V7.B16, V6.B16, V25.B16")
		p("VZIP1 V24.H8, V22.H8, V4.H8")
		p("VZIP2 V24.H8, V22.H8, V5.H8")
		p("VZIP1 V25.H8, V23.H8, V6.H8")
		p("VZIP2 V25.H8, V23.H8, V7.H8")
		for d := 4; d < 8; d++ {
			word(0x6E20DC00|uint32(21<<16|d<<5|d), "fmul v%d.4s, v%d.4s, v21.4s", d, d)
		}
		p("VST1.P [V4.S4, V5.S4, V6.S4, V7.S4], 64(R1)")
	}
	p("SUB $1, R7")
	p("CBNZ R7, unit")
	p("CBNZ R4, block")
	p("RET")
}
