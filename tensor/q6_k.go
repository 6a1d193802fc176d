package tensor

// decodeQ6_K decodes GGUF's Q6_K, 256 elements in 210 bytes: 128 bytes l, 64
// bytes h, 16 signed bytes s and an F16 scale d. Half a block, 128 elements, has
// 64 bytes of l and 32 of h; of its element i, the four low bits are a nibble of
// l[i mod 64] (low ones first), the two high ones are at 2·(i/32) of h[i mod 32].
// The scale is s[i/16]. Every product is rounded.
//
//	dst[i] = (d * s[i/16]) * (l(i) + 16·h(i) - 32)
func decodeQ6_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[210:] {
		b := (*[210]byte)(src)
		d := f16At(b[208:])
		for p := range 4 { // quarters of 16 elements of each half's four 32s
			half, at := p/2, p%2*16
			s := (*[8]byte)(b[192+8*half:])
			d0, d1 := d*float32(int8(s[p%2])), d*float32(int8(s[p%2+2]))
			d2, d3 := d*float32(int8(s[p%2+4])), d*float32(int8(s[p%2+6]))
			x := (*[112]float32)(dst[128*half+at:])
			l, h := (*[48]byte)(b[64*half+at:]), (*[16]byte)(b[128+32*half+at:])
			for j, v := range h {
				l0, l1 := l[j], l[j+32]
				x[j] = d0 * float32(int8(l0&15|v&3<<4)-32)
				x[j+32] = d1 * float32(int8(l1&15|v>>2&3<<4)-32)
				x[j+64] = d2 * float32(int8(l0>>4|v>>4&3<<4)-32)
				x[j+96] = d3 * float32(int8(l1>>4|v>>6<<4)-32)
			}
		}
	}
}
