package asm

import "math"

// Sum returns the sum of x: 32 partial sums of every 32nd element, then their
// sum. In plain Go, the sum from left to right.
func Sum(x []float32) float32 {
	var s float32
	for _, v := range x {
		s += v
	}
	return s
}

// Dot returns the sum of x[i]·y[i] over the length of x.
func Dot(x, y []float32) float32 {
	y = y[:len(x)]
	var s float32
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
	for _, v := range x {
		m = max(m, v)
	}
	return m
}
