package main

// pairT512 rounds rows to pairs of BF16 and transposes them, 16 pairs at a time: a
// vector is a row's. Four groups of four rows are transposed within the vectors'
// quarters, then quarters and groups; of fewer than 16 rows the groups overlap, and the
// last permutation, whose indices the caller gives, leaves out what is there twice.
func pairT512(p func(string, ...any)) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ ldd+8(FP), DX")
	p("MOVQ src+16(FP), R8")
	p("MOVQ ld+24(FP), BX")
	p("MOVQ rows+32(FP), CX")
	p("MOVQ k+40(FP), R12")
	p("MOVQ order+48(FP), AX")
	p("VMOVDQU32 (AX), Z30")
	p("VMOVDQU32 64(AX), Z31")
	p("MOVL $-1, R13")
	p("BZHIL DX, R13, AX")
	p("KMOVW AX, K1") // words of a row of dst
	p("BZHIL CX, R13, AX")
	p("KMOVW AX, K2") // those that are not zero
	p("SHLQ $2, BX")
	p("SHLQ $2, DX")
	p("SUBQ $4, CX") // the last group's first row
	for g, row := range []string{"R9", "R10", "R11"} {
		p("MOVQ $%d, AX", 4*(g+1))
		p("CMPQ AX, CX")
		p("CMOVQGT CX, AX")
		p("IMULQ BX, AX")
		p("LEAQ (R8)(AX*1), %s", row)
	}
	p("LEAQ (BX)(BX*2), CX")
	p("LEAQ (DX)(DX*2), SI")
	rows := []string{"(%s)", "(%s)(BX*1)", "(%s)(BX*2)", "(%s)(CX*1)"}
	p("block:")
	p("MOVQ $32, AX")
	p("CMPQ R12, AX")
	p("CMOVQLT R12, AX")
	p("MOVL $-1, R13")
	p("BZHIL AX, R13, AX")
	p("KMOVW AX, K3")
	p("SHRL $16, AX")
	p("KMOVW AX, K4")
	for g, base := range []string{"R8", "R9", "R10", "R11"} {
		for i, at := range rows {
			p("VMOVUPS.Z "+at+", K3, Z16", base)
			p("VMOVUPS.Z 64"+at+", K4, Z17", base)
			evex(p, 0x72, 0xF2, 4*g+i, 17, 16, "vcvtne2ps2bf16 %%zmm16, %%zmm17, %%zmm%d", 4*g+i)
		}
		r := 4 * g
		p("VUNPCKLPS Z%d, Z%d, Z18", r+1, r)
		p("VUNPCKHPS Z%d, Z%d, Z19", r+1, r)
		p("VUNPCKLPS Z%d, Z%d, Z20", r+3, r+2)
		p("VUNPCKHPS Z%d, Z%d, Z21", r+3, r+2)
		p("VUNPCKLPD Z20, Z18, Z%d", r)
		p("VUNPCKHPD Z20, Z18, Z%d", r+1)
		p("VUNPCKLPD Z21, Z19, Z%d", r+2)
		p("VUNPCKHPD Z21, Z19, Z%d", r+3)
	}
	for _, row := range []string{"R8", "R9", "R10", "R11"} {
		p("ADDQ $128, %s", row)
	}
	p("LEAQ (DI)(DX*4), AX")
	p("LEAQ (DI)(DX*8), R13")
	p("LEAQ (AX)(DX*8), R15")
	to := []string{"(%s)", "(%s)(DX*1)", "(%s)(DX*2)", "(%s)(SI*1)"}
	for j := range 4 {
		for half, quarters := range []int{0x44, 0xEE} {
			p("VSHUFF32X4 $0x%02x, Z%d, Z%d, Z16", quarters, 4+j, j)
			p("VSHUFF32X4 $0x%02x, Z%d, Z%d, Z17", quarters, 12+j, 8+j)
			p("VMOVAPS Z16, Z18")
			for i, base := range [][]string{{"DI", "AX"}, {"R13", "R15"}}[half] {
				z := 18 - 2*i
				p("VPERMT2PS.Z Z17, Z%d, K2, Z%d", 30+i, z)
				l := 8*half + 4*i + j
				p("CMPQ R12, $%d", 2*l)
				p("JLE past%d", l)
				p("VMOVUPS Z%d, K1, "+to[j], z, base)
				p("past%d:", l)
			}
		}
	}
	p("LEAQ (R13)(DX*8), DI")
	p("SUBQ $32, R12")
	p("JGT block")
	p("VZEROUPPER")
	p("RET")
}

// weaveBF16 rounds vectors of two rows and weaves the two halves of the result by a
// permutation of words.
func weaveBF16(p func(string, ...any), first, second, to int) {
	evex(p, 0x72, 0xF2, to, second, first, "vcvtne2ps2bf16 %%zmm%d, %%zmm%d, %%zmm%d", first, second, to)
	p("VPERMW Z%d, Z31, Z%d", to, to)
}

func pairCopy512(p func(string, ...any)) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ ldd+8(FP), DX")
	p("MOVQ src+16(FP), AX")
	p("MOVQ ld+24(FP), BX")
	p("MOVQ k+32(FP), R12")
	p("MOVQ n+40(FP), CX")
	p("MOVL $-1, R8")
	p("BZHIL DX, R8, R9")
	p("KMOVW R9, K1")
	p("BZHIL CX, R8, R9")
	p("KMOVW R9, K2")
	p("SHLQ $2, BX")
	p("SHLQ $2, DX")
	p("VMOVDQU16 weave<>(SB), Z31")
	p("pair:")
	p("VMOVUPS.Z (AX), K2, Z0")
	p("VMOVUPS.Z (AX)(BX*1), K2, Z1")
	weaveBF16(p, 0, 1, 2)
	p("VMOVUPS Z2, K1, (DI)")
	p("LEAQ (AX)(BX*2), AX")
	p("ADDQ DX, DI")
	p("DECQ R12")
	p("JNE pair")
	p("VZEROUPPER")
	p("RET")
}

func pairPanels512(p func(string, ...any), panels int) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ stride+8(FP), R8")
	p("MOVQ src+16(FP), AX")
	p("MOVQ ld+24(FP), BX")
	p("MOVQ k+32(FP), R12")
	p("SHLQ $2, BX")
	p("SHLQ $2, R8")
	p("LEAQ (R8)(R8*2), R9")
	p("LEAQ (AX)(BX*8), SI")
	p("VMOVDQU16 weave<>(SB), Z31")
	dst := []string{"(DI)", "(DI)(R8*1)", "(DI)(R8*2)", "(DI)(R9*1)"}
	p("pair:")
	for i := range panels {
		p("PREFETCHT0 %d(SI)", 64*i)
		p("PREFETCHT0 %d(SI)(BX*1)", 64*i)
		p("VMOVUPS %d(AX), Z%d", 64*i, 3*i)
		p("VMOVUPS %d(AX)(BX*1), Z%d", 64*i, 3*i+1)
		weaveBF16(p, 3*i, 3*i+1, 3*i+2)
		p("VMOVUPS Z%d, %s", 3*i+2, dst[i])
	}
	p("LEAQ (AX)(BX*2), AX")
	p("LEAQ (SI)(BX*2), SI")
	p("ADDQ $64, DI")
	p("DECQ R12")
	p("JNE pair")
	p("VZEROUPPER")
	p("RET")
}
