package asm

import (
	"testing"
	"unsafe"
)

// guarded returns n floats between two unmapped pages, against the upper one
// (atEnd: reading or writing behind the slice crashes, and the start is
// unaligned) or the lower one (the same before the slice).
func guarded(t testing.TB, n int, atEnd bool) []float32 {
	t.Helper()
	b := guardedPages(t, 4*n, atEnd)
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// guardedBytes is the same for bytes, against the upper page.
func guardedBytes(t testing.TB, n int) []byte {
	t.Helper()
	return guardedPages(t, n, true)
}

// int16s returns b as 16-bit integers.
func int16s(b []byte) []int16 {
	return unsafe.Slice((*int16)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/2)
}
