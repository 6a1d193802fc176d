package main

// packAMD64 transposes blocks of 8 or 4 rows and 8 columns. Of 8 rows, a register
// holds four elements of row i in its lower and of row i+4 in its upper half, so
// that the shuffles need not cross the halves; of 4 rows, the columns l and l+4.
func packAMD64(p func(string, ...any), rows int) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ ldd+8(FP), R8")
	p("MOVQ src+16(FP), AX")
	p("MOVQ ld+24(FP), BX")
	p("MOVQ k+32(FP), R12")
	p("SHLQ $2, BX")
	p("SHLQ $2, R8")
	p("LEAQ (BX)(BX*2), CX")
	p("LEAQ (AX)(BX*4), SI")
	p("LEAQ (R8)(R8*2), R9")
	p("LEAQ (DI)(R8*4), R10")
	p("LEAQ (AX)(BX*8), DX") // the rows that come next
	p("LEAQ (SI)(BX*8), R11")
	off := []string{"", "(BX*1)", "(BX*2)", "(CX*1)"}
	to := []string{"", "(R8*1)", "(R8*2)", "(R9*1)"}
	p("JMP check")
	p("block:")
	if rows == 8 {
		for _, next := range []string{"DX", "R11"} {
			for i := range 4 {
				p("PREFETCHT1 (%s)%s", next, off[i])
			}
		}
	}
	for half := range rows / 4 {
		for i := range 4 {
			if rows == 4 {
				p("VMOVUPS (AX)%s, Y%d", off[i], i)
				continue
			}
			p("VMOVUPS %d(AX)%s, X%d", 16*half, off[i], i)
			p("VINSERTF128 $1, %d(SI)%s, Y%d, Y%d", 16*half, off[i], i, i)
		}
		p("VUNPCKLPS Y1, Y0, Y4")
		p("VUNPCKHPS Y1, Y0, Y5")
		p("VUNPCKLPS Y3, Y2, Y6")
		p("VUNPCKHPS Y3, Y2, Y7")
		for i, s := range []string{"VUNPCKLPD Y6, Y4", "VUNPCKHPD Y6, Y4", "VUNPCKLPD Y7, Y5", "VUNPCKHPD Y7, Y5"} {
			p("%s, Y8", s)
			if rows == 4 {
				p("VMOVUPS X8, (DI)%s", to[i])
				p("VEXTRACTF128 $1, Y8, (R10)%s", to[i])
				continue
			}
			p("VMOVUPS Y8, (%s)%s", []string{"DI", "R10"}[half], to[i])
		}
	}
	p("ADDQ $32, AX")
	p("ADDQ $32, SI")
	p("ADDQ $32, DX")
	p("ADDQ $32, R11")
	p("LEAQ (DI)(R8*8), DI")
	p("LEAQ (R10)(R8*8), R10")
	p("SUBQ $8, R12")
	p("check:")
	p("TESTQ R12, R12")
	p("JNE block")
	p("VZEROUPPER")
	p("RET")
}

// packCopyAMD64 copies the first four columns and the last four, which overlap.
func packCopyAMD64(p func(string, ...any)) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ src+8(FP), AX")
	p("MOVQ ld+16(FP), BX")
	p("MOVQ k+24(FP), R12")
	p("MOVQ n+32(FP), CX")
	p("SHLQ $2, BX")
	p("JMP check")
	p("row:")
	p("VMOVUPS (AX), X0")
	p("VMOVUPS -16(AX)(CX*4), X1")
	p("VMOVUPS X0, (DI)")
	p("VMOVUPS X1, -16(DI)(CX*4)")
	p("ADDQ BX, AX")
	p("LEAQ (DI)(CX*4), DI")
	p("DECQ R12")
	p("check:")
	p("TESTQ R12, R12")
	p("JNE row")
	p("RET")
}

func packCopy512(p func(string, ...any)) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ src+8(FP), AX")
	p("MOVQ ld+16(FP), BX")
	p("MOVQ k+24(FP), R12")
	p("MOVQ n+32(FP), CX")
	p("MOVQ $1, DX")
	p("SHLQ CX, DX")
	p("DECQ DX")
	p("KMOVW DX, K1")
	p("SHLQ $2, BX")
	p("JMP check")
	p("row:")
	p("VMOVUPS.Z (AX), K1, Z0")
	p("VMOVUPS Z0, K1, (DI)")
	p("ADDQ BX, AX")
	p("LEAQ (DI)(CX*4), DI")
	p("DECQ R12")
	p("check:")
	p("TESTQ R12, R12")
	p("JNE row")
	p("VZEROUPPER")
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

// packHalf512 is packRowsAMD64 for rows of BF16 or F16; it asks for the rows that are k
// further, those of the next piece.
func packHalf512(p func(string, ...any), f16 bool, panels int) {
	p("MOVQ dst+0(FP), DI")
	p("MOVQ src+8(FP), AX")
	p("MOVQ ld+16(FP), BX")
	p("MOVQ k+24(FP), R12")
	p("MOVQ R12, R8")
	p("SHLQ $6, R8")
	p("LEAQ (R8)(R8*2), R9")
	p("MOVQ R12, DX")
	p("IMULQ BX, DX")
	dst := []string{"(DI)", "(DI)(R8*1)", "(DI)(R8*2)", "(DI)(R9*1)"}
	p("row:")
	for i := range panels {
		if i%2 == 0 {
			p("PREFETCHT1 %d(AX)(DX*1)", 32*i)
		}
		if f16 {
			p("VCVTPH2PS %d(AX), Z%d", 32*i, i)
		} else {
			p("VPMOVZXWD %d(AX), Z%d", 32*i, i)
			p("VPSLLD $16, Z%d, Z%d", i, i)
		}
		p("VMOVUPS Z%d, %s", i, dst[i])
	}
	p("ADDQ BX, AX")
	p("ADDQ $64, DI")
	p("DECQ R12")
	p("JNE row")
	p("VZEROUPPER")
	p("RET")
}
