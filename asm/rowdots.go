package asm

// RowDots multiplies the rows of a matrix by one vector, reading the matrix
// once: the product of a decoded token.
//
//	for i := range dst {
//		dst[i] = dot(w[i*ld:][:len(x)], x)
//	}
func RowDots(dst, w []float32, ld int, x []float32) {
	RowDotsMulti(dst, len(dst), w, ld, len(dst), x, len(x), 1, len(x))
}

// RowDotsMulti multiplies the rows of w by m vectors, three at a time, with w
// coming from memory once:
//
//	for j := range m {
//		for i := range rows {
//			dst[j*ldd+i] = dot(w[i*ld:][:k], x[j*ldx:][:k])
//		}
//	}
//
// It is meant for m up to 8. How an element is summed does not depend on rows
// or m.
func RowDotsMulti(dst []float32, ldd int, w []float32, ld, rows int, x []float32, ldx, m, k int) {
	if rows == 0 || m == 0 {
		return
	}
	_, _, _ = dst[(m-1)*ldd+rows-1], w[:(rows-1)*ld+k], x[:(m-1)*ldx+k]
	if !useVec || k < lanes {
		for j := range m {
			for i := range rows {
				dst[j*ldd+i] = Dot(w[i*ld:][:k], x[j*ldx:][:k])
			}
		}
		return
	}
	whole := k &^ (lanes - 1)
	for i := 0; i < rows; {
		n := 1
		if rows-i >= 4 {
			n = 4
		}
		for l := 0; l < whole; l += dotPiece {
			kk := min(dotPiece, whole-l)
			for j := 0; j < m; j += 3 {
				d, wi, xj, mm := dst[j*ldd+i:], &w[i*ld+l], &x[j*ldx+l], min(m-j, 3)
				if l == 0 {
					dots(n, mm, &d[0], ldd, wi, ld, xj, ldx, kk)
					continue
				}
				var part [12]float32
				dots(n, mm, &part[0], 4, wi, ld, xj, ldx, kk)
				for q := range mm {
					for p := range n {
						d[q*ldd+p] += part[4*q+p]
					}
				}
			}
		}
		i += n
	}
	if whole == k {
		return
	}
	for j := range m {
		xj := x[j*ldx+whole : j*ldx+k]
		for i := range rows {
			s := dst[j*ldd+i]
			for l, v := range w[i*ld+whole : i*ld+k] {
				s += float32(v * xj[l])
			}
			dst[j*ldd+i] = s
		}
	}
}

// dotPiece is the length of the pieces in which rows are multiplied: four of them
// stay in the L1 cache while each group of three vectors passes.
const dotPiece = 1024

// dots runs the kernel for 4 or 1 rows and 1 to 3 vectors.
func dots(rows, xs int, dst *float32, ldd int, w *float32, ld int, x *float32, ldx, k int) {
	switch 4*rows + xs {
	case 17:
		dots4x1(dst, ldd, w, ld, x, ldx, k)
	case 18:
		dots4x2(dst, ldd, w, ld, x, ldx, k)
	case 19:
		dots4x3(dst, ldd, w, ld, x, ldx, k)
	case 5:
		dots1x1(dst, ldd, w, ld, x, ldx, k)
	case 6:
		dots1x2(dst, ldd, w, ld, x, ldx, k)
	case 7:
		dots1x3(dst, ldd, w, ld, x, ldx, k)
	}
}

// dotChunk is the number of weights that one call of a kernel on stored rows
// multiplies: below 50 µs from memory.
const dotChunk = 1 << 17

// RowDotsBF16 is RowDots on rows of little-endian bfloat16, ld elements apart:
//
//	for i := range dst {
//		dst[i] = dot(w[i*ld:][:len(x)], x)
//	}
func RowDotsBF16(dst []float32, w []byte, ld int, x []float32) {
	k := len(x)
	whole := k &^ (blockLen - 1)
	stride := 2 * ld
	i := 0
	if useVec && whole > 0 && len(dst) > 0 {
		_ = w[(len(dst)-1)*stride+2*k-1]
		for step := max(1, dotChunk/k); i < len(dst); i += step {
			dotsBF16(&dst[i], &w[i*stride], stride, min(step, len(dst)-i), &x[0], whole/blockLen)
		}
	} else {
		clear(dst)
		whole = 0
	}
	if whole == k {
		return
	}
	var v [blockLen]float32
	for i := range dst {
		row := w[i*stride:][:2*k]
		for l := whole; l < k; l += blockLen {
			part := v[:min(blockLen, k-l)]
			DecodeBF16(part, row[2*l:])
			dst[i] += Dot(part, x[l:])
		}
	}
}

// RowDotsQ8_0 is RowDots on rows of GGUF's Q8_0, ld elements apart; ld and
// len(x) are multiples of 32. A block's scale multiplies the sum over the block.
func RowDotsQ8_0(dst []float32, w []byte, ld int, x []float32) {
	stride, units := ld/blockLen*sizeQ8_0, len(x)/blockLen
	if !useVec || units == 0 {
		rowDotsBlocks(dst, w, stride, x, sizeQ8_0)
		return
	}
	for i, step := 0, max(1, dotChunk/len(x)); i < len(dst); i += step {
		n := min(step, len(dst)-i)
		dotsQ8_0(&dst[i], &w[i*stride:][:(n-1)*stride+units*sizeQ8_0][0], stride, n, &x[0], units)
	}
}

// RowDotsQ4_0 is RowDots on rows of GGUF's Q4_0, as RowDotsQ8_0.
func RowDotsQ4_0(dst []float32, w []byte, ld int, x []float32) {
	stride, units := ld/blockLen*sizeQ4_0, len(x)/blockLen
	if !useVec || units == 0 {
		rowDotsBlocks(dst, w, stride, x, sizeQ4_0)
		return
	}
	for i, step := 0, max(1, dotChunk/len(x)); i < len(dst); i += step {
		n := min(step, len(dst)-i)
		dotsQ4_0(&dst[i], &w[i*stride:][:(n-1)*stride+units*sizeQ4_0][0], stride, n, &x[0], units)
	}
}

// RowDotsQ4_1 is RowDots on rows of GGUF's Q4_1, as RowDotsQ8_0; a block's
// minimum multiplies the sum of x over the block.
func RowDotsQ4_1(dst []float32, w []byte, ld int, x []float32) {
	stride, units := ld/blockLen*sizeQ4_1, len(x)/blockLen
	if !useVec || units == 0 {
		rowDotsBlocks(dst, w, stride, x, sizeQ4_1)
		return
	}
	for i, step := 0, max(1, dotChunk/len(x)); i < len(dst); i += step {
		n := min(step, len(dst)-i)
		dotsQ4_1(&dst[i], &w[i*stride:][:(n-1)*stride+units*sizeQ4_1][0], stride, n, &x[0], units)
	}
}

// rowDotsBlocks is the plain form; the format is told by the bytes of a block. (A
// call through a func value would move v to the heap.)
func rowDotsBlocks(dst []float32, w []byte, stride int, x []float32, size int) {
	var v [blockLen]float32
	for i := range dst {
		var s float32
		for l := 0; l < len(x); l += blockLen {
			block := w[i*stride+l/blockLen*size:][:size]
			switch size {
			case sizeQ8_0:
				DecodeQ8_0(v[:], block)
			case sizeQ4_0:
				DecodeQ4_0(v[:], block)
			case sizeQ4_1:
				DecodeQ4_1(v[:], block)
			}
			s += Dot(v[:], x[l:])
		}
		dst[i] = s
	}
}
