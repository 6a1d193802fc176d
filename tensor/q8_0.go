package tensor

import (
	"fmt"
	"math"
	"sync/atomic"

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

func quantizeQ8_0(dev Device, x []float32, shape Shape) (*Tensor, error) {
	block, size := Q8_0.Block()
	if len(shape) == 0 || shape[len(shape)-1]%block != 0 {
		return nil, fmt.Errorf("shape %v in %s, want rows of whole blocks of %d", shape, Q8_0, block)
	}
	return MakeStored(dev, Q8_0, shape, func(dst []byte) error {
		var bad atomic.Int64
		pieces(dev, len(x)/block, chunk/block, func(lo, hi int) {
			encodeQ8_0(dst[lo*size:], x[lo*block:hi*block])
			for b := lo; b < hi; b++ {
				if dst[b*size+1]&0x7c == 0x7c { // the F16 scale is
					bad.Store(int64(b) + 1)
				}
			}
		})
		if b := int(bad.Load()); b > 0 {
			return notFinite((b-1)*block, b*block)
		}
		return nil
	})
}
