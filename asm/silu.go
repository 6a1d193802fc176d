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
	if useVec {
		i := 0
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			siluVec(dst[i:j], x[i:j])
			i = j
		}
		if i < len(dst) {
			t0 := pad(x[i:])
			siluVec(t0[:], t0[:])
			copy(dst[i:], t0[:])
		}
		return
	}
	for i := range dst {
		dst[i] = x[i] / (1 + exp(-x[i]))
	}
}
