package main

func dotsAMD64(p func(string, ...any), rows, xs int) {
	p("MOVQ dst+0(FP), R10")
	p("MOVQ ldd+8(FP), R11")
	p("MOVQ w+16(FP), AX")
	p("MOVQ ld+24(FP), BX")
	p("MOVQ x+32(FP), SI")
	p("MOVQ ldx+40(FP), DI")
	p("MOVQ k+48(FP), R12")
	p("SHLQ $2, R11")
	p("SHLQ $2, BX")
	p("SHLQ $2, DI")
	p("LEAQ (BX)(BX*2), R8")
	w := []string{"(AX)", "(AX)(BX*1)", "(AX)(BX*2)", "(AX)(R8*1)"}
	x := []string{"(SI)", "(SI)(DI*1)", "(SI)(DI*2)"}
	acc := func(r, j int) int { return 4 + r*xs + j }
	for r := range rows {
		for j := range xs {
			p("VXORPS Y%d, Y%d, Y%d", acc(r, j), acc(r, j), acc(r, j))
		}
	}
	step := func(off string) {
		for j := range xs {
			p("VMOVUPS %s%s, Y%d", off, x[j], j)
		}
		for r := range rows {
			if xs == 1 {
				p("VFMADD231PS %s%s, Y0, Y%d", off, w[r], acc(r, 0))
				continue
			}
			p("VMOVUPS %s%s, Y3", off, w[r])
			for j := range xs {
				p("VFMADD231PS Y%d, Y3, Y%d", j, acc(r, j))
			}
		}
	}
	p("SUBQ $16, R12")
	p("JLT rest")
	p("block:")
	for r := range rows {
		p("PREFETCHT0 1024%s", w[r])
	}
	step("")
	step("32")
	p("ADDQ $64, AX")
	p("ADDQ $64, SI")
	p("SUBQ $16, R12")
	p("JGE block")
	p("rest:")
	p("ADDQ $16, R12")
	p("JEQ write")
	step("")
	p("write:")
	for j := range xs {
		for r := range rows {
			n := acc(r, j)
			p("VEXTRACTF128 $1, Y%d, X0", n)
			p("VADDPS X0, X%d, X%d", n, n)
			p("VPERMILPS $0xEE, X%d, X0", n)
			p("VADDPS X0, X%d, X%d", n, n)
			p("VPERMILPS $0x55, X%d, X0", n)
			p("VADDSS X0, X%d, X%d", n, n)
			p("VMOVSS X%d, %d(R10)", n, 4*r)
		}
		p("ADDQ R11, R10")
	}
	p("VZEROUPPER")
	p("RET")
}
