package tensor

import "encoding/binary"

// decodeQ5_0 decodes GGUF's Q5_0, 32 elements in 22 bytes: an F16 scale d, 32
// bits h, and 16 bytes whose low nibbles are n[0] to n[15] and whose high ones
// are n[16] to n[31].
//
//	dst[i] = d * (n[i] + 16·h[i] - 16)
func decodeQ5_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[22:] {
		x, b := (*[32]float32)(dst), (*[22]byte)(src)
		d, h := f16At(b[:]), binary.LittleEndian.Uint32(b[2:])
		for j, n := range b[6:] {
			lo, hi := n&15|byte(h<<4)&16, n>>4|byte(h>>12)&16
			x[j] = d * float32(int8(lo)-16)
			x[j+16] = d * float32(int8(hi)-16)
			h >>= 1
		}
	}
}
