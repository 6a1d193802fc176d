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
func ExpSubSum(dst, x []float32, m float32) (sum float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = exp(x[i] - m)
		sum += dst[i]
	}
	return sum
}

func exp(x float32) float32 { return float32(math.Exp(float64(x))) }
