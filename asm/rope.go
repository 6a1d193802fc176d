package asm

// RoPERow rotates one head, in the half-split convention of Llama checkpoints
// (rotate_half): element i is paired with element i+D/2, where D = len(dst) is
// even. cos and sin have D/2 entries. With inverse, the rotation is by the
// negative angle: that is the gradient.
//
//	for i := range D/2 {
//		x0, x1 := x[i], x[i+D/2]
//		dst[i] = x0*cos[i] - x1*sin[i]
//		dst[i+D/2] = x1*cos[i] + x0*sin[i]
//	}
func RoPERow(dst, x, cos, sin []float32, inverse bool) {
	h := len(dst) / 2
	x0, x1, cos, sin := x[:h], x[h:2*h], cos[:h], sin[:h]
	d0, d1 := dst[:h], dst[h:2*h]
	sign := float32(1)
	if inverse {
		sign = -1
	}
	i := 0
	if useVec {
		i = h &^ (lanes - 1)
		ropeVec(d0[:i], d1[:i], x0[:i], x1[:i], cos[:i], sin[:i], sign)
	}
	for ; i < h; i++ {
		c, s := cos[i], sin[i]*sign
		a, b := x0[i], x1[i]
		d0[i] = a*c - b*s
		d1[i] = b*c + a*s
	}
}
