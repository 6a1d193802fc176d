package asm

// SiLU is
//
//	for i := range dst {
//		dst[i] = x[i] / (1 + exp(-x[i]))
//	}
//
// As in PyTorch, the result is -0 where exp(-x) overflows and NaN at -Inf.
func SiLU(dst, x []float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = x[i] / (1 + exp(-x[i]))
	}
}
