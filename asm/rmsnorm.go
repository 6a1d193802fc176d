package asm

import "math"

// RMSNormRow normalises one row and returns the factor, which the gradient
// wants:
//
//	rstd = 1 / sqrt(mean(x²) + eps)
//	for i := range dst {
//		dst[i] = x[i] * rstd * w[i]
//	}
func RMSNormRow(dst, x, w []float32, eps float32) (rstd float32) {
	x, w = x[:len(dst)], w[:len(dst)]
	rstd = float32(1 / math.Sqrt(float64(SumSquares(x))/float64(len(x))+float64(eps)))
	i := 0
	if useVec {
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			mulScaledVec(dst[i:j], x[i:j], w[i:j], rstd)
			i = j
		}
	}
	for ; i < len(dst); i++ {
		dst[i] = x[i] * rstd * w[i]
	}
	return rstd
}

// RMSNormGradRow is the gradient of RMSNormRow with respect to x; with add it
// adds to dx. dx may be dz or x if add is false.
//
//	c = rstd² * mean(dz·w·x)
//	for i := range dx {
//		dx[i] = rstd * (dz[i]*w[i] - x[i]*c)
//	}
func RMSNormGradRow(dx, dz, x, w []float32, rstd float32, add bool) {
	n := len(dx)
	dz, x, w = dz[:n], x[:n], w[:n]
	var s float32
	i := 0
	if useVec {
		for end := n &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			s += dot3Vec(dz[i:j], w[i:j], x[i:j])
			i = j
		}
	}
	for ; i < n; i++ {
		s += dz[i] * w[i] * x[i]
	}
	c := float32(float64(s) / float64(n) * float64(rstd) * float64(rstd) * float64(rstd))
	i = 0
	if useVec {
		for end := n &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			if add {
				rmsnormGradAddVec(dx[i:j], dz[i:j], x[i:j], w[i:j], rstd, c)
			} else {
				rmsnormGradVec(dx[i:j], dz[i:j], x[i:j], w[i:j], rstd, c)
			}
			i = j
		}
	}
	if add {
		for ; i < n; i++ {
			dx[i] += rstd*w[i]*dz[i] - x[i]*c
		}
		return
	}
	for ; i < n; i++ {
		dx[i] = rstd*w[i]*dz[i] - x[i]*c
	}
}
