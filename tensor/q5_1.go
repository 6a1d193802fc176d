package tensor

import "encoding/binary"

// decodeQ5_1 decodes GGUF's Q5_1, 32 elements in 24 bytes: an F16 scale d, an
// F16 minimum m, 32 bits h, and 16 bytes of nibbles n as in Q5_0. The product
// is rounded before the sum.
//
//	dst[i] = d*(n[i] + 16·h[i]) + m
func decodeQ5_1(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[24:] {
		x, b := (*[32]float32)(dst), (*[24]byte)(src)
		d, m, h := f16At(b[:]), f16At(b[2:]), binary.LittleEndian.Uint32(b[4:])
		for j, n := range b[8:] {
			lo, hi := n&15|byte(h<<4)&16, n>>4|byte(h>>12)&16
			x[j] = float32(d*float32(lo)) + m
			x[j+16] = float32(d*float32(hi)) + m
			h >>= 1
		}
	}
}
