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

// packT8 and packT4 transpose 8 and 4 rows; k is a multiple of lanes:
//
//	dst[l*ldd+i] = src[i*ld+l]
//
//go:noescape
func packT8(dst *float32, ldd int, src *float32, ld, k int)

//go:noescape
func packT4(dst *float32, ldd int, src *float32, ld, k int)

// packCopy4 copies n columns, 4 to 8 of them:
//
//	dst[l*n+i] = src[l*ld+i]
//
//go:noescape
func packCopy4(dst, src *float32, ld, k, n int)

// packRows4 copies rows of 4 panels, the panels being k*16 elements apart, and
// packRows1 those of one:
//
//	dst[j/16*k*16+l*16+j%16] = src[l*ld+j]
//
//go:noescape
func packRows4(dst, src *float32, ld, k int)

//go:noescape
func packRows1(dst, src *float32, ld, k int)

// fmaLoop is the loop of FMALoop.
//
//go:noescape
func fmaLoop(n int)
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
	out.WriteString("func fmaLoop(int) { panic(useVec) }\n")
	out.WriteString("func packCopy4(dst, src *float32, ld, k, n int) { panic(useVec) }\n")
	for _, n := range []int{8, 4} {
		fmt.Fprintf(&out, "func packT%d(dst *float32, ldd int, src *float32, ld, k int) { panic(useVec) }\n", n)
	}
	return out.String()
}()

// A listing collects the assembly of hand-made kernels.
type listing struct{ strings.Builder }

// text writes a kernel with a frame of so many bytes of arguments; body writes its
// instructions and labels.
func (l *listing) text(name string, frame int, body func(p func(string, ...any))) {
	l.textFrame(name, 0, frame, body)
}

// textFrame is text with so many bytes of the stack.
func (l *listing) textFrame(name string, stack, frame int, body func(p func(string, ...any))) {
	fmt.Fprintf(l, "// func %s\nTEXT ·%s(SB), NOSPLIT, $%d-%d\n", name, name, stack, frame)
	body(func(format string, args ...any) {
		if !strings.HasSuffix(format, ":") {
			format = "\t" + format
		}
		fmt.Fprintf(l, format+"\n", args...)
	})
	l.WriteString("\n")
}

// gemms are the kernels of matrix products.
func gemms(arm bool) string {
	var l listing
	gemm, pack, packRows, packCopy := gemmAMD64, packAMD64, packRowsAMD64, packCopyAMD64
	if arm {
		gemm, pack, packRows, packCopy = gemmARM64, packARM64, packRowsARM64, packCopyARM64
	}
	for r := 1; r <= 6; r++ {
		l.text(fmt.Sprintf("gemm%d", r), 69, func(p func(string, ...any)) { gemm(p, r) })
	}
	for _, n := range []int{8, 4} {
		l.text(fmt.Sprintf("packT%d", n), 40, func(p func(string, ...any)) { pack(p, n) })
	}
	l.text("packCopy4", 40, packCopy)
	for _, panels := range []int{4, 1} {
		l.text(fmt.Sprintf("packRows%d", panels), 32, func(p func(string, ...any)) { packRows(p, panels) })
	}
	l.text("fmaLoop", 8, fmaLoop(arm, "Y", 12))
	if !arm {
		l.text("fmaLoop512", 8, fmaLoop(arm, "Z", 24))
		l.text("packCopy512", 40, packCopy512)
		for _, panels := range []int{4, 1} {
			l.text(fmt.Sprintf("packBF16Rows%d", panels), 32, func(p func(string, ...any)) { packHalf512(p, false, panels) })
			l.text(fmt.Sprintf("packF16Rows%d", panels), 32, func(p func(string, ...any)) { packHalf512(p, true, panels) })
		}
		gemm512(&l, "gemm512", multiplyF32, 16, 32, 8)
		gemm512(&l, "gemmBF16", multiplyBF16, 16, 32)
		for i := range 16 { // words i and 16+i
			fmt.Fprintf(&l, "DATA weave<>+%d(SB)/4, $0x%08x\n", 4*i, (16+i)<<16|i)
		}
		l.WriteString("GLOBL weave<>(SB), RODATA|NOPTR, $64\n\n")
		l.text("pairT512", 56, pairT512)
		l.text("pairCopy512", 48, pairCopy512)
		for _, panels := range []int{4, 2} {
			l.text(fmt.Sprintf("pairPanels%d", panels), 40, func(p func(string, ...any)) { pairPanels512(p, panels) })
		}
	}
	return l.String()
}

// rows are the kernels that read rows where they lie: F32 and stored types.
func rows(arm bool) string {
	var l listing
	dots := dotsAMD64
	if arm {
		dots = dotsARM64
	}
	for _, r := range []int{4, 1} {
		for x := 1; x <= 3; x++ {
			l.text(fmt.Sprintf("dots%dx%d", r, x), 56, func(p func(string, ...any)) { dots(p, r, x) })
		}
	}
	for _, f := range rowFormats {
		f.emit(arm, l.text)
	}
	superblocks(arm, l.text)
	return l.String()
}
