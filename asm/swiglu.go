package asm

// SwiGLU is
//
//	for i := range dst {
//		dst[i] = gate[i] / (1 + exp(-gate[i])) * up[i]
//	}
func SwiGLU(dst, gate, up []float32) {
	gate, up = gate[:len(dst)], up[:len(dst)]
	for i := range dst {
		dst[i] = gate[i] / (1 + exp(-gate[i])) * up[i]
	}
}

// SwiGLUGrad is the gradient of SwiGLU. dgate and dup may be gate and up.
//
//	for i := range dz {
//		g, sigma := gate[i], 1/(1+exp(-gate[i]))
//		dgate[i] = dz[i] * up[i] * sigma * (1 + g*(1-sigma))
//		dup[i] = dz[i] * g * sigma
//	}
func SwiGLUGrad(dgate, dup, dz, gate, up []float32) {
	n := len(dz)
	dgate, dup, gate, up = dgate[:n], dup[:n], gate[:n], up[:n]
	for i := range dz {
		g, u := gate[i], up[i]
		sigma := 1 / (1 + exp(-g))
		dgate[i] = dz[i] * u * sigma * (1 + g*(1-sigma))
		dup[i] = dz[i] * g * sigma
	}
}
