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
	sum := func(x, y float32) float32 {
		return round(new(big.Float).Add(big.NewFloat(float64(x)), big.NewFloat(float64(y))))
	}
	product := func(d float32, q int) float32 {
		return round(new(big.Float).Mul(big.NewFloat(float64(d)), big.NewFloat(float64(q))))
	}
	f16 := func(b []byte) float32 {
		var v [1]float32
		DecodeF16(v[:], b[:2])
		return v[0]
	}
	formats := []struct {
		name         string
		length, size int
		scales       []int // the upper bytes of F16, which are kept finite
		decode       func([]float32, []byte)
		want         func(block []byte, i int) float32
	}{
		{"Q8_0", 32, 34, []int{1}, DecodeQ8_0, func(b []byte, i int) float32 { return product(f16(b), int(int8(b[2+i]))) }},
		{"Q4_0", 32, 18, []int{1}, DecodeQ4_0, func(b []byte, i int) float32 {
			return product(f16(b), int(b[2+i%16]>>(i/16*4)&15)-8)
		}},
		{"Q4_1", 32, 20, []int{1, 3}, DecodeQ4_1, func(b []byte, i int) float32 {
			p := product(f16(b), int(b[4+i%16]>>(i/16*4)&15))
			return sum(p, f16(b[2:]))
		}},
		{"Q4_K", 256, 144, []int{1, 3}, DecodeQ4_K, func(b []byte, i int) float32 {
			g, s := i/32, b[4:16]
			scale, minimum := int(s[g%4]&63), int(s[g%4+4]&63)
			if g >= 4 {
				scale, minimum = int(s[g+4]&15)+int(s[g-4]>>6)*16, int(s[g+4]>>4)+int(s[g]>>6)*16
			}
			nibble := int(b[16+g/2*32+i%32] >> (g % 2 * 4) & 15)
			return sum(product(product(f16(b), scale), nibble), -product(f16(b[2:]), minimum))
		}},
		{"Q6_K", 256, 210, []int{209}, DecodeQ6_K, func(b []byte, i int) float32 {
			half, r := i/128, i%128
			q := int(b[64*half+r%64]>>(r/64*4)&15) + int(b[128+32*half+r%32]>>(r/32*2)&3)*16
			return product(product(f16(b[208:]), int(int8(b[192+i/16]))), q-32)
		}},
	}
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(15, 16))
		for _, f := range formats {
			for blocks := range 12 {
				dst, src := guarded(t, f.length*blocks, true), guardedBytes(t, f.size*blocks)
				for i := range src {
					src[i] = byte(r.Uint32())
				}
				for b := range blocks {
					for _, at := range f.scales {
						src[b*f.size+at] &^= 0x40
					}
				}
				f.decode(dst, src)
				for i, got := range dst {
					want := f.want(src[i/f.length*f.size:][:f.size], i%f.length)
					if math.Float32bits(got) != math.Float32bits(want) && !(got == 0 && want == 0) {
						t.Fatalf("%s, block %d, element %d: got %v, want %v", f.name, i/f.length, i%f.length, got, want)
					}
				}
			}
			n := 2*chunk + f.length
			long, src := make([]float32, n), make([]byte, n/f.length*f.size)
			for i := range src {
				src[i] = byte(i % 61)
			}
			f.decode(long, src)
			last := make([]float32, f.length)
			f.decode(last, src[len(src)-f.size:])
			for i := range last {
				if long[2*chunk+i] != last[i] {
					t.Fatalf("%s: element %d of the last block is %v, want %v", f.name, i, long[2*chunk+i], last[i])
				}
			}
		}
	})
}
