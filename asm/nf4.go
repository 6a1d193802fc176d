package asm

import "math"

// A Codebook holds the values of the 16 codes of a 4-bit type.
type Codebook struct {
	Values [16]float32
	// planes holds byte b of value i at 16*b+i, for instructions that look bytes up.
	planes [64]byte
}

// NewCodebook returns the codebook of the given values.
func NewCodebook(values [16]float32) *Codebook {
	c := &Codebook{Values: values}
	for i, v := range values {
		for b := range 4 {
			c.planes[16*b+i] = byte(math.Float32bits(v) >> (8 * b))
		}
	}
	return c
}

// DecodeNF4 decodes 4-bit codes packed as bitsandbytes does, NF4 or FP4: code i is
// the high nibble of src[i/2] where i is even, the low one where it is odd, and
// block elements, a multiple of 32, share a scale. Every tier gives the same bits.
//
//	dst[i] = c.Values[code(i)] * absmax[i/block]
func DecodeNF4(dst []float32, src []byte, absmax []float32, block int, c *Codebook) {
	src = src[:(len(dst)+1)/2]
	absmax = absmax[:(len(dst)+block-1)/block]
	for i := range dst {
		code := src[i/2] & 15
		if i%2 == 0 {
			code = src[i/2] >> 4
		}
		dst[i] = c.Values[code] * absmax[i/block]
	}
}
