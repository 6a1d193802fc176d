package tensor

import (
	"math"

	"github.com/tenon-ml/tenon/asm"
)

// encodeQ8_0 stores x, a multiple of 32 long, as GGUF's Q8_0: of each 32 numbers
// the F16 scale d = max|x|/127 and the bytes round(x/d), halves away from zero, as
// ggml does it (quantize_row_q8_0_ref).
func encodeQ8_0(dst []byte, x []float32) {
	for ; len(x) > 0; dst, x = dst[34:], x[32:] {
		var top float32
		for _, v := range x[:32] {
			top = max(top, v, -v)
		}
		d, inverse := top/127, float32(0)
		if d != 0 {
			inverse = 1 / d
		}
		scale := [1]float32{d}
		asm.EncodeF16(dst[:2], scale[:])
		for i, v := range x[:32] {
			v *= inverse
			dst[2+i] = byte(int8(float64(v) + math.Copysign(0.5, float64(v))))
		}
	}
}
