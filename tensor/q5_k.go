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

// scalesK decodes the head that a block of Q5_K, as one of Q4_K, begins with: F16 d
// and dmin, then twelve bytes b that hold s and m, eight numbers of 6 bits each:
//
//	s[g] = b[g] mod 64, m[g] = b[g+4] mod 64                                      g < 4
//	s[g] = b[g+4] mod 16 + 16·(b[g-4] / 64), m[g] = b[g+4]/16 + 16·(b[g] / 64)    4 <= g < 8
//
// It returns d*s[g] and dmin*m[g].
func scalesK(head *[16]byte) (scale, minimum [8]float32) {
	d, dmin, b := f16At(head[:]), f16At(head[2:]), (*[12]byte)(head[4:])
	for g := range 4 {
		scale[g] = d * float32(b[g]&63)
		minimum[g] = float32(dmin * float32(b[g+4]&63))
		scale[g+4] = d * float32(b[g+8]&15|b[g]>>6<<4)
		minimum[g+4] = float32(dmin * float32(b[g+8]>>4|b[g+4]>>6<<4))
	}
	return scale, minimum
}
