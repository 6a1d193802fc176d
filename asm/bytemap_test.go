package asm

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestDecodeBytes(t *testing.T) {
	var values [256]float32
	r := rand.New(rand.NewPCG(31, 32))
	for i := range values {
		values[i] = float32(r.NormFloat64())
	}
	values[0], values[127], values[128], values[255] = 0, float32(math.Inf(1)), float32(math.Copysign(0, -1)), -0x1p-140
	m := NewByteMap(&values)
	eachTier(t, func(t *testing.T) {
		check := func(n int, code func(i int) byte) {
			dst, codes := guarded(t, n, n%2 == 0), guardedBytes(t, n)
			for i := range codes {
				codes[i] = code(i)
			}
			scale, offset := float32(r.NormFloat64()), float32(r.NormFloat64())
			DecodeBytes(dst, codes, m, scale, offset)
			for i, got := range dst {
				if want := float32(values[codes[i]]*scale) + offset; math.Float32bits(got) != math.Float32bits(want) {
					t.Fatalf("%d codes: code %d at %d is %v, want %v", n, codes[i], i, got, want)
				}
			}
		}
		for n := range 300 {
			check(n, func(int) byte { return byte(r.Uint32()) })
		}
		check(256, func(i int) byte { return byte(i) })
		check(chunk+200, func(i int) byte { return byte(r.Uint32()) })
	})
}
