package safetensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/tenon-ml/tenon/tensor"
)

// FromBytes is an Entry of data that is already encoded.
func FromBytes(name string, dt tensor.DType, shape []int, data []byte) Entry {
	return Entry{Name: name, DType: dt, Shape: shape, Data: func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}}
}

// FromFloats is an Entry of F32 values stored as dt: F32, F16 or BF16, rounded
// to nearest, ties to even, as PyTorch does it; a NaN stays a (quiet) NaN.
func FromFloats(name string, dt tensor.DType, shape []int, data []float32) Entry {
	return Entry{Name: name, DType: dt, Shape: shape, Data: func(w io.Writer) error {
		const chunk = 16 << 10
		buf := make([]byte, 0, 4*min(len(data), chunk))
		for x := range slices.Chunk(data, chunk) {
			buf = buf[:0]
			switch dt {
			case tensor.F32:
				for _, v := range x {
					buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
				}
			case tensor.BF16:
				for _, v := range x {
					buf = binary.LittleEndian.AppendUint16(buf, bf16(v))
				}
			case tensor.F16:
				for _, v := range x {
					buf = binary.LittleEndian.AppendUint16(buf, f16(v))
				}
			default:
				return fmt.Errorf("F32 values as %s, want F32, F16 or BF16", dt)
			}
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
		return nil
	}}
}

// bf16 rounds to the upper 16 bits, ties to even.
func bf16(v float32) uint16 {
	u := math.Float32bits(v)
	if v != v {
		return uint16(u>>16) | 0x40 // quiet, or the upper bits might be Inf's
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// f16 rounds to IEEE half precision, ties to even, with subnormals.
func f16(v float32) uint16 {
	u := math.Float32bits(v)
	sign, u := uint16(u>>16&0x8000), u&0x7fffffff
	switch {
	case u > 0x7f800000: // NaN
		return sign | 0x7e00 | uint16(u>>13&0x1ff)
	case u >= 0x477ff000: // 65520, half way to 2^16, and above
		return sign | 0x7c00
	case u >= 0x38800000: // 2^-14 and above: normal
		u -= 112 << 23 // the exponents' biases differ by 127 - 15
		return sign | uint16((u+0xfff+u>>13&1)>>13)
	default:
		// 2^-24 is the unit: let an addition do the rounding, since the last bit
		// of 0.5 is 2^-24.
		sum := math.Float32frombits(u) + 0.5
		return sign | uint16(math.Float32bits(sum)-math.Float32bits(0.5))
	}
}
