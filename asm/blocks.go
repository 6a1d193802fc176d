package asm

import "encoding/binary"

// The block formats of GGUF that are decoded here hold 32 elements in a block of
// so many bytes.
const (
	blockLen   = 32
	sizeQ8_0   = 34
	sizeQ4_0   = 18
	sizeQ4_1   = 20
	sizeIQ4_NL = 18
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

// iq4NL has the 16 values of a nibble in IQ4_NL: denser around zero, as weights are.
var iq4NL = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// DecodeIQ4_NL decodes GGUF's IQ4_NL: a block is an F16 scale d and 16 bytes of nibbles
// as in Q4_0. len(dst) is a multiple of 32.
//
//	dst[i] = d * iq4NL[q[i]]
func DecodeIQ4_NL(dst []float32, src []byte) {
	src = src[:len(dst)/blockLen*sizeIQ4_NL]
	for ; len(dst) > 0; dst, src = dst[blockLen:], src[sizeIQ4_NL:] {
		x, d := (*[blockLen]float32)(dst), f16ToF32(binary.LittleEndian.Uint16(src))
		for j, q := range src[2:sizeIQ4_NL] {
			x[j] = d * iq4NL[q&15]
			x[j+16] = d * iq4NL[q>>4]
		}
	}
}

// The formats of GGUF that are decoded here in blocks of 256 elements.
const (
	superLen = 256
	sizeQ4_K = 144
	sizeQ6_K = 210
)

// DecodeQ4_K decodes GGUF's Q4_K: a block is an F16 d, an F16 dmin, 12 bytes b
// that hold eight scales s and eight minima m of 6 bits each, and 128 bytes of
// nibbles, 32 bytes for every 64 elements, low ones first:
//
//	s[g] = b[g] mod 64, m[g] = b[g+4] mod 64                                      g < 4
//	s[g] = b[g+4] mod 16 + 16·(b[g-4] / 64), m[g] = b[g+4]/16 + 16·(b[g] / 64)    4 <= g < 8
//	dst[i] = (d * s[i/32]) * nibble(i) - dmin * m[i/32]
//
// Every operation is rounded, so every tier gives the same bits. len(dst) is a
// multiple of 256.
func DecodeQ4_K(dst []float32, src []byte) {
	src = src[:len(dst)/superLen*sizeQ4_K]
	for ; len(dst) > 0; dst, src = dst[superLen:], src[sizeQ4_K:] {
		block, b := (*[sizeQ4_K]byte)(src), (*[12]byte)(src[4:])
		d, dmin := f16ToF32(binary.LittleEndian.Uint16(block[:])), f16ToF32(binary.LittleEndian.Uint16(block[2:]))
		var scale, minimum [8]float32
		for g := range 4 {
			scale[g] = d * float32(b[g]&63)
			minimum[g] = float32(dmin * float32(b[g+4]&63))
			scale[g+4] = d * float32(b[g+8]&15|b[g]>>6<<4)
			minimum[g+4] = float32(dmin * float32(b[g+8]>>4|b[g+4]>>6<<4))
		}
		x := (*[superLen]float32)(dst)
		if useVec {
			nibblesVec(&x[0], &block[16], &scale, &minimum)
			continue
		}
		for g := 0; g < 8; g += 2 {
			for j, q := range block[16+16*g:][:32] {
				x[32*g+j] = float32(scale[g]*float32(q&15)) - minimum[g]
				x[32*g+32+j] = float32(scale[g+1]*float32(q>>4)) - minimum[g+1]
			}
		}
	}
}

// DecodeQ6_K decodes GGUF's Q6_K: a block is 128 bytes l, 64 bytes h, 16 signed
// bytes s and an F16 d. Half a block, 128 elements, has 64 bytes of l and 32 of
// h; of its element i, the four low bits are a nibble of l[i mod 64], low ones
// first, the two high ones are at 2·(i/32) of h[i mod 32]:
//
//	dst[i] = (d * s[i/16]) * (l(i) + 16·h(i) - 32)
//
// Every operation is rounded, so every tier gives the same bits. len(dst) is a
// multiple of 256.
func DecodeQ6_K(dst []float32, src []byte) {
	src = src[:len(dst)/superLen*sizeQ6_K]
	for ; len(dst) > 0; dst, src = dst[superLen:], src[sizeQ6_K:] {
		block := (*[sizeQ6_K]byte)(src)
		d := f16ToF32(binary.LittleEndian.Uint16(block[208:]))
		var scale [16]float32
		for g, s := range block[192:208] {
			scale[g] = d * float32(int8(s))
		}
		x := (*[superLen]float32)(dst)
		if useVec {
			sixBitsVec(&x[0], &block[0], &block[128], &scale)
			continue
		}
		for i := range x {
			half, r := i/128, i%128
			l, h := block[64*half+r%64]>>(r/64*4)&15, block[128+32*half+r%32]>>(r/32*2)&3
			x[i] = scale[i/16] * float32(int(l|h<<4)-32)
		}
	}
}
