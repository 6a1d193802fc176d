package main

// packARM64 transposes two blocks of 4x4 at a time.
func packARM64(p func(string, ...any)) {
	p("MOVD dst+0(FP), R9")
	p("MOVD src+8(FP), R1")
	p("MOVD ld+16(FP), R0")
	p("MOVD k+24(FP), R12")
	p("LSL $2, R0, R0")
	for r := 1; r < 8; r++ {
		p("ADD R0, R%d, R%d", r, r+1)
	}
	p("CBZ R12, done")
	p("block:")
	for half := range 2 {
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
		p("FMOVQ F%d, %d(R9)", 8+i, 64*i)
		p("FMOVQ F%d, %d(R9)", 24+i, 64*i+16)
	}
	p("ADD $256, R9")
	p("SUB $4, R12")
	p("CBNZ R12, block")
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
