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

func decodeBF16(dst []float32, src []byte) { asm.DecodeBF16(dst, src) }
func decodeF16(dst []float32, src []byte)  { asm.DecodeF16(dst, src) }

// decodeQ4_0 decodes GGUF's Q4_0: a block is an F16 scale d and 16 bytes; the
// low nibbles are elements 0 to 15, the high ones 16 to 31: w = d·(q - 8).
func decodeQ4_0(dst []float32, src []byte) {
	for i := 0; i < len(dst); i, src = i+32, src[18:] {
		d := f16At(src)
		for j, b := range src[2:18] {
			dst[i+j] = float32(int(b&15)-8) * d
			dst[i+j+16] = float32(int(b>>4)-8) * d
		}
	}
}

// decodeQ4_1 decodes GGUF's Q4_1: F16 scale d and minimum m, then nibbles as in
// Q4_0: w = d·q + m, each operation rounded (no fused multiply-add).
func decodeQ4_1(dst []float32, src []byte) {
	for i := 0; i < len(dst); i, src = i+32, src[20:] {
		d, m := f16At(src), f16At(src[2:])
		for j, b := range src[4:20] {
			dst[i+j] = float32(float32(b&15)*d) + m
			dst[i+j+16] = float32(float32(b>>4)*d) + m
		}
	}
}

// decodeQ8_0 decodes GGUF's Q8_0: an F16 scale d and 32 signed bytes: w = d·q.
func decodeQ8_0(dst []float32, src []byte) {
	for i := 0; i < len(dst); i, src = i+32, src[34:] {
		d := f16At(src)
		for j, b := range src[2:34] {
			dst[i+j] = float32(int8(b)) * d
		}
	}
}

func f16At(b []byte) float32 {
	var v [1]float32
	asm.DecodeF16(v[:], b[:2])
	return v[0]
}
