package bnb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/tensor"
)

// maxOffset is the length of the longest JSON of a finite F32.
const maxOffset = 25

// typeName returns what bitsandbytes calls a 4-bit type.
func typeName(dt tensor.DType) string {
	for name, d := range types {
		if d == dt {
			return name
		}
	}
	panic("bnb: no 4-bit type " + dt.String())
}

// Entries returns the tensors of a 4-bit weight of the given name and shape, to be
// written. The weight itself is asked for when the first of them is written, and
// released after the last: so a checkpoint that is larger than memory can be written. It
// has been quantised with the given options. dtype is the type that the weight had
// (float32, bfloat16 or float16), to which transformers will decode it.
func Entries(name string, shape []int, o tensor.QuantOptions, dtype string, weight func() (*tensor.Tensor, error)) []safetensors.Entry {
	elems := tensor.Shape(shape).Elems()
	blocks := (elems + o.Block - 1) / o.Block
	s := state{QuantType: typeName(o.DType), BlockSize: o.Block, DType: dtype, Shape: shape}
	stateLen := len(s.json())
	if o.Double {
		offset := 0.0
		s.NestedBlockSize, s.NestedDType, s.NestedOffset = 256, "float32", &offset
		stateLen = len(s.json()) - 1 + maxOffset // spaces fill it: JSON allows them
	}
	var t *tensor.Tensor
	left := 0
	var entries []safetensors.Entry
	add := func(suffix string, dt tensor.DType, shape []int, data func(q *tensor.Quant) []byte) {
		left++
		entries = append(entries, safetensors.Entry{Name: name + suffix, DType: dt, Shape: shape, Data: func(w io.Writer) (err error) {
			if t == nil {
				if t, err = weight(); err != nil {
					return err
				}
			}
			_, err = w.Write(data(t.Quant()))
			if left--; left == 0 {
				t.Release()
			}
			return err
		}})
	}
	floats := func(x []float32) []byte {
		b := make([]byte, 4*len(x))
		tensor.F32.Encode(b, x)
		return b
	}
	add("", tensor.U8, []int{o.DType.Bytes(elems), 1}, func(*tensor.Quant) []byte { return t.Raw() })
	add(".quant_map", tensor.F32, []int{16}, func(q *tensor.Quant) []byte { return floats(q.Table[:]) })
	scales := tensor.F32
	if o.Double {
		scales = tensor.U8
		add(".nested_absmax", tensor.F32, []int{(blocks + 255) / 256}, func(q *tensor.Quant) []byte { return q.Nested.Raw() })
		add(".nested_quant_map", tensor.F32, []int{256}, func(q *tensor.Quant) []byte { return floats(q.Map[:]) })
	}
	add(".absmax", scales, []int{blocks}, func(q *tensor.Quant) []byte { return q.Absmax.Raw() })
	add(statePrefix+s.QuantType, tensor.U8, []int{stateLen}, func(q *tensor.Quant) []byte {
		if o.Double {
			offset := float64(q.Offset)
			s.NestedOffset = &offset
		}
		b := s.json()
		return append(b, bytes.Repeat([]byte{' '}, stateLen-len(b))...)
	})
	return entries
}

// json returns the state as Python's json.dumps writes it.
func (s *state) json() []byte {
	b, err := json.Marshal(s)
	if err != nil { // an offset that is NaN or Inf
		panic(fmt.Sprintf("bnb: %v", err))
	}
	// There is no comma or colon within a string.
	b = bytes.ReplaceAll(b, []byte(","), []byte(", "))
	return bytes.ReplaceAll(b, []byte(":"), []byte(": "))
}

// Config is config.json's quantization_config.
type Config struct {
	QuantMethod  string `json:"quant_method"`
	LoadIn4Bit   bool   `json:"load_in_4bit"`
	LoadIn8Bit   bool   `json:"load_in_8bit"`
	QuantType    string `json:"bnb_4bit_quant_type"`
	DoubleQuant  bool   `json:"bnb_4bit_use_double_quant"`
	ComputeDType string `json:"bnb_4bit_compute_dtype"`
	QuantStorage string `json:"bnb_4bit_quant_storage"`

	SkipModules     []string    `json:"llm_int8_skip_modules"`
	Threshold       json.Number `json:"llm_int8_threshold"` // Python wants a float: 6.0
	FP32CPUOffload  bool        `json:"llm_int8_enable_fp32_cpu_offload"`
	HasFP16Weight   bool        `json:"llm_int8_has_fp16_weight"`
	PrivateLoad4Bit bool        `json:"_load_in_4bit"`
	PrivateLoad8Bit bool        `json:"_load_in_8bit"`
}

// ConfigFor returns the quantization_config of a checkpoint whose linear layers, but
// for the output head, have been quantised with the given options.
func ConfigFor(o tensor.QuantOptions, computeDType string) Config {
	return Config{
		QuantMethod: "bitsandbytes", LoadIn4Bit: true, PrivateLoad4Bit: true, QuantType: typeName(o.DType), DoubleQuant: o.Double,
		ComputeDType: computeDType, QuantStorage: "uint8", Threshold: "6.0",
	}
}
