package main

import (
	"fmt"
	"regexp"
	"strings"
)

// The tile of AVX-512 is up to 14 rows of two vectors in Z4..Z31; Z0 and Z1 hold
// a row of b, Z2 and Z3 elements of a. One of up to 8 columns is half a vector wide.
const rows512 = 14

// gemm512 writes the micro-kernels of a type, one a tile of r rows and so many
// columns, and the entry that jumps to the one that is asked for.
func gemm512(l *listing, name string, multiply func(p func(string, ...any), b, a, c int), columns ...int) {
	const frame = 104
	for i, n := range columns {
		for r := 1; r <= rows512; r++ {
			fmt.Fprintf(l, "TEXT %s_%dx%d<>(SB), NOSPLIT, $0-%d\n", name, r, n, frame)
			tile512(func(format string, args ...any) {
				if !strings.HasSuffix(format, ":") {
					format = "\t" + format
				}
				fmt.Fprintf(l, format+"\n", args...)
			}, r, n, multiply)
			l.WriteString("\n")
			fmt.Fprintf(l, "DATA %sTiles<>+%d(SB)/8, $%s_%dx%d<>(SB)\n\n", name, 8*(i*rows512+r-1), name, r, n)
		}
	}
	fmt.Fprintf(l, "GLOBL %sTiles<>(SB), RODATA, $%d\n\n", name, len(columns)*rows512*8)
	l.text(name, frame, func(p func(string, ...any)) {
		p("MOVQ tile+0(FP), AX")
		p("LEAQ %sTiles<>(SB), BX", name)
		p("MOVQ (BX)(AX*8), AX")
		p("JMP AX")
	})
}

func multiplyF32(p func(string, ...any), b, a, c int) { p("VFMADD231PS Z%d, Z%d, Z%d", b, a, c) }

func multiplyBF16(p func(string, ...any), b, a, c int) {
	evex(p, 0x52, 0xF3, c, a, b, "vdpbf16ps %%zmm%d, %%zmm%d, %%zmm%d", b, a, c)
}

// evex writes an instruction of the map 0F38 on three ZMM registers, which Go's
// assembler lacks, as bytes: d = op(s1, s2).
func evex(p func(string, ...any), opcode, prefix, d, s1, s2 int, mnemonic string, args ...any) {
	pp := map[int]int{0xF3: 2, 0xF2: 3}[prefix]
	not := func(x, bit int) int { return ^x >> bit & 1 }
	code := []int{
		0x62,
		not(d, 3)<<7 | not(s2, 4)<<6 | not(s2, 3)<<5 | not(d, 4)<<4 | 2,
		^s1&15<<3 | 4 | pp,
		0x40 | not(s1, 4)<<3,
		opcode,
		0xC0 | d&7<<3 | s2&7,
	}
	var bytes strings.Builder
	for _, b := range code {
		fmt.Fprintf(&bytes, "BYTE $0x%02x; ", b)
	}
	p("%s// %s", strings.TrimSuffix(bytes.String(), "; ")+" ", fmt.Sprintf(mnemonic, args...))
}

var vector = regexp.MustCompile(`\bZ([0-9])`)

func tile512(emit func(string, ...any), rows, columns int, multiply func(p func(string, ...any), b, a, c int)) {
	vectors := max(1, columns/16)
	p := emit
	if columns < 16 {
		p = func(format string, args ...any) { emit(vector.ReplaceAllString(fmt.Sprintf(format, args...), "Y$1")) }
	}
	p("MOVQ k+8(FP), R11")
	p("MOVQ a+16(FP), AX")
	p("MOVQ ars+24(FP), BX")
	p("MOVQ acs+32(FP), CX")
	p("MOVQ b+40(FP), SI")
	p("MOVQ brs+48(FP), DI")
	p("MOVQ bps+56(FP), R10")
	p("MOVQ c+64(FP), R8")
	p("MOVQ ldc+72(FP), R9")
	for _, r := range []string{"BX", "CX", "DI", "R9", "R10"} {
		p("SHLQ $2, %s", r)
	}
	acc := func(r, v int) int { return 4 + vectors*r + v }
	p("MOVQ R8, DX")
	for r := range rows {
		for v := range vectors {
			p("VPXORD Z%d, Z%d, Z%d", acc(r, v), acc(r, v), acc(r, v))
		}
		if r < rows-1 {
			p("ADDQ R9, DX")
		}
	}
	p("LEAQ (DX)(R9*1), R14") // the end of c, which is not needed until the end
	p("MOVQ R8, R15")
	p("MOVQ next+96(FP), R8")
	p("LEAQ (BX)(BX*2), R12")
	p("LEAQ (BX)(BX*4), R13")
	p("LEAQ (R12)(R12*1), DX")
	p("ADDQ BX, DX")
	p("ADDQ AX, DX")
	seven := []string{"(%s)", "(%s)(BX*1)", "(%s)(BX*2)", "(%s)(R12*1)", "(%s)(BX*4)", "(%s)(R13*1)", "(%s)(R12*2)"}
	step := func() {
		p("PREFETCHT1 (R8)")
		for v := range vectors { // a row of c a step, over and over, so that none waits for 28 lines at once
			p("PREFETCHT0 %d(R15)", 64*v)
		}
		p("ADDQ R9, R15")
		p("CMPQ R15, R14")
		p("CMOVQCC c+64(FP), R15")
		p("VMOVUPS (SI), Z0")
		if vectors == 2 {
			p("VMOVUPS (SI)(R10*1), Z1")
		}
		for r := range rows {
			base := "AX"
			if r >= 7 {
				base = "DX"
			}
			p("VBROADCASTSS %s, Z%d", fmt.Sprintf(seven[r%7], base), 2+r%2)
			for v := range vectors {
				multiply(p, v, 2+r%2, acc(r, v))
			}
		}
		p("ADDQ CX, AX")
		if rows > 7 {
			p("ADDQ CX, DX")
		}
		p("ADDQ DI, SI")
		p("ADDQ DI, R8")
	}
	p("SUBQ $2, R11")
	p("JLT rest")
	p("pair:")
	step()
	step()
	p("SUBQ $2, R11")
	p("JGE pair")
	p("rest:")
	p("ADDQ $2, R11")
	p("JEQ write")
	step()
	p("write:")
	p("MOVQ c+64(FP), R8")
	p("KMOVW mask+84(FP), K1")
	p("MOVBLZX accumulate+88(FP), AX")
	p("MOVL alpha+80(FP), BX")
	p("CMPL BX, $0x3f800000")
	p("JEQ one")
	p("VBROADCASTSS alpha+80(FP), Z0")
	write := func(each func(z int, load, put string)) {
		for r := range rows {
			for v := range vectors {
				if v == vectors-1 {
					each(acc(r, v), fmt.Sprintf("VMOVUPS.Z %d(R8), K1, Z1", 64*v), fmt.Sprintf("K1, %d(R8)", 64*v))
				} else {
					each(acc(r, v), fmt.Sprintf("VMOVUPS %d(R8), Z1", 64*v), fmt.Sprintf("%d(R8)", 64*v))
				}
			}
			if r < rows-1 {
				p("ADDQ R9, R8")
			}
		}
		p("VZEROUPPER")
		p("RET")
	}
	p("TESTL AX, AX")
	p("JEQ store")
	write(func(z int, load, put string) {
		p(load)
		p("VFMADD231PS Z%d, Z0, Z1", z)
		p("VMOVUPS Z1, %s", put)
	})
	p("store:")
	write(func(z int, load, put string) {
		p("VMULPS Z%d, Z0, Z%d", z, z)
		p("VMOVUPS Z%d, %s", z, put)
	})
	p("one:") // the same bits without multiplying, which would keep the next tile waiting
	p("TESTL AX, AX")
	p("JEQ storeOne")
	write(func(z int, load, put string) {
		p(load)
		p("VADDPS Z%d, Z1, Z1", z)
		p("VMOVUPS Z1, %s", put)
	})
	p("storeOne:")
	write(func(z int, load, put string) { p("VMOVUPS Z%d, %s", z, put) })
}
