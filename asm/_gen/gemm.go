package main

// gemmAMD64 keeps a tile of 6x16 in Y4..Y15, two registers a row.
func gemmAMD64(p func(string, ...any), rows int) {
	p("MOVQ k+0(FP), R10")
	p("MOVQ a+8(FP), AX")
	p("MOVQ ars+16(FP), BX")
	p("MOVQ acs+24(FP), CX")
	p("MOVQ b+32(FP), SI")
	p("MOVQ brs+40(FP), DI")
	p("MOVQ c+48(FP), R8")
	p("MOVQ ldc+56(FP), R9")
	for _, r := range []string{"BX", "CX", "DI", "R9"} {
		p("SHLQ $2, %s", r)
	}
	p("LEAQ (AX)(BX*2), DX")
	p("ADDQ BX, DX")
	p("LEAQ (R8)(R9*2), R11")
	p("ADDQ R9, R11")
	c := []string{"(R8)", "(R8)(R9*1)", "(R8)(R9*2)", "(R11)", "(R11)(R9*1)", "(R11)(R9*2)"}
	a := []string{"(AX)", "(AX)(BX*1)", "(AX)(BX*2)", "(DX)", "(DX)(BX*1)", "(DX)(BX*2)"}
	for r := range rows {
		p("PREFETCHT0 %s", c[r])
		p("VXORPS Y%d, Y%d, Y%d", 4+2*r, 4+2*r, 4+2*r)
		p("VXORPS Y%d, Y%d, Y%d", 5+2*r, 5+2*r, 5+2*r)
	}
	step := func() {
		p("VMOVUPS (SI), Y0")
		p("VMOVUPS 32(SI), Y1")
		for r := range rows {
			t := 2 + r%2
			p("VBROADCASTSS %s, Y%d", a[r], t)
			p("VFMADD231PS Y0, Y%d, Y%d", t, 4+2*r)
			p("VFMADD231PS Y1, Y%d, Y%d", t, 5+2*r)
		}
		p("ADDQ CX, AX")
		if rows > 3 {
			p("ADDQ CX, DX")
		}
		p("ADDQ DI, SI")
	}
	p("SUBQ $4, R10")
	p("JLT rest")
	p("block:")
	for range 4 {
		step()
	}
	p("SUBQ $4, R10")
	p("JGE block")
	p("rest:")
	p("ADDQ $4, R10")
	p("JEQ write")
	p("single:")
	step()
	p("DECQ R10")
	p("JNE single")
	p("write:")
	p("VBROADCASTSS alpha+64(FP), Y0")
	p("MOVBLZX accumulate+68(FP), AX")
	p("TESTL AX, AX")
	p("JEQ store")
	at := func(r, half int) string {
		if half == 0 {
			return c[r]
		}
		return "32" + c[r]
	}
	for r := range rows {
		for h := range 2 {
			p("VMOVUPS %s, Y%d", at(r, h), 1+h)
			p("VFMADD231PS Y%d, Y0, Y%d", 4+2*r+h, 1+h)
			p("VMOVUPS Y%d, %s", 1+h, at(r, h))
		}
	}
	p("VZEROUPPER")
	p("RET")
	p("store:")
	for r := range rows {
		for h := range 2 {
			p("VMULPS Y%d, Y0, Y%d", 4+2*r+h, 4+2*r+h)
			p("VMOVUPS Y%d, %s", 4+2*r+h, at(r, h))
		}
	}
	p("VZEROUPPER")
	p("RET")
}
