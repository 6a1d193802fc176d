package main

func dotsARM64(p func(string, ...any), rows, xs int) {
	p("MOVD dst+0(FP), R10")
	p("MOVD ldd+8(FP), R11")
	p("MOVD w+16(FP), R1")
	p("MOVD ld+24(FP), R0")
	p("MOVD x+32(FP), R5")
	p("MOVD ldx+40(FP), R9")
	p("MOVD k+48(FP), R12")
	for _, r := range []string{"R0", "R9", "R11"} {
		p("LSL $2, %s, %s", r, r)
	}
	for r := 1; r < rows; r++ {
		p("ADD R0, R%d, R%d", r, r+1)
	}
	for j := 1; j < xs; j++ {
		p("ADD R9, R%d, R%d", 4+j, 5+j)
	}
	acc := func(r, j int) int { return 4 + r*xs + j }
	for v := range rows * xs {
		p("VEOR V%d.B16, V%d.B16, V%d.B16", 4+v, 4+v, 4+v)
	}
	p("CBZ R12, write")
	p("single:")
	for j := range xs {
		p("FMOVQ.P 16(R%d), F%d", 5+j, j)
	}
	for r := range rows {
		p("FMOVQ.P 16(R%d), F3", 1+r)
		for j := range xs {
			p("VFMLA V%d.S4, V3.S4, V%d.S4", j, acc(r, j))
		}
	}
	p("SUB $4, R12")
	p("CBNZ R12, single")
	p("write:")
	for j := range xs {
		for r := range rows {
			n := acc(r, j)
			for range 2 {
				p("WORD $0x%08x // faddp v%d.4s, v%d.4s, v%d.4s", 0x6E20D400|uint32(n<<16|n<<5|n), n, n, n)
			}
			p("FMOVS F%d, %d(R10)", n, 4*r)
		}
		p("ADD R11, R10")
	}
	p("RET")
}
