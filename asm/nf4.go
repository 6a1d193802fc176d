package asm

import (
	"math"
	"unsafe"
)

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

// nf4Unit is the number of codes that the kernels decode at a time: a block is whole
// units.
const nf4Unit = 32

// DecodeNF4 decodes 4-bit codes packed as bitsandbytes does, NF4 or FP4: code i is
// the high nibble of src[i/2] where i is even, the low one where it is odd, and
// block elements, a multiple of 32, share a scale. Every tier gives the same bits.
//
//	dst[i] = c.Values[code(i)] * absmax[i/block]
func DecodeNF4(dst []float32, src []byte, absmax []float32, block int, c *Codebook) {
	decodeNF4(dst, src, absmax, block, c, false)
}

// StreamNF4 is DecodeNF4 for results that are too many for the caches: they are
// written past them, if dst begins at a multiple of 64 bytes. Other threads see them
// after StreamFence.
func StreamNF4(dst []float32, src []byte, absmax []float32, block int, c *Codebook) {
	decodeNF4(dst, src, absmax, block, c, len(dst) > 0 && uintptr(unsafe.Pointer(&dst[0]))%64 == 0)
}

// StreamFence waits until other threads see what StreamNF4 wrote.
func StreamFence() {
	if useVec {
		storeFence()
	}
}

func decodeNF4(dst []float32, src []byte, absmax []float32, block int, c *Codebook, stream bool) {
	src = src[:(len(dst)+1)/2]
	absmax = absmax[:(len(dst)+block-1)/block]
	n := 0
	for useVec && len(dst)-n >= nf4Unit { // whole blocks at a time, or the last one's units
		units := min(len(dst)-n, max(block, chunk/block*block)) / nf4Unit
		d, s, a, per := &dst[n], &src[n/2], &absmax[n/block], block/nf4Unit
		switch {
		case use512 && stream:
			decodeNF4StreamAVX512(d, s, a, units, per, c)
		case use512:
			decodeNF4AVX512(d, s, a, units, per, c)
		case stream:
			decodeNF4Stream(d, s, a, units, per, c)
		default:
			decodeNF4Vec(d, s, a, units, per, c)
		}
		n += units * nf4Unit
	}
	for i := n; i < len(dst); i++ {
		code := src[i/2] & 15
		if i%2 == 0 {
			code = src[i/2] >> 4
		}
		dst[i] = c.Values[code] * absmax[i/block]
	}
}
