package asm

import "encoding/binary"

// The block formats of GGUF that are decoded here hold 32 elements in a block of
// so many bytes.
const (
	blockLen = 32
	sizeQ8_0 = 34
	sizeQ4_0 = 18
	sizeQ4_1 = 20
)

// DecodeQ8_0 decodes GGUF's Q8_0: a block is an F16 scale d and 32 signed bytes
// q. len(dst) is a multiple of 32. Every tier gives the same bits.
//
//	dst[i] = d * q[i]
func DecodeQ8_0(dst []float32, src []byte) {
	src = src[:len(dst)/blockLen*sizeQ8_0]
	if useVec {
		for len(dst) > 0 {
			n := min(len(dst), chunk)
			decodeQ8_0Vec(dst[:n], src)
			dst, src = dst[n:], src[n/blockLen*sizeQ8_0:]
		}
		return
	}
	for ; len(dst) > 0; dst, src = dst[blockLen:], src[sizeQ8_0:] {
		d := f16ToF32(binary.LittleEndian.Uint16(src))
		for j, q := range src[2:sizeQ8_0] {
			dst[j] = d * float32(int8(q))
		}
	}
}

// DecodeQ4_0 decodes GGUF's Q4_0: a block is an F16 scale d and 16 bytes, whose
// low nibbles are q[0] to q[15] and whose high ones are q[16] to q[31].
// len(dst) is a multiple of 32. Every tier gives the same bits.
//
//	dst[i] = d * (q[i] - 8)
func DecodeQ4_0(dst []float32, src []byte) {
	src = src[:len(dst)/blockLen*sizeQ4_0]
	if useVec {
		for len(dst) > 0 {
			n := min(len(dst), chunk)
			decodeQ4_0Vec(dst[:n], src)
			dst, src = dst[n:], src[n/blockLen*sizeQ4_0:]
		}
		return
	}
	for ; len(dst) > 0; dst, src = dst[blockLen:], src[sizeQ4_0:] {
		d := f16ToF32(binary.LittleEndian.Uint16(src))
		for j, q := range src[2:sizeQ4_0] {
			dst[j] = d * float32(int(q&15)-8)
			dst[j+16] = d * float32(int(q>>4)-8)
		}
	}
}

// DecodeQ4_1 decodes GGUF's Q4_1: a block is an F16 scale d, an F16 minimum m
// and 16 bytes of nibbles as in Q4_0. The product is rounded before the sum.
// len(dst) is a multiple of 32. Every tier gives the same bits.
//
//	dst[i] = d*q[i] + m
func DecodeQ4_1(dst []float32, src []byte) {
	src = src[:len(dst)/blockLen*sizeQ4_1]
	if useVec {
		for len(dst) > 0 {
			n := min(len(dst), chunk)
			decodeQ4_1Vec(dst[:n], src)
			dst, src = dst[n:], src[n/blockLen*sizeQ4_1:]
		}
		return
	}
	for ; len(dst) > 0; dst, src = dst[blockLen:], src[sizeQ4_1:] {
		d, m := f16ToF32(binary.LittleEndian.Uint16(src)), f16ToF32(binary.LittleEndian.Uint16(src[2:]))
		for j, q := range src[4:sizeQ4_1] {
			dst[j] = float32(d*float32(q&15)) + m
			dst[j+16] = float32(d*float32(q>>4)) + m
		}
	}
}
