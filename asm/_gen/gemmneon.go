package main

// gemmARM64 keeps a tile of 6x16 in V8..V31, four registers a row. A single row waits
// for its multiply-adds; a second sum for every other step would hide that, and make
// an element's bits depend on how many rows its tile has.
func gemmARM64(p func(string, ...any), rows int) {
	word := func(w uint32, format string, args ...any) { p("WORD $0x%08x // "+format, append([]any{w}, args...)...) }
	p("MOVD k+0(FP), R10")
	p("MOVD a+8(FP), R1")
	p("MOVD ars+16(FP), R0")
	p("MOVD acs+24(FP), R11")
	p("MOVD b+32(FP), R8")
	p("MOVD brs+40(FP), R9")
	p("MOVD c+48(FP), R12")
	p("MOVD ldc+56(FP), R13")
	for _, r := range []string{"R0", "R11", "R9", "R13"} {
		p("LSL $2, %s, %s", r, r)
	}
	for r := 1; r < rows; r++ {
		p("ADD R0, R%d, R%d", r, r+1)
	}
	for v := range 4 * rows {
		p("VEOR V%d.B16, V%d.B16, V%d.B16", 8+v, 8+v, 8+v)
	}
	p("MOVD ZR, R7")
	p("CBZ R10, write")
	p("single:")
	p("VLD1 (R8), [V0.S4, V1.S4, V2.S4, V3.S4]")
	for r := range rows {
		p("FMOVS (R%d)(R7), F%d", 1+r, 4+r%4)
		for q := range 4 {
			d, t := 8+4*r+q, 4+r%4
			word(0x4F801000|uint32(t<<16|q<<5|d), "fmla v%d.4s, v%d.4s, v%d.s[0]", d, q, t)
		}
	}
	p("ADD R11, R7")
	p("ADD R9, R8")
	p("SUB $1, R10")
	p("CBNZ R10, single")
	p("write:")
	p("MOVWU alpha+64(FP), R0")
	p("VDUP R0, V4.S4")
	p("MOVBU accumulate+68(FP), R0")
	p("CBZ R0, store")
	for r := range rows {
		p("VLD1 (R12), [V0.S4, V1.S4, V2.S4, V3.S4]")
		for q := range 4 {
			p("VFMLA V4.S4, V%d.S4, V%d.S4", 8+4*r+q, q)
		}
		p("VST1 [V0.S4, V1.S4, V2.S4, V3.S4], (R12)")
		p("ADD R13, R12")
	}
	p("RET")
	p("store:")
	for r := range rows {
		for q := range 4 {
			d := 8 + 4*r + q
			word(0x6E20DC00|uint32(4<<16|d<<5|q), "fmul v%d.4s, v%d.4s, v4.4s", q, d)
		}
		p("VST1 [V0.S4, V1.S4, V2.S4, V3.S4], (R12)")
		p("ADD R13, R12")
	}
	p("RET")
}
