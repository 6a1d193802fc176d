package asm

import "math"

// ByteMap is a table of the values of bytes.
type ByteMap struct {
	Values [256]float32
	planes [4][256]byte // the values' first bytes, second, third, fourth
}

// NewByteMap returns the table of the given values.
func NewByteMap(values *[256]float32) *ByteMap {
	m := &ByteMap{Values: *values}
	for i, v := range values {
		for p := range m.planes {
			m.planes[p][i] = byte(math.Float32bits(v) >> (8 * p))
		}
	}
	return m
}

// DecodeBytes looks codes up in a table, with each operation rounded:
//
//	for i := range dst {
//		dst[i] = float32(m.Values[codes[i]]*scale) + offset
//	}
func DecodeBytes(dst []float32, codes []byte, m *ByteMap, scale, offset float32) {
	codes = codes[:len(dst)]
	i := 0
	if use512 && hasVBMI {
		for end := len(dst) &^ 63; i < end; {
			j := min(i+chunk, end)
			byteMapVBMI(&dst[i], &codes[i], m, scale, offset, j-i)
			i = j
		}
	}
	dst, codes = dst[i:], codes[i:len(dst)]
	for i, code := range codes {
		dst[i] = float32(m.Values[code]*scale) + offset
	}
}
