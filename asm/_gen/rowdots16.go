package main

import "fmt"

// The kernels of rows by a vector of 14-bit integers take a *dots16Args. A block's
// products are added up as integers in lanes, then scaled.
const (
	arg16Dst = 8 * iota
	arg16W
	arg16Stride
	arg16Rows
	arg16X
	arg16Scale
	arg16Sum
	arg16Blocks
	arg16Absmax
	arg16Block
	arg16Shift
	arg16Table
	arg16Eight
	arg16Apart    // bytes between the four rows that are multiplied side by side
	arg16DstApart // and between their results
)

// dots16 writes the kernel of a format; Y15 is the sum, X12 what minima add.
func dots16(p printer, name string) {
	bytes, elems := 18, 32
	switch name {
	case "Q8_0":
		bytes = 34
	case "Q4_1":
		bytes = 20
	case "NF4", "NF4_512":
		bytes, elems = 32, 64
	}
	wide := name == "NF4_512"
	p("MOVQ a+0(FP), R11")
	p("MOVQ %d(R11), DI", arg16Dst)
	p("MOVQ %d(R11), R10", arg16W)
	p("MOVQ %d(R11), R12", arg16Rows)
	p("MOVQ %d(R11), BX", arg16Absmax)
	p("MOVQ %d(R11), R14", arg16Block)
	p("MOVQ %d(R11), R13", arg16Shift)
	p("MOVQ %d(R11), AX", arg16Table)
	switch name {
	case "NF4_512":
		p("VMOVDQU64 (AX), Z14") // the table's 16 words, twice
	case "NF4":
		p("VBROADCASTI128 64(AX), Y13") // its lower bytes
		p("VBROADCASTI128 80(AX), Y12") // its upper bytes
		fill(p, 0x0f0f0f0f, "Y14")
	case "Q4_0":
		fill(p, 0x000f000f, "Y14")
		fill(p, 0x00080008, "Y13")
	case "Q4_1":
		fill(p, 0x000f000f, "Y14")
	case "IQ4_NL": // the values plus 127: that of code 0 is 0, and so are upper bytes
		constant(p, "VMOVDQU", kNL8, "Y11")
		fill(p, 0x7f7f7f7f, "Y14")
		p("VPADDB Y14, Y11, Y11")
		fill(p, 0x000f000f, "Y14")
		fill(p, 0x007f007f, "Y13")
	}
	p("row:")
	p("MOVQ R10, SI")
	p("MOVQ %d(R11), DX", arg16X)
	p("MOVQ %d(R11), R8", arg16Scale)
	p("MOVQ %d(R11), R9", arg16Sum)
	p("MOVQ %d(R11), CX", arg16Blocks)
	if wide {
		p("VXORPS X15, X15, X15")
	} else {
		p("VXORPS Y15, Y15, Y15")
	}
	if name == "Q4_1" {
		p("VXORPS X12, X12, X12")
	}
	p("block:")
	p("PREFETCHT1 2048(SI)")
	switch name {
	case "NF4_512":
		p("SHRXQ R13, R14, AX")
		p("INCQ R14")
		p("VPMOVZXBW (SI), Z0")
		p("VPSRLW $4, Z0, Z1")
		p("VPXORD Z2, Z2, Z2")
		p("VPERMW Z14, Z1, Z1")
		p("VPERMW Z14, Z0, Z0") // of an index five bits count: the table is there twice
		p("VPDPWSSD (DX), Z1, Z2")
		p("VPDPWSSD 64(DX), Z0, Z2")
		p("VCVTDQ2PS Z2, Z2")
		p("VMULPS.BCST (BX)(AX*4), Z2, Z2")
		p("VFMADD231PS.BCST (R8), Z2, Z15")
	case "NF4":
		p("SHRXQ R13, R14, AX")
		p("INCQ R14")
		p("VMOVDQU (SI), Y0")
		p("VPSRLW $4, Y0, Y1")
		p("VPAND Y14, Y0, Y0")
		p("VPAND Y14, Y1, Y1")
		for i, v := range []int{1, 0} {
			p("VPSHUFB Y%d, Y13, Y2", v)
			p("VPSHUFB Y%d, Y12, Y3", v)
			p("VPUNPCKLBW Y3, Y2, Y%d", 4+2*i)
			p("VPUNPCKHBW Y3, Y2, Y%d", 5+2*i)
		}
		for i := range 4 {
			p("VPMADDWD %d(DX), Y%d, Y%d", 32*i, 4+i, 4+i)
		}
		p("VPADDD Y5, Y4, Y4")
		p("VPADDD Y7, Y6, Y6")
		p("VPADDD Y6, Y4, Y4")
		p("VCVTDQ2PS Y4, Y4")
		p("VBROADCASTSS (BX)(AX*4), Y5")
		p("VBROADCASTSS (R8), Y6")
		p("VMULPS Y5, Y6, Y5")
		p("VFMADD231PS Y5, Y4, Y15")
	default:
		switch name {
		case "Q8_0":
			p("VPMOVSXBW 2(SI), Y0")
			p("VPMOVSXBW 18(SI), Y1")
		default:
			p("VPMOVZXBW %d(SI), Y0", bytes-16)
			p("VPSRLW $4, Y0, Y1")
			p("VPAND Y14, Y0, Y0")
			for i := range 2 {
				if name == "IQ4_NL" {
					p("VPSHUFB Y%d, Y11, Y%d", i, i)
				}
				if name != "Q4_1" {
					p("VPSUBW Y13, Y%d, Y%d", i, i)
				}
			}
		}
		p("VPMADDWD (DX), Y0, Y0")
		p("VPMADDWD 32(DX), Y1, Y1")
		p("VPADDD Y1, Y0, Y0")
		scaleOf(p, false, 0, 2)
		p("VBROADCASTSS (R8), Y3")
		p("VCVTDQ2PS Y0, Y0")
		p("VMULPS Y2, Y3, Y2")
		p("VFMADD231PS Y2, Y0, Y15")
		if name == "Q4_1" {
			scaleOf(p, false, 2, 4)
			p("VFMADD231SS (R9), X4, X12")
			p("ADDQ $4, R9")
		}
	}
	p("ADDQ $%d, SI", bytes)
	p("ADDQ $%d, DX", 2*elems)
	p("ADDQ $4, R8")
	p("DECQ CX")
	p("JNE block")
	if wide {
		p("VEXTRACTF64X4 $1, Z15, Y0")
		p("VADDPS Y0, Y15, Y15")
	}
	sumLanes(p, 15)
	if name == "Q4_1" {
		p("VADDSS X12, X15, X15")
	}
	p("VMOVSS X15, (DI)")
	p("ADDQ $4, DI")
	p("ADDQ %d(R11), R10", arg16Stride)
	p("DECQ R12")
	p("JNE row")
	p("VZEROUPPER")
	p("RET")
}

// sumLanes adds up the lanes of Y register y, by halves, in its first one.
func sumLanes(p printer, y int) {
	p("VEXTRACTF128 $1, Y%d, X0", y)
	p("VADDPS X0, X%d, X%d", y, y)
	p("VPERMILPS $0xEE, X%d, X0", y)
	p("VADDPS X0, X%d, X%d", y, y)
	p("VPERMILPS $0x55, X%d, X0", y)
	p("VADDSS X0, X%d, X%d", y, y)
}

// dots16Side writes the kernel of a format of 32 elements a block in AVX-512, for four
// rows side by side: one row's sum would wait for itself. Their sums are Y12 to Y15, what
// minima add X8 to X11, half of a block's x is Y4 and Y5.
func dots16Side(p printer, name string) {
	p("MOVQ a+0(FP), R11")
	p("MOVQ %d(R11), DI", arg16Dst)
	p("MOVQ %d(R11), R10", arg16W)
	p("MOVQ %d(R11), R12", arg16Rows)
	p("MOVQ %d(R11), R13", arg16Apart)
	p("LEAQ (R13)(R13*2), R14")
	p("MOVQ %d(R11), BX", arg16DstApart)
	bytes := 18
	switch name {
	case "Q8_0":
		bytes = 34
	case "IQ4_NL": // a table of 16 words: of an index four bits count
		constant(p, "VPMOVSXBW", kNL8, "Y7")
	case "Q4_0":
		fill(p, 0x000f000f, "Y7")
	case "Q4_1":
		bytes = 20
		fill(p, 0x000f000f, "Y7")
	}
	p("row:")
	p("MOVQ R10, SI")
	p("MOVQ %d(R11), DX", arg16X)
	p("MOVQ %d(R11), R8", arg16Scale)
	if name == "Q4_0" {
		p("MOVQ %d(R11), R9", arg16Eight)
	} else {
		p("MOVQ %d(R11), R9", arg16Sum)
	}
	p("MOVQ %d(R11), CX", arg16Blocks)
	for r := range 4 {
		p("VXORPS Y%d, Y%d, Y%d", 12+r, 12+r, 12+r)
		if name == "Q4_1" {
			p("VXORPS X%d, X%d, X%d", 8+r, 8+r, 8+r)
		}
	}
	p("block:")
	p("VMOVDQU (DX), Y4")
	p("VMOVDQU 32(DX), Y5")
	for r := range 4 {
		at := func(offset int) string {
			return fmt.Sprintf("%d%s", offset, []string{"(SI)", "(SI)(R13*1)", "(SI)(R13*2)", "(SI)(R14*1)"}[r])
		}
		p("PREFETCHT1 %s", at(2048))
		if name == "Q8_0" {
			p("VPMOVSXBW %s, Y0", at(2))
			p("VPMOVSXBW %s, Y1", at(18))
		} else {
			p("VPMOVZXBW %s, Y0", at(bytes-16))
			p("VPSRLW $4, Y0, Y1")
			if name == "IQ4_NL" {
				p("VPERMW Y7, Y0, Y0")
				p("VPERMW Y7, Y1, Y1")
			} else {
				p("VPAND Y7, Y0, Y0")
			}
		}
		if name == "Q4_0" {
			p("VMOVD (R9), X2") // (q-8)·x
		} else {
			p("VPXOR X2, X2, X2")
		}
		p("VPDPWSSD Y4, Y0, Y2")
		p("VPDPWSSD Y5, Y1, Y2")
		p("VPBROADCASTW %s, X3", at(0))
		p("VCVTPH2PS X3, Y3")
		p("VMULPS.BCST (R8), Y3, Y3")
		p("VCVTDQ2PS Y2, Y2")
		p("VFMADD231PS Y3, Y2, Y%d", 12+r)
		if name == "Q4_1" {
			p("VPBROADCASTW %s, X3", at(2))
			p("VCVTPH2PS X3, X3")
			p("VFMADD231SS (R9), X3, X%d", 8+r)
		}
	}
	p("ADDQ $%d, SI", bytes)
	p("ADDQ $64, DX")
	p("ADDQ $4, R8")
	p("ADDQ $4, R9")
	p("DECQ CX")
	p("JNE block")
	p("MOVQ DI, AX")
	for r := range 4 {
		sumLanes(p, 12+r)
		if name == "Q4_1" {
			p("VADDSS X%d, X%d, X%d", 8+r, 12+r, 12+r)
		}
		p("VMOVSS X%d, (AX)", 12+r)
		p("ADDQ BX, AX")
	}
	p("ADDQ $4, DI")
	p("ADDQ %d(R11), R10", arg16Stride)
	p("DECQ R12")
	p("JNE row")
	p("VZEROUPPER")
	p("RET")
}

// rowDots16 are the kernels of rowdots16.go.
func rowDots16(l *listing) {
	for _, name := range []string{"Q8_0", "Q4_0", "Q4_1", "IQ4_NL", "NF4", "NF4_512"} {
		l.text(fmt.Sprintf("dots16%s", name), 8, func(p func(string, ...any)) { dots16(p, name) })
	}
	for _, name := range []string{"Q8_0", "Q4_0", "Q4_1", "IQ4_NL"} {
		l.text(fmt.Sprintf("dots16%s_512", name), 8, func(p func(string, ...any)) { dots16Side(p, name) })
	}
}
