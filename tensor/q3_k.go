package tensor

// decodeQ3_K decodes GGUF's Q3_K, 256 elements in 110 bytes: 32 bytes h, 64
// bytes q, 12 bytes of sixteen scales s of 6 bits, and an F16 scale d. Element
// i belongs to the group g = i/16; its two low bits are at 2·(i/32 mod 4) of the
// byte q[i/128·32 + i mod 32], its high one is bit i/32 of h[i mod 32]. The low
// four bits of s[g] are a nibble of byte g mod 8 (low ones first), the other
// two are at 2·(g/4) of byte 8 + g mod 4. Every product is rounded.
//
//	dst[i] = (d * (s[g] - 32)) * (q(i) + 4·h(i) - 4)
func decodeQ3_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[110:] {
		b := (*[110]byte)(src)
		d := f16At(b[108:])
		for g := range 16 {
			s := b[96+g%8]>>(g/8*4)&15 | b[104+g%4]>>(g/4*2)&3<<4
			dl := d * float32(int8(s)-32)
			shift, bit := g/2%4*2, g/2
			x := (*[16]float32)(dst[16*g:])
			q, h := (*[16]byte)(b[32+g/8*32+g%2*16:]), (*[16]byte)(b[g%2*16:])
			for j, v := range q {
				x[j] = dl * float32(int8(v>>shift&3|h[j]>>bit&1<<2)-4)
			}
		}
	}
}
