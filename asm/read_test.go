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
