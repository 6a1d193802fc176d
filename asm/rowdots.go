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

// RowDotsMulti multiplies the rows of w by m vectors, reading w once:
//
//	for j := range m {
//		for i := range rows {
//			dst[j*ldd+i] = dot(w[i*ld:][:k], x[j*ldx:][:k])
//		}
//	}
//
// It is meant for m up to 8. The sum of an element does not depend on rows.
func RowDotsMulti(dst []float32, ldd int, w []float32, ld, rows int, x []float32, ldx, m, k int) {
	for j := range m {
		for i := range rows {
			dst[j*ldd+i] = Dot(w[i*ld:][:k], x[j*ldx:][:k])
		}
	}
}
