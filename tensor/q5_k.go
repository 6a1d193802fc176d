package tensor

// decodeQ5_K decodes GGUF's Q5_K, 256 elements in 176 bytes: the head of a Q4_K
// block, 32 bytes h, and 128 bytes of nibbles n as in Q4_K. Element i belongs to
// the group g = i/32; its high bit is bit g of h[i mod 32]. Every operation is
// rounded.
//
//	dst[i] = (d * s[g]) * (n[i] + 16·h(i)) - dmin * m[g]
func decodeQ5_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[176:] {
		b := (*[176]byte)(src)
		scale, minimum := scalesK((*[16]byte)(b[:]))
		h := (*[32]byte)(b[16:])
		for p := range 4 { // pairs of groups
			d0, m0 := scale[2*p], minimum[2*p]
			d1, m1 := scale[2*p+1], minimum[2*p+1]
			x, q := (*[64]float32)(dst[64*p:]), (*[32]byte)(b[48+32*p:])
			for j, v := range q {
				bits := h[j] >> (2 * p)
				x[j] = float32(d0*float32(v&15|bits&1<<4)) - m0
				x[j+32] = float32(d1*float32(v>>4|bits&2<<3)) - m1
			}
		}
	}
}
