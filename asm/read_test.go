package asm

import "testing"

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

// Prefetch reads nothing, whatever it is given.
func TestPrefetch(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for n := range 70 {
			Prefetch(guarded(t, n, true))
			Prefetch(make([]byte, n))
		}
	})
}
