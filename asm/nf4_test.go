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

// Panels that are decoded straight have the bits of decoded rows that are packed.
func TestPackNF4(t *testing.T) {
	c := testCodebook()
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(17, 18))
		for _, rows := range []int{1, 3, 15, 16, 17, 33, 256} {
			for _, cols := range []int{1, 15, 31, 32, 33, 63, 64, 96, 100, 130, 192, 256} {
				for _, block := range []int{32, 64, 96, 256} {
					ld, lds := cols+cols%2+2*r.IntN(9), (cols-1)/block+1+r.IntN(3)
					codes, scales := guardedBytes(t, ((rows-1)*ld+cols+1)/2), guarded(t, (rows-1)*lds+(cols-1)/block+1, rows%2 == 0)
					for i := range codes {
						codes[i] = byte(r.Uint32())
					}
					normal(r, scales)
					decoded := make([]float32, rows*cols)
					for i := range rows {
						DecodeNF4(decoded[i*cols:][:cols], codes[i*ld/2:], scales[i*lds:], block, c)
					}
					for _, transposed := range []bool{false, true} {
						k, n, rs, cs, pack := rows, cols, cols, 1, PackNF4
						if transposed {
							k, n, rs, cs, pack = cols, rows, 1, cols, PackNF4T
						}
						got, want := guarded(t, PanelsLen(k, n), true), make([]float32, PanelsLen(k, n))
						normal(r, got)
						pack(got, codes, ld, scales, lds, block, k, n, c)
						Pack(want, decoded, rs, cs, k, n)
						for i := range got {
							if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
								t.Fatalf("%d rows of %d, blocks of %d, transposed %v: element %d is %v, want %v", rows, cols, block, transposed, i, got[i], want[i])
							}
						}
					}
				}
			}
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

// BenchmarkPackNF4 packs 64 columns of a piece of a matrix, one after another, or the
// same again and again; the rate is that of the F32 that is written.
func BenchmarkPackNF4(b *testing.B) {
	const n, k, cols = 4096, 256, 64
	c := testCodebook()
	panels, codes, scales := make([]float32, k*cols), make([]byte, n*n/2), make([]float32, n*n/64)
	for i := range codes {
		codes[i] = byte(i * 37)
	}
	for _, transposed := range []bool{false, true} {
		for _, hot := range []bool{false, true} {
			b.Run(fmt.Sprintf("transposed=%v/hot=%v/%s", transposed, hot, Tier()), func(b *testing.B) {
				b.SetBytes(4 * k * cols)
				i := 0
				for b.Loop() {
					l, j := i%(n/k)*k, i/(n/k)%(n/cols)*cols
					if i++; hot {
						l, j = 0, 0
					}
					if transposed {
						PackNF4T(panels, codes[(j*n+l)/2:], n, scales[(j*n+l)/64:], n/64, 64, k, cols, c)
					} else {
						PackNF4(panels, codes[(l*n+j)/2:], n, scales[(l*n+j)/64:], n/64, 64, k, cols, c)
					}
				}
			})
		}
	}
}
