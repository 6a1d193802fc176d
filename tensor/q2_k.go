package tensor

// decodeQ2_K decodes GGUF's Q2_K, 256 elements in 84 bytes: 16 bytes s, 64
// bytes q, an F16 scale d and an F16 scale dmin. Element i belongs to the group
// g = i/16; its two bits are at 2·(i/32 mod 4) of the byte q[i/128·32 + i mod 32].
// Every operation is rounded.
//
//	dst[i] = (d * (s[g] mod 16)) * q(i) - dmin * (s[g] / 16)
func decodeQ2_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[84:] {
		b := (*[84]byte)(src)
		d, dmin := f16At(b[80:]), f16At(b[82:])
		for g, s := range b[:16] {
			dl, ml := d*float32(s&15), float32(dmin*float32(s>>4))
			shift := g / 2 % 4 * 2
			x, q := (*[16]float32)(dst[16*g:]), (*[16]byte)(b[16+g/8*32+g%2*16:])
			for j, v := range q {
				x[j] = float32(dl*float32(v>>shift&3)) - ml
			}
		}
	}
}
