package main

import (
	"fmt"
	"strings"
)

// The kernels on matrices take pointers and strides in elements; the callers in
// Go have sliced what is read and written.

const matrixDecls = `
// gemmRows computes rows 1 to 6 of a tile with 16 columns:
//
//	c[i*ldc+j] = alpha * Σ_l a[i*ars+l*acs] * b[l*brs+j] (+ c[i*ldc+j])
//
//go:noescape
func gemm1(k int, a *float32, ars, acs int, b *float32, brs int, c *float32, ldc int, alpha float32, accumulate bool)

//go:noescape
func gemm2(k int, a *float32, ars, acs int, b *float32, brs int, c *float32, ldc int, alpha float32, accumulate bool)

//go:noescape
func gemm3(k int, a *float32, ars, acs int, b *float32, brs int, c *float32, ldc int, alpha float32, accumulate bool)

//go:noescape
func gemm4(k int, a *float32, ars, acs int, b *float32, brs int, c *float32, ldc int, alpha float32, accumulate bool)

//go:noescape
func gemm5(k int, a *float32, ars, acs int, b *float32, brs int, c *float32, ldc int, alpha float32, accumulate bool)

//go:noescape
func gemm6(k int, a *float32, ars, acs int, b *float32, brs int, c *float32, ldc int, alpha float32, accumulate bool)

// dots4x1 to dots1x3 multiply 4 or 1 rows of w by 1 to 3 vectors; k is a
// multiple of lanes:
//
//	dst[j*ldd+i] = Σ_l w[i*ld+l] * x[j*ldx+l]
//
//go:noescape
func dots4x1(dst *float32, ldd int, w *float32, ld int, x *float32, ldx, k int)

//go:noescape
func dots4x2(dst *float32, ldd int, w *float32, ld int, x *float32, ldx, k int)

//go:noescape
func dots4x3(dst *float32, ldd int, w *float32, ld int, x *float32, ldx, k int)

//go:noescape
func dots1x1(dst *float32, ldd int, w *float32, ld int, x *float32, ldx, k int)

//go:noescape
func dots1x2(dst *float32, ldd int, w *float32, ld int, x *float32, ldx, k int)

//go:noescape
func dots1x3(dst *float32, ldd int, w *float32, ld int, x *float32, ldx, k int)

// packT8 transposes 8 rows into half a panel; k is a multiple of lanes:
//
//	dst[l*16+i] = src[i*ld+l]
//
//go:noescape
func packT8(dst, src *float32, ld, k int)

// packRows4 copies rows of 4 panels, the panels being k*16 elements apart, and
// packRows1 those of one:
//
//	dst[j/16*k*16+l*16+j%16] = src[l*ld+j]
//
//go:noescape
func packRows4(dst, src *float32, ld, k int)

//go:noescape
func packRows1(dst, src *float32, ld, k int)
`

var matrixStubs = func() string {
	var out strings.Builder
	for r := 1; r <= 6; r++ {
		fmt.Fprintf(&out, "func gemm%d(k int, a *float32, ars, acs int, b *float32, brs int, c *float32, ldc int, alpha float32, accumulate bool) { panic(useVec) }\n", r)
	}
	for _, r := range []int{4, 1} {
		for x := 1; x <= 3; x++ {
			fmt.Fprintf(&out, "func dots%dx%d(dst *float32, ldd int, w *float32, ld int, x *float32, ldx, k int) { panic(useVec) }\n", r, x)
		}
	}
	out.WriteString("func packRows4(dst, src *float32, ld, k int) { panic(useVec) }\nfunc packRows1(dst, src *float32, ld, k int) { panic(useVec) }\n")
	out.WriteString("func packT8(dst, src *float32, ld, k int) { panic(useVec) }\n")
	return out.String()
}()

func matrices(arm bool) []string {
	var out []string
	text := func(name string, frame int, body func(p func(string, ...any))) {
		var b strings.Builder
		fmt.Fprintf(&b, "// func %s\nTEXT ·%s(SB), NOSPLIT, $0-%d\n", name, name, frame)
		body(func(format string, args ...any) {
			if !strings.HasSuffix(format, ":") {
				format = "\t" + format
			}
			fmt.Fprintf(&b, format+"\n", args...)
		})
		out = append(out, b.String()+"\n")
	}
	gemm, dots, pack := gemmAMD64, dotsAMD64, packAMD64
	if arm {
		gemm, dots, pack = gemmARM64, dotsARM64, packARM64
	}
	for r := 1; r <= 6; r++ {
		text(fmt.Sprintf("gemm%d", r), 69, func(p func(string, ...any)) { gemm(p, r) })
	}
	for _, r := range []int{4, 1} {
		for x := 1; x <= 3; x++ {
			text(fmt.Sprintf("dots%dx%d", r, x), 56, func(p func(string, ...any)) { dots(p, r, x) })
		}
	}
	for _, f := range rowFormats {
		f.emit(arm, text)
	}
	superblocks(arm, text)
	text("packT8", 32, pack)
	for _, panels := range []int{4, 1} {
		text(fmt.Sprintf("packRows%d", panels), 32, func(p func(string, ...any)) {
			if arm {
				packRowsARM64(p, panels)
			} else {
				packRowsAMD64(p, panels)
			}
		})
	}
	return out
}

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

// packAMD64 transposes blocks of 8x8. A register holds four elements of row i
// in its lower and of row i+4 in its upper half, so that the shuffles need not
// cross the halves.
func packAMD64(p func(string, ...any)) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ src+8(FP), AX")
	p("MOVQ ld+16(FP), BX")
	p("MOVQ k+24(FP), R12")
	p("SHLQ $2, BX")
	p("LEAQ (BX)(BX*2), CX")
	p("LEAQ (AX)(BX*4), SI")
	off := []string{"", "(BX*1)", "(BX*2)", "(CX*1)"}
	p("JMP check")
	p("block:")
	for half := range 2 {
		for i := range 4 {
			p("VMOVUPS %d(AX)%s, X%d", 16*half, off[i], i)
			p("VINSERTF128 $1, %d(SI)%s, Y%d, Y%d", 16*half, off[i], i, i)
		}
		p("VUNPCKLPS Y1, Y0, Y4")
		p("VUNPCKHPS Y1, Y0, Y5")
		p("VUNPCKLPS Y3, Y2, Y6")
		p("VUNPCKHPS Y3, Y2, Y7")
		for i, s := range []string{"VUNPCKLPD Y6, Y4", "VUNPCKHPD Y6, Y4", "VUNPCKLPD Y7, Y5", "VUNPCKHPD Y7, Y5"} {
			p("%s, Y8", s)
			p("VMOVUPS Y8, %d(DI)", 256*half+64*i)
		}
	}
	p("ADDQ $32, AX")
	p("ADDQ $32, SI")
	p("ADDQ $512, DI")
	p("SUBQ $8, R12")
	p("check:")
	p("TESTQ R12, R12")
	p("JNE block")
	p("VZEROUPPER")
	p("RET")
}

// gemmARM64 keeps a tile of 6x16 in V8..V31, four registers a row.
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

func dotsARM64(p func(string, ...any), rows, xs int) {
	p("MOVD dst+0(FP), R10")
	p("MOVD ldd+8(FP), R11")
	p("MOVD w+16(FP), R1")
	p("MOVD ld+24(FP), R0")
	p("MOVD x+32(FP), R5")
	p("MOVD ldx+40(FP), R9")
	p("MOVD k+48(FP), R12")
	for _, r := range []string{"R0", "R9", "R11"} {
		p("LSL $2, %s, %s", r, r)
	}
	for r := 1; r < rows; r++ {
		p("ADD R0, R%d, R%d", r, r+1)
	}
	for j := 1; j < xs; j++ {
		p("ADD R9, R%d, R%d", 4+j, 5+j)
	}
	acc := func(r, j int) int { return 4 + r*xs + j }
	for v := range rows * xs {
		p("VEOR V%d.B16, V%d.B16, V%d.B16", 4+v, 4+v, 4+v)
	}
	p("CBZ R12, write")
	p("single:")
	for j := range xs {
		p("FMOVQ.P 16(R%d), F%d", 5+j, j)
	}
	for r := range rows {
		p("FMOVQ.P 16(R%d), F3", 1+r)
		for j := range xs {
			p("VFMLA V%d.S4, V3.S4, V%d.S4", j, acc(r, j))
		}
	}
	p("SUB $4, R12")
	p("CBNZ R12, single")
	p("write:")
	for j := range xs {
		for r := range rows {
			n := acc(r, j)
			for range 2 {
				p("WORD $0x%08x // faddp v%d.4s, v%d.4s, v%d.4s", 0x6E20D400|uint32(n<<16|n<<5|n), n, n, n)
			}
			p("FMOVS F%d, %d(R10)", n, 4*r)
		}
		p("ADD R11, R10")
	}
	p("RET")
}

// packARM64 transposes two blocks of 4x4 at a time.
func packARM64(p func(string, ...any)) {
	p("MOVD dst+0(FP), R9")
	p("MOVD src+8(FP), R1")
	p("MOVD ld+16(FP), R0")
	p("MOVD k+24(FP), R12")
	p("LSL $2, R0, R0")
	for r := 1; r < 8; r++ {
		p("ADD R0, R%d, R%d", r, r+1)
	}
	p("CBZ R12, done")
	p("block:")
	for half := range 2 {
		b := 16 * half
		for i := range 4 {
			p("FMOVQ.P 16(R%d), F%d", 1+4*half+i, b+i)
		}
		p("VTRN1 V%d.S4, V%d.S4, V%d.S4", b+1, b, b+4)
		p("VTRN2 V%d.S4, V%d.S4, V%d.S4", b+1, b, b+5)
		p("VTRN1 V%d.S4, V%d.S4, V%d.S4", b+3, b+2, b+6)
		p("VTRN2 V%d.S4, V%d.S4, V%d.S4", b+3, b+2, b+7)
		p("VTRN1 V%d.D2, V%d.D2, V%d.D2", b+6, b+4, b+8)
		p("VTRN1 V%d.D2, V%d.D2, V%d.D2", b+7, b+5, b+9)
		p("VTRN2 V%d.D2, V%d.D2, V%d.D2", b+6, b+4, b+10)
		p("VTRN2 V%d.D2, V%d.D2, V%d.D2", b+7, b+5, b+11)
	}
	for i := range 4 {
		p("FMOVQ F%d, %d(R9)", 8+i, 64*i)
		p("FMOVQ F%d, %d(R9)", 24+i, 64*i+16)
	}
	p("ADD $256, R9")
	p("SUB $4, R12")
	p("CBNZ R12, block")
	p("done:")
	p("RET")
}

func packRowsAMD64(p func(string, ...any), panels int) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ src+8(FP), AX")
	p("MOVQ ld+16(FP), BX")
	p("MOVQ k+24(FP), R12")
	p("SHLQ $2, BX")
	p("MOVQ R12, R8")
	p("SHLQ $6, R8")
	p("LEAQ (R8)(R8*2), R9")
	p("LEAQ (AX)(BX*8), SI")
	dst := []string{"(DI)", "(DI)(R8*1)", "(DI)(R8*2)", "(DI)(R9*1)"}
	p("TESTQ R12, R12")
	p("JEQ done")
	p("row:")
	for i := range panels {
		p("PREFETCHT0 %d(SI)", 64*i)
		p("VMOVUPS %d(AX), Y%d", 64*i, 2*i)
		p("VMOVUPS %d(AX), Y%d", 64*i+32, 2*i+1)
	}
	for i := range panels {
		p("VMOVUPS Y%d, %s", 2*i, dst[i])
		p("VMOVUPS Y%d, 32%s", 2*i+1, dst[i])
	}
	p("ADDQ BX, AX")
	p("ADDQ BX, SI")
	p("ADDQ $64, DI")
	p("DECQ R12")
	p("JNE row")
	p("done:")
	p("VZEROUPPER")
	p("RET")
}

func packRowsARM64(p func(string, ...any), panels int) {
	p("MOVD dst+0(FP), R9")
	p("MOVD src+8(FP), R1")
	p("MOVD ld+16(FP), R0")
	p("MOVD k+24(FP), R12")
	p("LSL $2, R0, R0")
	p("LSL $6, R12, R13")
	for i := 1; i < panels; i++ {
		p("ADD R13, R%d, R%d", 8+i, 9+i) // R10, R11 and, the count done, R12
	}
	p("CBZ R13, done")
	p("ADD R9, R13, R13")
	p("row:")
	p("MOVD R1, R2")
	for i := range panels {
		p("VLD1.P 64(R2), [V0.S4, V1.S4, V2.S4, V3.S4]")
		p("VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R%d)", 9+i)
	}
	p("ADD R0, R1")
	p("CMP R13, R9")
	p("BNE row")
	p("done:")
	p("RET")
}
