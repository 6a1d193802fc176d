package asm

import (
	"testing"
	"unsafe"
)

// The reads stay within the slice.
func TestReadStreams(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for n := range 300 {
			for _, atEnd := range []bool{false, true} {
				ReadStreams(guarded(t, n, atEnd))
			}
		}
		ReadStreams(guarded(t, 8*(16<<10)+200, true))
	})
}

// StreamFill sets what it is given and nothing else.
func TestStreamFill(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for n := range 300 {
			for _, atEnd := range []bool{false, true} {
				x := guarded(t, n, atEnd)
				for i := range x {
					x[i] = 1
				}
				StreamFill(x, 2)
				for i, v := range x {
					if v != 2 {
						t.Fatalf("n %d: [%d] = %v", n, i, v)
					}
				}
			}
		}
		x := make([]float32, 300<<10)
		for i := range x {
			x[i] = 1
		}
		from := (64 - int(uintptr(unsafe.Pointer(&x[0]))%64)) % 64 / 4
		StreamFill(x[from:len(x)-5], 2)
		for i, v := range x {
			if in := i >= from && i < len(x)-5; in != (v == 2) {
				t.Fatalf("[%d] = %v", i, v)
			}
		}
	})
}

// Prefetch reads nothing, whatever it is given.
func TestPrefetch(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for n := range 70 {
			Prefetch(guarded(t, n, true))
			Prefetch(make([]byte, n))
		}
	})
}
