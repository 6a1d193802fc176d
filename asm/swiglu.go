package asm

// SwiGLU is
//
//	for i := range dst {
//		dst[i] = gate[i] / (1 + exp(-gate[i])) * up[i]
//	}
func SwiGLU(dst, gate, up []float32) {
	gate, up = gate[:len(dst)], up[:len(dst)]
	if useVec {
		i := 0
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			swigluVec(dst[i:j], gate[i:j], up[i:j])
			i = j
		}
		if i < len(dst) {
			t0, t1 := pad(gate[i:]), pad(up[i:])
			swigluVec(t0[:], t0[:], t1[:])
			copy(dst[i:], t0[:])
		}
		return
	}
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
	if useVec {
		i := 0
		for end := n &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			swigluGradVec(dgate[i:j], dup[i:j], dz[i:j], gate[i:j], up[i:j])
			i = j
		}
		if i < n {
			z, g, u := pad(dz[i:]), pad(gate[i:]), pad(up[i:])
			swigluGradVec(g[:], u[:], z[:], g[:], u[:])
			copy(dgate[i:], g[:])
			copy(dup[i:], u[:])
		}
		return
	}
	for i := range dz {
		g, u := gate[i], up[i]
		sigma := 1 / (1 + exp(-g))
		dgate[i] = dz[i] * u * sigma * (1 + g*(1-sigma))
		dup[i] = dz[i] * g * sigma
	}
}
