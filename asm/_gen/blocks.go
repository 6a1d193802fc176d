package main

import "fmt"

// A rowFormat is a type in which the rows of a weight may be stored: BF16, or one
// of GGUF's formats of 32 elements a block, with an F16 scale d (and, in Q4_1, a
// minimum m) before the quantised values q. Its kernels work on units of 32
// elements.
type rowFormat struct {
	name    string
	doc     string
	bytes   int // of a unit
	head    int // bytes before the values
	nibbles bool
	bf16    bool
}

var rowFormats = []rowFormat{
	{name: "BF16", bytes: 64, bf16: true},
	{name: "Q8_0", doc: "dst[i] = d * q[i], a block being an F16 d and 32 int8 q", bytes: 34, head: 2},
	{name: "Q4_0", doc: "dst[i] = d * (q[i]-8), a block being an F16 d and 32 nibbles q, low ones first", bytes: 18, head: 2, nibbles: true},
	{name: "Q4_1", doc: "dst[i] = d*q[i] + m, a block being F16 d and m and 32 nibbles q, low ones first", bytes: 20, head: 4, nibbles: true},
}

// constantsAMD64 sets what unpackAMD64 wants: X14 and X13.
func (f rowFormat) constantsAMD64(p func(string, ...any)) {
	if !f.nibbles {
		return
	}
	p("MOVL $0x0f0f0f0f, AX")
	p("VMOVD AX, X14")
	p("VPBROADCASTD X14, X14")
	if f.head == 2 {
		p("MOVL $0x08080808, AX")
		p("VMOVD AX, X13")
		p("VPBROADCASTD X13, X13")
	}
}

// unpackAMD64 loads the unit at (SI): the 32 values q as floats in Y0..Y3, d in Y15
// and m in Y12.
func (f rowFormat) unpackAMD64(p func(string, ...any)) {
	half := func(offset, v int) {
		p("MOVWLZX %d(SI), AX", offset)
		p("VMOVD AX, X%d", v)
		p("VCVTPH2PS X%d, X%d", v, v)
		p("VBROADCASTSS X%d, Y%d", v, v)
	}
	half(0, 15)
	if f.head == 4 {
		half(2, 12)
	}
	if f.nibbles {
		p("VMOVDQU %d(SI), X8", f.head)
		p("VPSRLW $4, X8, X9")
		p("VPAND X14, X8, X8")
		p("VPAND X14, X9, X9")
		if f.head == 2 {
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
			p("VPMOVSXBD %d(SI), Y%d", f.head+8*i, i)
		}
	}
	for i := range 4 {
		p("VCVTDQ2PS Y%d, Y%d", i, i)
	}
}

// decodeAMD64 rounds product and sum one by one, as the formats' reference does.
func (f rowFormat) decodeAMD64(p func(string, ...any)) {
	p("MOVQ dst_base+0(FP), DI")
	p("MOVQ dst_len+8(FP), R12")
	p("MOVQ src_base+24(FP), SI")
	f.constantsAMD64(p)
	p("SHRQ $5, R12")
	p("JEQ done")
	p("block:")
	f.unpackAMD64(p)
	for i := range 4 {
		p("VMULPS Y15, Y%d, Y%d", i, i)
		if f.head == 4 {
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

// The NEON forms keep 16 elements at a time in V4..V7, d in V31 and m in V30.

func (f rowFormat) constantsARM64(p func(string, ...any)) {
	if f.nibbles && f.head == 2 {
		p("MOVD $8, R4")
		p("VDUP R4, V29.B16")
	}
}

// headARM64 loads the unit at (R3).
func (f rowFormat) headARM64(p func(string, ...any)) {
	if f.bf16 {
		p("VLD1 (R3), [V0.H8, V1.H8, V2.H8, V3.H8]")
		return
	}
	for i := range f.head / 2 {
		p("MOVHU %d(R3), R4", 2*i)
		p("FMOVS R4, F%d", 31-i)
		p("FCVTHS F%d, F%d", 31-i, 31-i)
		p("VDUP V%d.S[0], V%d.S4", 31-i, 31-i)
	}
	p("ADD $%d, R3, R5", f.head)
	if !f.nibbles {
		p("VLD1 (R5), [V0.B16, V1.B16]")
		return
	}
	p("VLD1 (R5), [V0.B16]")
	p("VUSHR $4, V0.B16, V1.B16")
	p("VSHL $4, V0.B16, V0.B16")
	p("VUSHR $4, V0.B16, V0.B16")
	if f.head == 2 {
		p("VSUB V29.B16, V0.B16, V0.B16")
		p("VSUB V29.B16, V1.B16, V1.B16")
	}
}

// valuesARM64 gives the values of half i of the unit in V4..V7.
func (f rowFormat) valuesARM64(p func(string, ...any), i int) {
	word := func(w uint32, format string, args ...any) { p("WORD $0x%08x // "+format, append([]any{w}, args...)...) }
	if f.bf16 {
		for q := range 4 {
			if d, s := 4+q, 2*i+q/2; q%2 == 0 {
				word(0x2E613800|uint32(s<<5|d), "shll v%d.4s, v%d.4h, #16", d, s)
			} else {
				word(0x6E613800|uint32(s<<5|d), "shll2 v%d.4s, v%d.8h, #16", d, s)
			}
		}
		return
	}
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
	}
}

func (f rowFormat) decodeARM64(p func(string, ...any)) {
	word := func(w uint32, format string, args ...any) { p("WORD $0x%08x // "+format, append([]any{w}, args...)...) }
	p("MOVD dst_base+0(FP), R1")
	p("MOVD dst_len+8(FP), R2")
	p("MOVD src_base+24(FP), R3")
	f.constantsARM64(p)
	p("LSR $5, R2, R2")
	p("CBZ R2, done")
	p("block:")
	f.headARM64(p)
	for i := range 2 {
		f.valuesARM64(p, i)
		for d := 4; d < 8; d++ {
			word(0x6E20DC00|uint32(31<<16|d<<5|d), "fmul v%d.4s, v%d.4s, v31.4s", d, d)
			if f.head == 4 {
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

// emit gives the format's decoder (BF16 has one among the halves).
func (f rowFormat) emit(arm bool, text func(name string, frame int, body func(p func(string, ...any)))) {
	if f.bf16 {
		return
	}
	decode := f.decodeAMD64
	if arm {
		decode = f.decodeARM64
	}
	text("decode"+f.name+"Vec", 48, decode)
}

func (f rowFormat) decls() (decl, stub string) {
	if f.bf16 {
		return "", ""
	}
	name := "decode" + f.name + "Vec"
	decl = fmt.Sprintf("\n// %s is, for whole blocks,\n//\n//\t%s\n//\n//go:noescape\nfunc %s(dst []float32, src []byte)\n", name, f.doc, name)
	return decl, fmt.Sprintf("func %s(dst []float32, src []byte) { panic(useVec) }\n", name)
}
