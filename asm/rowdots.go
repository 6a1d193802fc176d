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
		four := rows-i >= 4
		for j := 0; j < m; j += 3 {
			d, wi, xj := &dst[j*ldd+i], &w[i*ld], &x[j*ldx]
			switch n := min(m-j, 3); {
			case four && n == 1:
				dots4x1(d, ldd, wi, ld, xj, ldx, whole)
			case four && n == 2:
				dots4x2(d, ldd, wi, ld, xj, ldx, whole)
			case four:
				dots4x3(d, ldd, wi, ld, xj, ldx, whole)
			case n == 1:
				dots1x1(d, ldd, wi, ld, xj, ldx, whole)
			case n == 2:
				dots1x2(d, ldd, wi, ld, xj, ldx, whole)
			default:
				dots1x3(d, ldd, wi, ld, xj, ldx, whole)
			}
		}
		if four {
			i += 4
		} else {
			i++
		}
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
