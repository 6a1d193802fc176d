// Package tensor holds the n-dimensional arrays that everything else computes
// on: Tensor, its element types, the devices that store and compute it, and the
// CPU device.
package tensor

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/tenon-ml/tenon/asm"
)

// DType is the type in which a tensor's elements are stored. Plain types store
// one element at a time; block types (from Q4_0 on) store a fixed number of
// consecutive elements of a row in one block. NF4 and FP4 are codes of 4 bits, whose
// tensor has a Quant beside them.
type DType uint8

// The element types. F32, F64 and I32 can be computed on; the others are
// storage that is decoded to F32 where it is used, or that is only listed.
const (
	Invalid DType = iota
	F32
	F64
	BF16
	F16
	I32
	U8
	I8
	I16
	U16
	U32
	I64
	U64
	Bool
	F8E4M3
	F8E5M2
	Q4_0
	Q4_1
	Q5_0
	Q5_1
	Q8_0
	Q2_K
	Q3_K
	Q4_K
	Q5_K
	Q6_K
	IQ4_NL
	NF4
	FP4
	Panels // F32 matrices in memory alone, see Tensor.Pack
	numDTypes
)

// dtypes is the one table of element types: a new one is a row here.
var dtypes = [numDTypes]struct {
	name   string // as safetensors and GGUF spell it
	block  int    // elements in a block
	bytes  int    // bytes of a block
	decode func(dst []float32, src []byte)
}{
	Invalid: {name: "invalid", block: 1, bytes: 0},
	F32:     {name: "F32", block: 1, bytes: 4, decode: decodeF32},
	F64:     {name: "F64", block: 1, bytes: 8, decode: decodeF64},
	BF16:    {name: "BF16", block: 1, bytes: 2, decode: asm.DecodeBF16},
	F16:     {name: "F16", block: 1, bytes: 2, decode: asm.DecodeF16},
	I32:     {name: "I32", block: 1, bytes: 4},
	U8:      {name: "U8", block: 1, bytes: 1},
	I8:      {name: "I8", block: 1, bytes: 1},
	I16:     {name: "I16", block: 1, bytes: 2},
	U16:     {name: "U16", block: 1, bytes: 2},
	U32:     {name: "U32", block: 1, bytes: 4},
	I64:     {name: "I64", block: 1, bytes: 8},
	U64:     {name: "U64", block: 1, bytes: 8},
	Bool:    {name: "BOOL", block: 1, bytes: 1},
	F8E4M3:  {name: "F8_E4M3", block: 1, bytes: 1},
	F8E5M2:  {name: "F8_E5M2", block: 1, bytes: 1},
	Q4_0:    {name: "Q4_0", block: 32, bytes: 18, decode: asm.DecodeQ4_0},
	Q4_1:    {name: "Q4_1", block: 32, bytes: 20, decode: asm.DecodeQ4_1},
	Q5_0:    {name: "Q5_0", block: 32, bytes: 22, decode: decodeQ5_0},
	Q5_1:    {name: "Q5_1", block: 32, bytes: 24, decode: decodeQ5_1},
	Q8_0:    {name: "Q8_0", block: 32, bytes: 34, decode: asm.DecodeQ8_0},
	Q2_K:    {name: "Q2_K", block: 256, bytes: 84, decode: decodeQ2_K},
	Q3_K:    {name: "Q3_K", block: 256, bytes: 110, decode: decodeQ3_K},
	Q4_K:    {name: "Q4_K", block: 256, bytes: 144, decode: asm.DecodeQ4_K},
	Q5_K:    {name: "Q5_K", block: 256, bytes: 176, decode: decodeQ5_K},
	Q6_K:    {name: "Q6_K", block: 256, bytes: 210, decode: asm.DecodeQ6_K},
	IQ4_NL:  {name: "IQ4_NL", block: 32, bytes: 18, decode: asm.DecodeIQ4_NL},
	NF4:     {name: "NF4", block: 2, bytes: 1},
	FP4:     {name: "FP4", block: 2, bytes: 1},
	Panels:  {name: "F32 in panels", block: 1, bytes: 4},
}

// String returns the name by which safetensors and GGUF know the type.
func (d DType) String() string {
	if d >= numDTypes {
		return fmt.Sprintf("DType(%d)", uint8(d))
	}
	return dtypes[d].name
}

// ParseDType returns the type of that name, as safetensors and GGUF spell it.
// They have no name for NF4 and FP4.
func ParseDType(name string) (DType, bool) {
	for d := F32; d < numDTypes; d++ {
		if dtypes[d].name == name && !d.Quantized() {
			return d, true
		}
	}
	return Invalid, false
}

// Block returns the number of elements in a block (1 for plain types) and the
// bytes that a block takes.
func (d DType) Block() (elements, bytes int) { return dtypes[d].block, dtypes[d].bytes }

// Bytes returns the bytes that n elements take; n is a multiple of the block, but
// for NF4 and FP4, of which a last byte may hold one element.
func (d DType) Bytes(n int) int { return ceil(n, dtypes[d].block) * dtypes[d].bytes }

// CanDecode reports whether values of the type can be decoded to F32 from its bytes
// alone: NF4 and FP4 need a Quant.
func (d DType) CanDecode() bool { return d < numDTypes && dtypes[d].decode != nil }

// Decode writes the elements stored in src, in order, to dst as F32.
// len(dst) is a multiple of the block length and src holds at least as many
// blocks. It panics if the type cannot be decoded (CanDecode).
func (d DType) Decode(dst []float32, src []byte) {
	src = src[:len(src):len(src)] // not what lies behind it
	dtypes[d].decode(dst, src[:d.Bytes(len(dst))])
}

// CanEncode reports whether F32 values can be stored as the type: F32, F16 or BF16.
func (d DType) CanEncode() bool { return d == F32 || d == F16 || d == BF16 }

// Encode writes the values of src to dst as the type, rounded to nearest, ties to
// even, as PyTorch does it; a NaN stays a (quiet) NaN. It panics if the type cannot be
// encoded (CanEncode).
func (d DType) Encode(dst []byte, src []float32) {
	switch d {
	case F32:
		for i, v := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
	case F16:
		asm.EncodeF16(dst, src)
	case BF16:
		asm.EncodeBF16(dst, src)
	default:
		panic("tensor: F32 values cannot be stored as " + d.String())
	}
}
