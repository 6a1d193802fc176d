package asm

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestRowDots(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(9, 10))
		for step := range 107 {
			k := step
			if step >= 100 { // several pieces
				k = 509 * (step - 99)
			}
			for _, rows := range []int{0, 1, 3, 4, 9} {
				for m := 1; m <= 8; m++ {
					if k > 100 && rows*m > 24 {
						continue
					}
					ld := k + r.IntN(3)
					w, x := guarded(t, max(0, rows-1)*ld+k, rows%2 == 0), guarded(t, m*k, true)
					normal(r, w)
					normal(r, x)
					dst := guarded(t, m*rows, true)
					if m == 1 {
						RowDots(dst, w, ld, x)
					} else {
						RowDotsMulti(dst, rows, w, ld, rows, x, k, m, k)
					}
					for j := range m {
						for i := range rows {
							var want, scale float64
							for l := range k {
								p := float64(w[i*ld+l]) * float64(x[j*k+l])
								want, scale = want+p, scale+math.Abs(p)
							}
							if got := dst[j*rows+i]; math.Abs(float64(got)-want) > 8*ulp(scale) {
								t.Fatalf("k %d rows %d m %d: [%d,%d] got %v, want %v", k, rows, m, j, i, got, want)
							}
						}
					}
				}
			}
		}
	})
}

// storedFormats are the types of rows that are multiplied where they lie.
var storedFormats = []struct {
	name         string
	block, bytes int
	scales       []int // the upper bytes of the F16 in a block, which are kept small
	decode       func([]float32, []byte)
	run          func(dst []float32, ldd int, w []byte, ld, rows int, x []float32, ldx, m, k int)
}{
	{"BF16", 1, 2, nil, DecodeBF16, RowDotsBF16},
	{"F16", 1, 2, []int{1}, DecodeF16, RowDotsF16},
	{"Q8_0", 32, 34, []int{1}, DecodeQ8_0, RowDotsQ8_0},
	{"Q4_0", 32, 18, []int{1}, DecodeQ4_0, RowDotsQ4_0},
	{"Q4_1", 32, 20, []int{1, 3}, DecodeQ4_1, RowDotsQ4_1},
	{"IQ4_NL", 32, 18, []int{1}, DecodeIQ4_NL, RowDotsIQ4_NL},
	{"Q4_K", 256, 144, []int{1, 3}, DecodeQ4_K, RowDotsQ4_K},
	{"Q6_K", 256, 210, []int{209}, DecodeQ6_K, RowDotsQ6_K},
}

// randomBlocks fills w with blocks of format f, whose values are at most about 1.
func randomBlocks(r *rand.Rand, w []byte, name string, size int, scales []int) {
	for i := range w {
		w[i] = byte(r.Uint32())
	}
	for i := 0; i < len(w); i += size {
		if name == "BF16" {
			w[i+1] = w[i+1]&0x80 | 0x3f
		}
		for _, at := range scales {
			w[i+at] = w[i+at]&0x80 | 0x2c - 0x10*byte(len(scales)/2)
		}
	}
}

// Stored rows give what their decoded values give: bit for bit from the length on
// where F32 rows are summed in slots, and close to the exact sum below.
func TestRowDotsStored(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(17, 18))
		for _, f := range storedFormats {
			step := max(f.block, 13)
			for k := 0; k < 2600; k += step * (1 + k/(4*step)) {
				for _, rows := range []int{0, 1, 2, 5, 19} {
					for _, m := range []int{1, 2, 3, 5, 8} {
						if k > 300 && (m+rows)%3 != 0 {
							continue
						}
						ld := k + f.block*r.IntN(2)
						w := guardedBytes(t, max(0, (rows-1)*ld+min(rows, 1)*k)/f.block*f.bytes)
						randomBlocks(r, w, f.name, f.bytes, f.scales)
						x, dst := guarded(t, m*k, true), guarded(t, m*rows, true)
						normal(r, x)
						f.run(dst, rows, w, ld, rows, x, k, m, k)
						dense := make([]float32, rows*k)
						for i := range rows {
							f.decode(dense[i*k:][:k], w[i*ld/f.block*f.bytes:])
						}
						want := make([]float32, m*rows)
						RowDotsMulti(want, rows, dense, k, rows, x, k, m, k)
						for i, got := range dst {
							tolerance := 0.0
							if k < shortRow {
								for l, v := range dense[i%rows*k:][:k] {
									tolerance += 2e-6 * math.Abs(float64(v)*float64(x[i/rows*k+l]))
								}
							}
							if !(math.Abs(float64(got)-float64(want[i])) <= tolerance) {
								t.Fatalf("%s: k %d rows %d m %d: [%d] = %v, decoded %v", f.name, k, rows, m, i, got, want[i])
							}
						}
					}
				}
			}
		}
	})
}

func TestRowDotsNF4(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		if !HasRowDotsNF4(1, 64, 64) {
			t.Skipf("%s decodes", Tier())
		}
		r := rand.New(rand.NewPCG(19, 20))
		var values [16]float32
		normal(r, values[:])
		book := NewCodebook(values)
		for _, k := range []int{64, 96, 160, 1024, 4128} {
			for _, block := range []int{32, 64, 256, 4096} {
				for _, m := range []int{1, 2, 3, 5, 8} {
					if !HasRowDotsNF4(m, k, block) {
						continue
					}
					const all, row, rows = 23, 3, 19
					codes, absmax := guardedBytes(t, all*k/2), make([]float32, (all*k+block-1)/block)
					for i := range codes {
						codes[i] = byte(r.Uint32())
					}
					normal(r, absmax)
					dense := make([]float32, all*k)
					DecodeNF4(dense, codes, absmax, block, book)
					x, split, dst, want := make([]float32, m*k), guarded(t, m*k, true), guarded(t, m*rows, true), make([]float32, m*rows)
					normal(r, x)
					SplitNF4(split, x)
					RowDotsNF4(dst, rows, codes, absmax, block, book, row*k, rows, split, k, m, k)
					RowDotsMulti(want, rows, dense[row*k:], k, rows, x, k, m, k)
					for i, got := range dst {
						if got != want[i] {
							t.Fatalf("k %d block %d m %d: [%d] = %v, decoded %v", k, block, m, i, got, want[i])
						}
					}
				}
			}
		}
	})
}

// How an element is summed depends on neither the number of rows nor of vectors.
func TestRowDotsAlone(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 22))
		for _, k := range []int{40, 100, 1000, 5000} {
			const rows, m = 7, 8
			w, x := make([]float32, rows*k), make([]float32, m*k)
			normal(r, w)
			normal(r, x)
			want, alone := make([]float32, m*rows), make([]float32, 1)
			RowDotsMulti(want, rows, w, k, rows, x, k, m, k)
			for i := range rows {
				for j := range m {
					RowDots(alone, w[i*k:][:k], k, x[j*k:][:k])
					if alone[0] != want[j*rows+i] {
						t.Fatalf("k %d: row %d, vector %d: %v alone, %v among others", k, i, j, alone[0], want[j*rows+i])
					}
				}
			}
		}
	})
}

// A product allocates nothing.
func TestRowDotsAllocates(t *testing.T) {
	x, w, dst := make([]float32, 8*512), make([]byte, 8*512*4), make([]float32, 64)
	for _, f := range storedFormats {
		for _, m := range []int{1, 3} {
			if n := testing.AllocsPerRun(10, func() { f.run(dst, 8, w, 512, 8, x, 512, m, 512) }); n > 0 {
				t.Errorf("%s, %d vectors: %v allocations", f.name, m, n)
			}
		}
	}
}
