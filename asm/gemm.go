package asm

// GemmScratch returns the number of floats of scratch that Gemm wants.
func GemmScratch() int { return 1 }

// Gemm is, on one thread and for matrices that lie in the caches,
//
//	for i := range m {
//		for j := range n {
//			c[i*ldc+j] = alpha * Σ_l a[i*ars+l*acs] * b[l*brs+j*bcs] (+ c[i*ldc+j])
//		}
//	}
//
// adding to c if accumulate. One of ars, acs and one of brs, bcs is 1. c does
// not overlap a or b. scratch has GemmScratch elements.
func Gemm(c []float32, ldc int, a []float32, ars, acs int, b []float32, brs, bcs int, m, n, k int, alpha float32, accumulate bool, scratch []float32) {
	for i := range m {
		for j := range n {
			var s float32
			for l := range k {
				s += a[i*ars+l*acs] * b[l*brs+j*bcs]
			}
			if accumulate {
				c[i*ldc+j] += alpha * s
			} else {
				c[i*ldc+j] = alpha * s
			}
		}
	}
}
