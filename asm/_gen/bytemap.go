package main

import "fmt"

// byteMaps looks bytes up in a table of 256 values of F32, whose four bytes lie apart:
// of a plane of 256 bytes VPERMI2B takes one half by seven bits of the index, and the
// eighth chooses between two such.
func byteMaps() string {
	var l listing
	l.text("byteMapVBMI", 40, func(p func(string, ...any)) {
		p("MOVQ dst+0(FP), DI")
		p("MOVQ codes+8(FP), SI")
		p("MOVQ m+16(FP), DX")
		p("VBROADCASTSS scale+24(FP), Z14")
		p("VBROADCASTSS offset+28(FP), Z13")
		p("MOVQ n+32(FP), CX")
		for i := range 16 {
			p("VMOVDQU64 %d(DX), Z%d", 1024+64*i, 16+i)
		}
		p("VMOVDQU64 byteMapOrder<>(SB), Z15")
		p("loop:")
		p("VPERMD (SI), Z15, Z0")
		p("VPMOVB2M Z0, K1")
		for plane := range 4 {
			first := 16 + 4*plane
			p("VMOVDQA64 Z0, Z%d", 1+plane)
			p("VMOVDQA64 Z0, Z5")
			p("VPERMI2B Z%d, Z%d, Z%d", first+1, first, 1+plane)
			p("VPERMI2B Z%d, Z%d, Z5", first+3, first+2)
			p("VPBLENDMB Z5, Z%d, K1, Z%d", 1+plane, 1+plane)
		}
		p("VPUNPCKLBW Z2, Z1, Z5")
		p("VPUNPCKHBW Z2, Z1, Z6")
		p("VPUNPCKLBW Z4, Z3, Z7")
		p("VPUNPCKHBW Z4, Z3, Z8")
		p("VPUNPCKLWD Z7, Z5, Z0")
		p("VPUNPCKHWD Z7, Z5, Z1")
		p("VPUNPCKLWD Z8, Z6, Z2")
		p("VPUNPCKHWD Z8, Z6, Z3")
		for i := range 4 {
			p("VMULPS Z14, Z%d, Z%d", i, i)
			p("VADDPS Z13, Z%d, Z%d", i, i)
			p("VMOVUPS Z%d, %d(DI)", i, 64*i)
		}
		p("ADDQ $64, SI")
		p("ADDQ $256, DI")
		p("SUBQ $64, CX")
		p("JNE loop")
		p("VZEROUPPER")
		p("RET")
	})
	order := "// Unpacking leaves each register four of the codes of each lane.\n"
	for i := range 8 { // dword 4·i+j of the codes to place 4·j+i
		a, b := 2*i, 2*i+1
		order += fmt.Sprintf("DATA byteMapOrder<>+%d(SB)/8, $0x%016x\n", 8*i, uint64(a%4*4+a/4)|uint64(b%4*4+b/4)<<32)
	}
	return order + "GLOBL byteMapOrder<>(SB), RODATA|NOPTR, $64\n\n" + l.String()
}
