package tensor

// iq4NL has the 16 values of a nibble in IQ4_NL: denser around zero, as
// weights are.
var iq4NL = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// decodeIQ4_NL decodes GGUF's IQ4_NL, 32 elements in 18 bytes: an F16 scale d
// and 16 bytes of nibbles n as in Q5_0.
//
//	dst[i] = d * iq4NL[n[i]]
func decodeIQ4_NL(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[18:] {
		x, b := (*[32]float32)(dst), (*[18]byte)(src)
		d := f16At(b[:])
		for j, n := range b[2:] {
			x[j] = d * iq4NL[n&15]
			x[j+16] = d * iq4NL[n>>4]
		}
	}
}
