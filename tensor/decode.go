package tensor

import (
	"encoding/binary"
	"math"

	"github.com/tenon-ml/tenon/asm"
)

func decodeF32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func decodeF64(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
	}
}

// f16At returns the F16 that b begins with.
func f16At(b []byte) float32 {
	var v [1]float32
	asm.DecodeF16(v[:], b[:2])
	return v[0]
}
