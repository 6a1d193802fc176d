//go:build !purego

package asm

// byteMapVBMI is DecodeBytes for a multiple of 64 codes, at least 64.
//
//go:noescape
func byteMapVBMI(dst *float32, codes *byte, m *ByteMap, scale, offset float32, n int)
