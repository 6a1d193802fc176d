package asm

import "math"

// Exp is
//
//	for i := range dst {
//		dst[i] = exp(x[i])
//	}
//
// within 2 ulp over the whole range, denormal results included. exp(NaN) is
// NaN, exp(-Inf) is 0, exp(+Inf) is +Inf, and so is exp(x) above 88.722839.
func Exp(dst, x []float32) {
	x = x[:len(dst)]
	if useVec {
		i := 0
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			expVec(dst[i:j], x[i:j])
			i = j
		}
		if i < len(dst) {
			t0 := pad(x[i:])
			expVec(t0[:], t0[:])
			copy(dst[i:], t0[:])
		}
		return
	}
	for i := range dst {
		dst[i] = exp(x[i])
	}
}

// ExpSubSum is the inner loop of softmax and attention:
//
//	for i := range dst {
//		dst[i] = exp(x[i] - m)
//		sum += dst[i]
//	}
//
// Where m and x[i] are the same infinity, dst[i] is NaN.
func ExpSubSum(dst, x []float32, m float32) (sum float32) {
	x = x[:len(dst)]
	if useVec {
		i := 0
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			sum += expSubSumVec(dst[i:j], x[i:j], m)
			i = j
		}
		if i < len(dst) {
			t := pad(x[i:])
			expSubSumVec(t[:], t[:], m)
			for _, v := range t[:copy(dst[i:], t[:])] {
				sum += v
			}
		}
		return sum
	}
	var s float64
	for i := range dst {
		dst[i] = exp(x[i] - m)
		s += float64(dst[i])
	}
	return float32(s)
}

func exp(x float32) float32 { return float32(math.Exp(float64(x))) }
