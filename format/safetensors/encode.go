package safetensors

import (
	"fmt"
	"io"
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
		if !dt.CanEncode() {
			return fmt.Errorf("F32 values as %s, want F32, F16 or BF16", dt)
		}
		const chunk = 16 << 10
		buf := make([]byte, 0, 4*min(len(data), chunk))
		for x := range slices.Chunk(data, chunk) {
			buf = buf[:dt.Bytes(len(x))]
			dt.Encode(buf, x)
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
		return nil
	}}
}
