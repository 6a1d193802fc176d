package main

// packAMD64 transposes blocks of 8x8. A register holds four elements of row i
// in its lower and of row i+4 in its upper half, so that the shuffles need not
// cross the halves.
func packAMD64(p func(string, ...any)) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ src+8(FP), AX")
	p("MOVQ ld+16(FP), BX")
	p("MOVQ k+24(FP), R12")
	p("SHLQ $2, BX")
	p("LEAQ (BX)(BX*2), CX")
	p("LEAQ (AX)(BX*4), SI")
	off := []string{"", "(BX*1)", "(BX*2)", "(CX*1)"}
	p("JMP check")
	p("block:")
	for half := range 2 {
		for i := range 4 {
			p("VMOVUPS %d(AX)%s, X%d", 16*half, off[i], i)
			p("VINSERTF128 $1, %d(SI)%s, Y%d, Y%d", 16*half, off[i], i, i)
		}
		p("VUNPCKLPS Y1, Y0, Y4")
		p("VUNPCKHPS Y1, Y0, Y5")
		p("VUNPCKLPS Y3, Y2, Y6")
		p("VUNPCKHPS Y3, Y2, Y7")
		for i, s := range []string{"VUNPCKLPD Y6, Y4", "VUNPCKHPD Y6, Y4", "VUNPCKLPD Y7, Y5", "VUNPCKHPD Y7, Y5"} {
			p("%s, Y8", s)
			p("VMOVUPS Y8, %d(DI)", 256*half+64*i)
		}
	}
	p("ADDQ $32, AX")
	p("ADDQ $32, SI")
	p("ADDQ $512, DI")
	p("SUBQ $8, R12")
	p("check:")
	p("TESTQ R12, R12")
	p("JNE block")
	p("VZEROUPPER")
	p("RET")
}

func packRowsAMD64(p func(string, ...any), panels int) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ src+8(FP), AX")
	p("MOVQ ld+16(FP), BX")
	p("MOVQ k+24(FP), R12")
	p("SHLQ $2, BX")
	p("MOVQ R12, R8")
	p("SHLQ $6, R8")
	p("LEAQ (R8)(R8*2), R9")
	p("LEAQ (AX)(BX*8), SI")
	dst := []string{"(DI)", "(DI)(R8*1)", "(DI)(R8*2)", "(DI)(R9*1)"}
	p("TESTQ R12, R12")
	p("JEQ done")
	p("row:")
	for i := range panels {
		p("PREFETCHT0 %d(SI)", 64*i)
		p("VMOVUPS %d(AX), Y%d", 64*i, 2*i)
		p("VMOVUPS %d(AX), Y%d", 64*i+32, 2*i+1)
	}
	for i := range panels {
		p("VMOVUPS Y%d, %s", 2*i, dst[i])
		p("VMOVUPS Y%d, 32%s", 2*i+1, dst[i])
	}
	p("ADDQ BX, AX")
	p("ADDQ BX, SI")
	p("ADDQ $64, DI")
	p("DECQ R12")
	p("JNE row")
	p("done:")
	p("VZEROUPPER")
	p("RET")
}
