package main

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
	p("VMOVUPS (CX), Z9")
	p("MOVQ $0x181c1014080c0004, AX") // of a dword's codes, how far to shift
	p("VMOVQ AX, X8")
	p("VPUNPCKLQDQ X8, X8, X8")
	p("VPMOVZXBD X8, Z8")
	p("MOVL $0xff00, AX")
	p("KMOVW AX, K1")
	nf4LoopAMD64(p, "Z10", func() {
		for i := range 2 {
			p("VPBROADCASTD %d(SI), Z%d", 8*i, i)
			p("VPBROADCASTD %d(SI), K1, Z%d", 8*i+4, i)
			p("VPSRLVD Z8, Z%d, Z%d", i, i)
			p("VPERMPS Z9, Z%d, Z%d", i, i)
			p("VMULPS Z10, Z%d, Z%d", i, i)
			p("%s Z%d, %d(DI)", store, i, 64*i)
		}
		p("ADDQ $16, SI")
		p("ADDQ $128, DI")
	})
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
