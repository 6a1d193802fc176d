package asm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func testCodebook() *Codebook {
	var values [16]float32
	for i := range values {
		values[i] = float32(math.Sin(float64(i) + 0.3))
	}
	values[3], values[7] = 0, float32(math.Copysign(0, -1))
	return NewCodebook(values)
}

func TestDecodeNF4(t *testing.T) {
	c := testCodebook()
	kernels := map[string]func([]float32, []byte, []float32, int, *Codebook){"DecodeNF4": DecodeNF4, "StreamNF4": StreamNF4}
	eachTier(t, func(t *testing.T) {
		for name, decode := range kernels {
			r := rand.New(rand.NewPCG(15, 16))
			check := func(n, block int) {
				dst, src := guarded(t, n, true), guardedBytes(t, (n+1)/2)
				absmax := guarded(t, (n+block-1)/block, true)
				for i := range src {
					src[i] = byte(r.Uint32())
				}
				for i := range absmax {
					absmax[i] = float32(r.NormFloat64())
				}
				decode(dst, src, absmax, block, c)
				for i, got := range dst {
					code := src[i/2] & 15
					if i%2 == 0 {
						code = src[i/2] >> 4
					}
					// The product of two F32 numbers is exact in F64.
					want := float32(float64(c.Values[code]) * float64(absmax[i/block]))
					if math.Float32bits(got) != math.Float32bits(want) {
						t.Fatalf("%s, %d elements, blocks of %d: element %d is %v, want %v", name, n, block, i, got, want)
					}
				}
			}
			for n := range 200 {
				for _, block := range []int{32, 64, 96, 4096} {
					check(n, block)
				}
			}
			check(2*chunk+97, 32)
			check(chunk+100, 4096)
			check(3*chunk+32, 2*chunk)
		}
	})
}

// The rate is that of the F32 that is written.
func BenchmarkDecodeNF4(b *testing.B) {
	c := testCodebook()
	for _, n := range []int{4 << 10, 16 << 20} {
		dst, src, absmax := make([]float32, n), make([]byte, n/2), make([]float32, n/64)
		for i := range src {
			src[i] = byte(i * 37)
		}
		bench := func(name string, f func()) {
			b.Run(fmt.Sprintf("%s/%d/%s", name, n, Tier()), func(b *testing.B) {
				b.SetBytes(int64(4 * n))
				for b.Loop() {
					f()
				}
			})
		}
		bench("DecodeNF4", func() { DecodeNF4(dst, src, absmax, 64, c) })
		bench("StreamNF4", func() { StreamNF4(dst, src, absmax, 64, c) })
	}
}
