package asm

import "math"

// Sum returns the sum of x. The vector tiers keep four vectors of partial sums;
// plain Go sums from left to right. Dot and SumSquares do the same.
func Sum(x []float32) float32 {
	var s float32
	if useVec {
		for end := len(x) &^ (lanes - 1); end > 0; {
			n := min(chunk, end)
			s += sumVec(x[:n])
			x, end = x[n:], end-n
		}
	}
	for _, v := range x {
		s += v
	}
	return s
}

// Dot returns the sum of x[i]·y[i] over the length of x.
func Dot(x, y []float32) float32 {
	y = y[:len(x)]
	var s float32
	if useVec {
		for end := len(x) &^ (lanes - 1); end > 0; {
			n := min(chunk, end)
			s += dotVec(x[:n], y[:n])
			x, y, end = x[n:], y[n:], end-n
		}
	}
	for i, v := range x {
		s += v * y[i]
	}
	return s
}

// SumSquares returns the sum of x[i]².
func SumSquares(x []float32) float32 { return Dot(x, x) }

// Max returns the largest element of x, NaN if there is one, and -Inf if x is
// empty.
func Max(x []float32) float32 {
	m := float32(math.Inf(-1))
	if useVec {
		for end := len(x) &^ (lanes - 1); end > 0; {
			n := min(chunk, end)
			m = max(m, maxVec(x[:n]))
			x, end = x[n:], end-n
		}
	}
	for _, v := range x {
		m = max(m, v)
	}
	return m
}
