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

	rounded table16 // the values in 14 bits, of which 1 stands for unit
	unit    float32
}

// NewCodebook returns the codebook of the given values.
func NewCodebook(values [16]float32) *Codebook {
	c := &Codebook{Values: values}
	for i, v := range values {
		for b := range 4 {
			c.planes[16*b+i] = byte(math.Float32bits(v) >> (8 * b))
		}
	}
	c.rounded, c.unit = c.round16()
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

// HasPackNF4 reports whether PackNF4 and PackNF4T are faster than decoding first.
func HasPackNF4() bool { return use512 }

// PackNF4 is Pack for k rows of 4-bit codes, which are ld codes apart; block of them, a
// multiple of 32, share a scale, and so do the last of a row. The scales of rows
// are lds apart. ld is even. The bits are those of DecodeNF4.
//
//	for j := range n {
//		for l := range k {
//			panels[j/TileCols*k*TileCols+l*TileCols+j%TileCols] = c.Values[code(l*ld+j)] * scales[l*lds+j/block]
//		}
//	}
//
// The last panel is filled up with zeros. k is at most Depth(k).
func PackNF4(panels []float32, codes []byte, ld int, scales []float32, lds, block, k, n int, c *Codebook) {
	_, _, _ = panels[PanelsLen(k, n)-1], codes[((k-1)*ld+n-1)/2], scales[(k-1)*lds+(n-1)/block]
	j := 0
	for use512 && n-j >= nf4Unit {
		dst, src, first := &panels[j*k], &codes[j/2], j/block
		if n-j < 2*nf4Unit {
			packNF4x1(dst, k*TileCols, src, ld/2, &scales[first], lds, 0, k, c)
			j += nf4Unit
			continue
		}
		packNF4x2(dst, k*TileCols, src, ld/2, &scales[first], lds, (j+nf4Unit)/block-first, k, c)
		j += 2 * nf4Unit
	}
	clear(panels[j*k : PanelsLen(k, n)])
	for l := range k {
		for i := j; i < n; i++ {
			panels[i/TileCols*k*TileCols+l*TileCols+i%TileCols] = c.value(codes, l*ld+i) * scales[l*lds+i/block]
		}
	}
}

// PackNF4T is PackNF4 for the transpose: n rows of codes that become columns.
//
//	for j := range n {
//		for l := range k {
//			panels[j/TileCols*k*TileCols+l*TileCols+j%TileCols] = c.Values[code(j*ld+l)] * scales[j*lds+l/block]
//		}
//	}
func PackNF4T(panels []float32, codes []byte, ld int, scales []float32, lds, block, k, n int, c *Codebook) {
	_, _, _ = panels[PanelsLen(k, n)-1], codes[((n-1)*ld+k-1)/2], scales[(n-1)*lds+(k-1)/block]
	for j := 0; j < n; j += TileCols {
		panel, from := panels[j*k:][:k*TileCols], 0
		if use512 && n-j >= TileCols && k >= nf4Unit {
			from = k &^ (nf4Unit - 1)
			packNF4T(&panel[0], &codes[j*ld/2], ld/2, &scales[j*lds], lds, from/nf4Unit, block/nf4Unit, c)
		}
		if n-j < TileCols {
			clear(panel)
		}
		for i := range min(TileCols, n-j) {
			for l := from; l < k; l++ {
				panel[l*TileCols+i] = c.value(codes, (j+i)*ld+l) * scales[(j+i)*lds+l/block]
			}
		}
	}
}

// value returns the value of code i.
func (c *Codebook) value(codes []byte, i int) float32 {
	return c.Values[codes[i/2]>>(4-i%2*4)&15]
}
