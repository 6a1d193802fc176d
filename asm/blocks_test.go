package asm

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// Decoding against exact arithmetic, rounded to F32 where the format says.
func TestDecodeBlocks(t *testing.T) {
	round := func(x *big.Float) float32 { v, _ := x.Float32(); return v }
	product := func(d float32, q int) float32 {
		return round(new(big.Float).Mul(big.NewFloat(float64(d)), big.NewFloat(float64(q))))
	}
	formats := []struct {
		name   string
		size   int
		decode func([]float32, []byte)
		want   func(d, m float32, block []byte, i int) float32
	}{
		{"Q8_0", 34, DecodeQ8_0, func(d, _ float32, b []byte, i int) float32 { return product(d, int(int8(b[2+i]))) }},
		{"Q4_0", 18, DecodeQ4_0, func(d, _ float32, b []byte, i int) float32 {
			return product(d, int(b[2+i%16]>>(i/16*4)&15)-8)
		}},
		{"Q4_1", 20, DecodeQ4_1, func(d, m float32, b []byte, i int) float32 {
			p := product(d, int(b[4+i%16]>>(i/16*4)&15))
			return round(new(big.Float).Add(big.NewFloat(float64(p)), big.NewFloat(float64(m))))
		}},
	}
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(15, 16))
		for _, f := range formats {
			for blocks := range 20 {
				dst, src := guarded(t, 32*blocks, true), guardedBytes(t, f.size*blocks)
				for i := range src {
					src[i] = byte(r.Uint32())
				}
				for b := range blocks { // finite scales, denormal ones included
					src[b*f.size+1] &^= 0x40
					if f.name == "Q4_1" {
						src[b*f.size+3] &^= 0x40
					}
				}
				f.decode(dst, src)
				for i, got := range dst {
					block := src[i/32*f.size:][:f.size]
					var dm [2]float32
					DecodeF16(dm[:], block)
					want := f.want(dm[0], dm[1], block, i%32)
					if math.Float32bits(got) != math.Float32bits(want) && !(got == 0 && want == 0) {
						t.Fatalf("%s, block %d, element %d: got %v, want %v", f.name, i/32, i%32, got, want)
					}
				}
			}
			long, src := make([]float32, 2*chunk+32), make([]byte, (2*chunk+32)/32*f.size)
			for i := range src {
				src[i] = byte(i % 61)
			}
			f.decode(long, src)
			last := make([]float32, 32)
			f.decode(last, src[len(src)-f.size:])
			for i := range last {
				if long[2*chunk+i] != last[i] {
					t.Fatalf("%s: element %d of the last block is %v, want %v", f.name, i, long[2*chunk+i], last[i])
				}
			}
		}
	})
}
