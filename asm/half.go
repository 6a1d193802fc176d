package asm

import (
	"encoding/binary"
	"math"
)

// DecodeBF16 writes the little-endian bfloat16 values of src to dst, exactly.
//
//	for i := range dst {
//		dst[i] = frombits(uint32(src[2*i])<<16 | uint32(src[2*i+1])<<24)
//	}
func DecodeBF16(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	i := 0
	if useVec {
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			decodeBF16Vec(dst[i:j], src[2*i:2*j])
			i = j
		}
	}
	for ; i < len(dst); i++ {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

// DecodeF16 writes the little-endian IEEE 754 half-precision values of src to
// dst, exactly; a signalling NaN becomes the quiet NaN of the same payload.
func DecodeF16(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	i := 0
	if useVec {
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			decodeF16Vec(dst[i:j], src[2*i:2*j])
			i = j
		}
	}
	for ; i < len(dst); i++ {
		dst[i] = f16ToF32(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// EncodeBF16 writes src to dst as little-endian bfloat16, rounded to nearest
// even; a NaN becomes a quiet NaN with the upper bits of its payload.
func EncodeBF16(dst []byte, src []float32) {
	dst = dst[:2*len(src)]
	i := 0
	if useVec {
		for end := len(src) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			encodeBF16Vec(src[i:j], dst[2*i:2*j])
			i = j
		}
	}
	for ; i < len(src); i++ {
		v := src[i]
		b := math.Float32bits(v)
		if v != v {
			b |= 1 << 22
		} else {
			b += 0x7fff + b>>16&1
		}
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(b>>16))
	}
}

// EncodeF16 writes src to dst as little-endian IEEE 754 half precision, rounded
// to nearest even, overflow to Inf and underflow to denormals and zero; a NaN
// becomes a quiet NaN with the upper bits of its payload.
func EncodeF16(dst []byte, src []float32) {
	dst = dst[:2*len(src)]
	i := 0
	if useVec {
		for end := len(src) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			encodeF16Vec(src[i:j], dst[2*i:2*j])
			i = j
		}
	}
	for ; i < len(src); i++ {
		v := src[i]
		binary.LittleEndian.PutUint16(dst[2*i:], f32ToF16(v))
	}
}

func f16ToF32(h uint16) float32 {
	sign, exp, man := uint32(h&0x8000)<<16, uint32(h>>10&31), uint32(h&0x3ff)
	switch {
	case exp == 31 && man != 0:
		return math.Float32frombits(sign | 0x7fc00000 | man<<13)
	case exp == 31:
		return math.Float32frombits(sign | 0x7f800000)
	case exp == 0: // zero and denormals: man · 2^-24 is exact in F32
		return math.Float32frombits(sign | math.Float32bits(float32(man)*0x1p-24))
	}
	return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
}

func f32ToF16(v float32) uint16 {
	b := math.Float32bits(v)
	sign, b := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00 | uint16(b>>13&0x3ff)
	case b >= 0x477ff000: // 65520 and above round to Inf
		return sign | 0x7c00
	case b < 0x38800000: // below 2^-14: the addition rounds to a multiple of 2^-24
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-0x3f000000)
	}
	b += 0xfff + b>>13&1
	return sign | uint16((b-112<<23)>>13)
}

// HasPackHalf reports whether PackHalf is faster than decoding first.
func HasPackHalf() bool { return use512 }

// PackHalf is Pack for k rows of bfloat16, or with f16 of half precision, which are ld
// elements apart. The bits are those of DecodeBF16 and DecodeF16.
//
//	for j := range n {
//		for l := range k {
//			panels[j/TileCols*k*TileCols+l*TileCols+j%TileCols] = decoded(b[2*(l*ld+j):])
//		}
//	}
//
// The last panel is filled up with zeros. k is at most Depth(k).
func PackHalf(panels []float32, b []byte, ld, k, n int, f16 bool) {
	_, _ = panels[PanelsLen(k, n)-1], b[2*((k-1)*ld+n)-1]
	j := 0
	for use512 && n-j >= TileCols {
		dst, src := &panels[j*k], &b[2*j]
		switch four := n-j >= 4*TileCols; {
		case four && f16:
			packF16Rows4(dst, src, 2*ld, k)
		case four:
			packBF16Rows4(dst, src, 2*ld, k)
		case f16:
			packF16Rows1(dst, src, 2*ld, k)
		default:
			packBF16Rows1(dst, src, 2*ld, k)
		}
		if n-j >= 4*TileCols {
			j += 4 * TileCols
		} else {
			j += TileCols
		}
	}
	clear(panels[j*k : PanelsLen(k, n)])
	for ; j < n; j += TileCols {
		for l := range k {
			row := panels[j*k+l*TileCols:][:min(TileCols, n-j)]
			if src := b[2*(l*ld+j):]; f16 {
				DecodeF16(row, src)
			} else {
				DecodeBF16(row, src)
			}
		}
	}
}
