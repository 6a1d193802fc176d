package main

// dotsNEON are the formats that NEON multiplies where they lie: those that it
// decodes, F16 and F32.
var dotsNEON = append([]rowFormat{{name: "F32", bytes: 128}, {name: "F16", bytes: 64}}, rowFormats...)

// dotsKernelNEON keeps the slots of a vector in V20…V27, and of F32, by up to
// three vectors, in V8…V31.
func dotsKernelNEON(p printer, f rowFormat) {
	word := func(w uint32, format string, args ...any) { p("WORD $0x%08x // "+format, append([]any{w}, args...)...) }
	p("MOVD a+0(FP), R0")
	p("MOVD %d(R0), R1", argAcc)
	p("MOVD %d(R0), R6", argW)
	p("MOVD %d(R0), R7", argStride)
	p("MOVD %d(R0), R8", argRows)
	p("MOVD %d(R0), R9", argX)
	p("MOVD %d(R0), R13", argLdx)
	p("LSL $2, R13, R13")
	f.constantsARM64(p)
	most, slots, x := 1, 20, 16
	if f.name == "F32" {
		most, slots, x = 3, 8, 4
		p("MOVD %d(R0), R2", argM)
		for m := 2; m <= most; m++ {
			p("CMP $%d, R2", m)
			p("BEQ row%d", m)
		}
	}
	for m := 1; m <= most; m++ {
		p("row%d:", m)
		p("MOVD R6, R3")
		for j := range m {
			if j == 0 {
				p("MOVD R9, R14")
			} else {
				p("ADD R13, R%d, R%d", 13+j, 14+j)
			}
		}
		p("MOVD %d(R0), R10", argUnits)
		p("MOVD R1, R2")
		for v := slots; v < slots+8*m; v += 4 {
			p("VLD1.P 64(R2), [V%d.S4, V%d.S4, V%d.S4, V%d.S4]", v, v+1, v+2, v+3)
		}
		p("unit%d:", m)
		if f.name != "F32" && f.name != "F16" {
			f.headARM64(p)
		}
		for half := range 2 {
			w := 4
			switch f.name {
			case "F32":
				w = 0
				p("VLD1.P 64(R3), [V0.S4, V1.S4, V2.S4, V3.S4]")
			case "F16":
				p("VLD1.P 32(R3), [V0.H8, V1.H8]")
				for q := range 4 {
					if q%2 == 0 {
						word(0x0E217800|uint32(q/2<<5|(4+q)), "fcvtl v%d.4s, v%d.4h", 4+q, q/2)
					} else {
						word(0x4E217800|uint32(q/2<<5|(4+q)), "fcvtl2 v%d.4s, v%d.8h", 4+q, q/2)
					}
				}
			default:
				f.valuesARM64(p, half)
				if f.bf16 {
					break
				}
				for d := 4; d < 8; d++ {
					word(0x6E20DC00|uint32(31<<16|d<<5|d), "fmul v%d.4s, v%d.4s, v31.4s", d, d)
					if f.head == 4 {
						word(0x4E20D400|uint32(30<<16|d<<5|d), "fadd v%d.4s, v%d.4s, v30.4s", d, d)
					}
				}
			}
			for j := range m {
				p("VLD1.P 64(R%d), [V%d.S4, V%d.S4, V%d.S4, V%d.S4]", 14+j, x, x+1, x+2, x+3)
				for q := range 4 {
					p("VFMLA V%d.S4, V%d.S4, V%d.S4", x+q, w+q, slots+8*j+4*half+q)
				}
			}
		}
		if f.name != "F32" && f.name != "F16" {
			p("ADD $%d, R3", f.bytes)
		}
		p("SUB $1, R10")
		p("CBNZ R10, unit%d", m)
		for v := slots; v < slots+8*m; v += 4 {
			p("VST1.P [V%d.S4, V%d.S4, V%d.S4, V%d.S4], 64(R1)", v, v+1, v+2, v+3)
		}
		p("ADD R7, R6")
		p("SUB $1, R8")
		p("CBNZ R8, row%d", m)
		p("RET")
	}
}

// foldNEON adds up slots by halves: 32, 16, 8, 4, 2.
func foldNEON(p func(string, ...any)) {
	word := func(w uint32, format string, args ...any) { p("WORD $0x%08x // "+format, append([]any{w}, args...)...) }
	add := func(d, x, y int) {
		word(0x4E20D400|uint32(y<<16|x<<5|d), "fadd v%d.4s, v%d.4s, v%d.4s", d, x, y)
	}
	p("MOVD dst+0(FP), R0")
	p("MOVD acc+8(FP), R1")
	p("MOVD n+16(FP), R2")
	p("loop:")
	p("VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]")
	p("VLD1.P 64(R1), [V4.S4, V5.S4, V6.S4, V7.S4]")
	for n := 4; n > 0; n /= 2 {
		for i := range n {
			add(i, i, i+n)
		}
	}
	p("VEXT $8, V0.B16, V0.B16, V1.B16")
	add(0, 0, 1)
	word(0x7E30D800, "faddp s0, v0.2s")
	p("FMOVS.P F0, 4(R0)")
	p("SUB $1, R2")
	p("CBNZ R2, loop")
	p("RET")
}
