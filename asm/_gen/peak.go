package main

// fmaLoop repeats multiply-adds on registers that hold zeros: 12 of them, or the
// 24 of AVX-512.
func fmaLoop(arm bool, width string, registers int) func(p func(string, ...any)) {
	return func(p func(string, ...any)) {
		if arm {
			p("MOVD n+0(FP), R0")
			for v := range registers + 1 {
				p("VEOR V%d.B16, V%d.B16, V%d.B16", v, v, v)
			}
			p("CBZ R0, done")
			p("loop:")
			for v := range registers {
				p("VFMLA V%d.S4, V%d.S4, V%d.S4", registers, registers, v)
			}
			p("SUB $1, R0")
			p("CBNZ R0, loop")
			p("done:")
			p("RET")
			return
		}
		p("MOVQ n+0(FP), AX")
		for v := range registers + 1 {
			p("VXORPS %s%d, %s%d, %s%d", width, v, width, v, width, v)
		}
		p("TESTQ AX, AX")
		p("JEQ done")
		p("PCALIGN $32")
		p("loop:")
		for v := range registers {
			p("VFMADD231PS %s%d, %s%d, %s%d", width, registers, width, registers, width, v)
		}
		p("DECQ AX")
		p("JNE loop")
		p("done:")
		p("VZEROUPPER")
		p("RET")
	}
}
