package main

import (
	"fmt"
	"strings"
)

// reads writes the loop that reads eight streams.
func reads(arm bool) string {
	var out strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&out, "\t"+format+"\n", args...) }
	out.WriteString("// func readVec(x *float32, stride, n int)\nTEXT ·readVec(SB), NOSPLIT, $0-24\n")
	if arm {
		p("MOVD x+0(FP), R0")
		p("MOVD stride+8(FP), R10")
		p("MOVD n+16(FP), R11")
		p("LSL $2, R10, R10")
		for s := 1; s < 8; s++ {
			p("ADD R10, R%d, R%d", s-1, s)
		}
		out.WriteString("loop:\n")
		for s := range 8 {
			p("VLD1.P 64(R%d), [V0.S4, V1.S4, V2.S4, V3.S4]", s)
		}
		p("SUB $16, R11")
		p("CBNZ R11, loop")
		p("RET")
		return out.String()
	}
	p("MOVQ x+0(FP), AX")
	p("MOVQ stride+8(FP), BX")
	p("MOVQ n+16(FP), R10")
	p("SHLQ $2, BX")
	p("LEAQ (BX)(BX*2), CX")
	p("LEAQ (AX)(BX*4), DX")
	out.WriteString("loop:\n")
	for s, at := range []string{"(AX)", "(AX)(BX*1)", "(AX)(BX*2)", "(AX)(CX*1)", "(DX)", "(DX)(BX*1)", "(DX)(BX*2)", "(DX)(CX*1)"} {
		p("VMOVUPS %s, Y%d", at, s)
		p("VMOVUPS 32%s, Y%d", at, 8+s)
	}
	p("ADDQ $64, AX")
	p("ADDQ $64, DX")
	p("SUBQ $16, R10")
	p("JNE loop")
	p("VZEROUPPER")
	p("RET")
	return out.String()
}

// prefetch writes the loop that asks for the cache lines of n bytes.
func prefetch(arm bool) string {
	var out strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&out, "\t"+format+"\n", args...) }
	out.WriteString("\n// func prefetchVec(x *byte, n int)\nTEXT ·prefetchVec(SB), NOSPLIT, $0-16\n")
	if arm {
		p("MOVD x+0(FP), R0")
		p("MOVD n+8(FP), R1")
		out.WriteString("loop:\n")
		p("PRFM (R0), PLDL2KEEP")
		p("ADD $64, R0")
		p("SUBS $64, R1")
		p("BGT loop")
		p("RET")
		return out.String()
	}
	p("MOVQ x+0(FP), AX")
	p("MOVQ n+8(FP), BX")
	out.WriteString("loop:\n")
	p("PREFETCHT1 (AX)")
	p("ADDQ $64, AX")
	p("SUBQ $64, BX")
	p("JGT loop")
	p("RET")
	return out.String()
}

// fills writes the loop that stores a value past the caches; on arm64 pairs with a hint.
func fills(arm bool) string {
	var out strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&out, "\t"+format+"\n", args...) }
	out.WriteString("\n// func fillVec(x *float32, n int, v float32)\nTEXT ·fillVec(SB), NOSPLIT, $0-20\n")
	if arm {
		p("MOVD x+0(FP), R0")
		p("MOVD n+8(FP), R1")
		p("FMOVS v+16(FP), F0")
		p("VDUP V0.S[0], V0.S4")
		out.WriteString("loop:\n")
		p("WORD $0xac000000 // stnp q0, q0, [x0]")
		p("WORD $0xac010000 // stnp q0, q0, [x0, #32]")
		p("ADD $64, R0")
		p("SUB $16, R1")
		p("CBNZ R1, loop")
		p("RET")
		return out.String()
	}
	p("MOVQ x+0(FP), AX")
	p("MOVQ n+8(FP), BX")
	p("VBROADCASTSS v+16(FP), Y0")
	out.WriteString("loop:\n")
	p("VMOVNTPS Y0, (AX)")
	p("VMOVNTPS Y0, 32(AX)")
	p("ADDQ $64, AX")
	p("SUBQ $16, BX")
	p("JNE loop")
	p("SFENCE")
	p("VZEROUPPER")
	p("RET")
	return out.String()
}

const readDecls = `
// fillVec sets n elements, a multiple of 16 and more than 0, to v, past the caches. x
// begins at a multiple of 64 bytes.
//
//go:noescape
func fillVec(x *float32, n int, v float32)

// prefetchVec asks for n bytes, more than 0.
//
//go:noescape
func prefetchVec(x *byte, n int)

// readVec reads n elements, a multiple of 16 and more than 0, of each of eight
// streams that begin stride elements apart.
//
//go:noescape
func readVec(x *float32, stride, n int)
`

const readStubs = "func fillVec(*float32, int, float32) { panic(useVec) }\nfunc readVec(*float32, int, int) { panic(useVec) }\nfunc prefetchVec(*byte, int) { panic(useVec) }\n"
