package main

// packARM64 transposes one or two blocks of 4x4 at a time.
func packARM64(p func(string, ...any), rows int) {
	p("MOVD dst+0(FP), R9")
	p("MOVD ldd+8(FP), R10")
	p("MOVD src+16(FP), R1")
	p("MOVD ld+24(FP), R0")
	p("MOVD k+32(FP), R12")
	p("LSL $2, R0, R0")
	p("LSL $2, R10, R10")
	for r := 1; r < rows; r++ {
		p("ADD R0, R%d, R%d", r, r+1)
	}
	p("CBZ R12, done")
	p("block:")
	for half := range rows / 4 {
		b := 16 * half
		for i := range 4 {
			p("FMOVQ.P 16(R%d), F%d", 1+4*half+i, b+i)
		}
		p("VTRN1 V%d.S4, V%d.S4, V%d.S4", b+1, b, b+4)
		p("VTRN2 V%d.S4, V%d.S4, V%d.S4", b+1, b, b+5)
		p("VTRN1 V%d.S4, V%d.S4, V%d.S4", b+3, b+2, b+6)
		p("VTRN2 V%d.S4, V%d.S4, V%d.S4", b+3, b+2, b+7)
		p("VTRN1 V%d.D2, V%d.D2, V%d.D2", b+6, b+4, b+8)
		p("VTRN1 V%d.D2, V%d.D2, V%d.D2", b+7, b+5, b+9)
		p("VTRN2 V%d.D2, V%d.D2, V%d.D2", b+6, b+4, b+10)
		p("VTRN2 V%d.D2, V%d.D2, V%d.D2", b+7, b+5, b+11)
	}
	for i := range 4 {
		p("FMOVQ F%d, (R9)", 8+i)
		if rows == 8 {
			p("FMOVQ F%d, 16(R9)", 24+i)
		}
		p("ADD R10, R9")
	}
	p("SUB $4, R12")
	p("CBNZ R12, block")
	p("done:")
	p("RET")
}

// packCopyARM64 copies the first four columns and the last four, which overlap.
func packCopyARM64(p func(string, ...any)) {
	p("MOVD dst+0(FP), R9")
	p("MOVD src+8(FP), R1")
	p("MOVD ld+16(FP), R0")
	p("MOVD k+24(FP), R12")
	p("MOVD n+32(FP), R2")
	p("LSL $2, R0, R0")
	p("LSL $2, R2, R2")
	p("SUB $16, R2, R3")
	p("CBZ R12, done")
	p("row:")
	p("FMOVQ (R1), F0")
	p("ADD R3, R1, R4")
	p("FMOVQ (R4), F1")
	p("FMOVQ F0, (R9)")
	p("ADD R3, R9, R4")
	p("FMOVQ F1, (R4)")
	p("ADD R0, R1")
	p("ADD R2, R9")
	p("SUB $1, R12")
	p("CBNZ R12, row")
	p("done:")
	p("RET")
}

func packRowsARM64(p func(string, ...any), panels int) {
	p("MOVD dst+0(FP), R9")
	p("MOVD src+8(FP), R1")
	p("MOVD ld+16(FP), R0")
	p("MOVD k+24(FP), R12")
	p("LSL $2, R0, R0")
	p("LSL $6, R12, R13")
	for i := 1; i < panels; i++ {
		p("ADD R13, R%d, R%d", 8+i, 9+i) // R10, R11 and, the count done, R12
	}
	p("CBZ R13, done")
	p("ADD R9, R13, R13")
	p("row:")
	p("MOVD R1, R2")
	for i := range panels {
		p("VLD1.P 64(R2), [V0.S4, V1.S4, V2.S4, V3.S4]")
		p("VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R%d)", 9+i)
	}
	p("ADD R0, R1")
	p("CMP R13, R9")
	p("BNE row")
	p("done:")
	p("RET")
}
