package main

import "fmt"

// The decoders of GGUF's block formats: 32 elements a block, with an F16 scale
// d (and, in Q4_1, a minimum m) before the quantised values. Multiplication and
// addition are rounded one by one, as the format's reference does.

type blockFormat struct {
	name, doc string
	bytes     int
}

var blockFormats = []blockFormat{
	{"decodeQ8_0Vec", "dst[i] = d * q[i], a block being an F16 d and 32 int8 q", 34},
	{"decodeQ4_0Vec", "dst[i] = d * (q[i]-8), a block being an F16 d and 32 nibbles q, low ones first", 18},
	{"decodeQ4_1Vec", "dst[i] = d*q[i] + m, a block being F16 d and m and 32 nibbles q, low ones first", 20},
}

func (f blockFormat) head() int {
	if f.name == "decodeQ4_1Vec" {
		return 4
	}
	return 2
}

func (f blockFormat) amd64(p func(string, ...any)) {
	p("MOVQ dst_base+0(FP), DI")
	p("MOVQ dst_len+8(FP), R12")
	p("MOVQ src_base+24(FP), SI")
	nibbles := f.name != "decodeQ8_0Vec"
	if nibbles {
		p("MOVL $0x0f0f0f0f, AX")
		p("VMOVD AX, X14")
		p("VPBROADCASTD X14, X14")
		p("MOVL $0x08080808, AX")
		p("VMOVD AX, X13")
		p("VPBROADCASTD X13, X13")
	}
	p("SHRQ $5, R12")
	p("JEQ done")
	p("block:")
	p("MOVWLZX (SI), AX")
	p("VMOVD AX, X15")
	p("VCVTPH2PS X15, X15")
	p("VBROADCASTSS X15, Y15")
	if f.head() == 4 {
		p("MOVWLZX 2(SI), AX")
		p("VMOVD AX, X12")
		p("VCVTPH2PS X12, X12")
		p("VBROADCASTSS X12, Y12")
	}
	if nibbles {
		p("VMOVDQU %d(SI), X8", f.head())
		p("VPSRLW $4, X8, X9")
		p("VPAND X14, X8, X8")
		p("VPAND X14, X9, X9")
		if f.head() == 2 {
			p("VPSUBB X13, X8, X8")
			p("VPSUBB X13, X9, X9")
		}
		for i, r := range []string{"X8", "X9"} {
			p("VPMOVSXBD %s, Y%d", r, 2*i)
			p("VPSRLDQ $8, %s, %s", r, r)
			p("VPMOVSXBD %s, Y%d", r, 2*i+1)
		}
	} else {
		for i := range 4 {
			p("VPMOVSXBD %d(SI), Y%d", 2+8*i, i)
		}
	}
	for i := range 4 {
		p("VCVTDQ2PS Y%d, Y%d", i, i)
		p("VMULPS Y15, Y%d, Y%d", i, i)
		if f.head() == 4 {
			p("VADDPS Y12, Y%d, Y%d", i, i)
		}
		p("VMOVUPS Y%d, %d(DI)", i, 32*i)
	}
	p("ADDQ $%d, SI", f.bytes)
	p("ADDQ $128, DI")
	p("DECQ R12")
	p("JNE block")
	p("done:")
	p("VZEROUPPER")
	p("RET")
}

func (f blockFormat) arm64(p func(string, ...any)) {
	word := func(w uint32, format string, args ...any) { p("WORD $0x%08x // "+format, append([]any{w}, args...)...) }
	p("MOVD dst_base+0(FP), R1")
	p("MOVD dst_len+8(FP), R2")
	p("MOVD src_base+24(FP), R3")
	nibbles := f.name != "decodeQ8_0Vec"
	if nibbles {
		p("MOVD $8, R4")
		p("VDUP R4, V29.B16")
	}
	p("LSR $5, R2, R2")
	p("CBZ R2, done")
	p("block:")
	p("MOVHU (R3), R4")
	p("FMOVS R4, F31")
	p("FCVTHS F31, F31")
	p("VDUP V31.S[0], V31.S4")
	if f.head() == 4 {
		p("MOVHU 2(R3), R4")
		p("FMOVS R4, F30")
		p("FCVTHS F30, F30")
		p("VDUP V30.S[0], V30.S4")
	}
	p("ADD $%d, R3, R5", f.head())
	if nibbles {
		p("VLD1 (R5), [V0.B16]")
		p("VUSHR $4, V0.B16, V1.B16")
		p("VSHL $4, V0.B16, V0.B16")
		p("VUSHR $4, V0.B16, V0.B16")
		if f.head() == 2 {
			p("VSUB V29.B16, V0.B16, V0.B16")
			p("VSUB V29.B16, V1.B16, V1.B16")
		}
	} else {
		p("VLD1 (R5), [V0.B16, V1.B16]")
	}
	for i := range 2 { // bytes of Vi to 16 bits in V2, V3, then to 32 in V4..V7
		word(0x0F08A400|uint32(i<<5|2), "sshll v2.8h, v%d.8b, #0", i)
		word(0x4F08A400|uint32(i<<5|3), "sshll2 v3.8h, v%d.16b, #0", i)
		for q := range 4 {
			d, s := 4+q, 2+q/2
			if q%2 == 0 {
				word(0x0F10A400|uint32(s<<5|d), "sshll v%d.4s, v%d.4h, #0", d, s)
			} else {
				word(0x4F10A400|uint32(s<<5|d), "sshll2 v%d.4s, v%d.8h, #0", d, s)
			}
			word(0x4E21D800|uint32(d<<5|d), "scvtf v%d.4s, v%d.4s", d, d)
			word(0x6E20DC00|uint32(31<<16|d<<5|d), "fmul v%d.4s, v%d.4s, v31.4s", d, d)
			if f.head() == 4 {
				word(0x4E20D400|uint32(30<<16|d<<5|d), "fadd v%d.4s, v%d.4s, v30.4s", d, d)
			}
		}
		p("VST1.P [V4.S4, V5.S4, V6.S4, V7.S4], 64(R1)")
	}
	p("ADD $%d, R3", f.bytes)
	p("SUB $1, R2")
	p("CBNZ R2, block")
	p("done:")
	p("RET")
}

func blockDecls() (decl, stub string) {
	for _, f := range blockFormats {
		decl += fmt.Sprintf("\n// %s is, for whole blocks,\n//\n//\t%s\n//\n//go:noescape\nfunc %s(dst []float32, src []byte)\n", f.name, f.doc, f.name)
		stub += fmt.Sprintf("func %s(dst []float32, src []byte) { panic(useVec) }\n", f.name)
	}
	return decl, stub
}
