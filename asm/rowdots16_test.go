package asm

import (
	"math"
	"math/rand/v2"
	"testing"
)

var formats16 = []struct {
	name   string
	format rowFormat
	bytes  int
	scales []int
	exact  func(dst []float32, ldd int, w []byte, ld, rows int, x []float32, ldx, m, k int)
	run    func(dst []float32, w []byte, ld int, x *Vector16)
}{
	{"Q8_0", rowsQ8_0, 34, []int{1}, RowDotsQ8_0, RowDotsQ8_0Int16},
	{"Q4_0", rowsQ4_0, 18, []int{1}, RowDotsQ4_0, RowDotsQ4_0Int16},
	{"Q4_1", rowsQ4_1, 20, []int{1, 3}, RowDotsQ4_1, RowDotsQ4_1Int16},
	{"IQ4_NL", rowsIQ4_NL, 18, []int{1}, RowDotsIQ4_NL, RowDotsIQ4_NLInt16},
}

// Integer rows against their definition, up to the order of the sums, and against the
// exact rows, which the rounding of x alone is between.
func TestRowDots16(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(23, 24))
		for _, f := range formats16 {
			worst := 0.0
			for _, k := range []int{0, 32, 96, 576, 4096} {
				for _, rows := range []int{0, 1, 3, 40} {
					ld := k + 32*r.IntN(2)
					w := guardedBytes(t, max(0, (rows-1)*ld+min(rows, 1)*k)/32*f.bytes)
					randomBlocks(r, w, f.name, f.bytes, f.scales)
					x, dst, plain, exact := make([]float32, k), guarded(t, rows, true), make([]float32, rows), make([]float32, rows)
					normal(r, x)
					var v Vector16
					v.Round(x, 32)
					q := guardedBytes(t, 2*k)
					v.Q = append(int16s(q)[:0], v.Q...)
					f.run(dst, w, ld, &v)
					plain16(f.format, plain, w, ld, &v)
					f.exact(exact, rows, w, ld, rows, x, k, 1, k)
					var most float64
					for _, e := range exact {
						most = max(most, math.Abs(float64(e)))
					}
					for i, got := range dst {
						if math.Abs(float64(got-plain[i])) > 2e-6*most+1e-6 {
							t.Fatalf("%s: k %d rows %d: [%d] = %v, plain %v", f.name, k, rows, i, got, plain[i])
						}
						if rows == 40 && k == 4096 {
							worst = max(worst, math.Abs(float64(got-exact[i]))/most)
						}
					}
				}
			}
			t.Logf("%s: off the exact rows by %.2g of the largest result", f.name, worst)
			if !(worst > 1e-7 && worst < 1.5e-4) {
				t.Errorf("%s: off the exact rows by %g of the largest result", f.name, worst)
			}
		}
	})
}

func TestRowDotsNF4Int16(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		if !HasRowDotsNF4Int16(64, 64) {
			t.Skipf("%s multiplies exactly", Tier())
		}
		r := rand.New(rand.NewPCG(25, 26))
		var values [16]float32
		for i := range values {
			values[i] = 2*r.Float32() - 1
		}
		book, worst := NewCodebook(values), 0.0
		for _, k := range []int{64, 192, 576, 4096} {
			for _, block := range []int{64, 256, 4096} {
				const all, row, rows = 43, 3, 40
				codes, absmax := guardedBytes(t, all*k/2), make([]float32, (all*k+block-1)/block)
				for i := range codes {
					codes[i] = byte(r.Uint32())
				}
				for i := range absmax {
					absmax[i] = 0.5 + r.Float32()
				}
				dense := make([]float32, all*k)
				DecodeNF4(dense, codes, absmax, block, book)
				x, dst, exact := make([]float32, k), guarded(t, rows, true), make([]float32, rows)
				normal(r, x)
				var v Vector16
				v.Round(x, 64)
				rounded := append([]int16(nil), v.Q...)
				v.SplitNF4()
				RowDotsNF4Int16(dst, codes, absmax, block, book, row*k, &v)
				RowDots(exact, dense[row*k:], k, x)
				var most float64
				for _, e := range exact {
					most = max(most, math.Abs(float64(e)))
				}
				table, unit := book.round16()
				for i, got := range dst {
					var want float64 // as defined
					for l, q := range rounded {
						e := (row+i)*k + l
						want += float64(q) * float64(v.Scale[l/64]) * float64(table.words[codes[e/2]>>(4-e%2*4)&15]) * float64(unit) * float64(absmax[e/block])
					}
					if math.Abs(float64(got)-want) > 2e-6*most {
						t.Fatalf("k %d block %d: [%d] = %v, want %v", k, block, i, got, want)
					}
					if k == 4096 {
						worst = max(worst, math.Abs(float64(got-exact[i]))/most)
					}
				}
			}
		}
		t.Logf("off the exact rows by %.2g of the largest result", worst)
		if !(worst > 1e-7 && worst < 1.5e-4) {
			t.Errorf("off the exact rows by %g of the largest result", worst)
		}
	})
}

// Rounding keeps within half a step; what is not finite stays so.
func TestVector16Round(t *testing.T) {
	r := rand.New(rand.NewPCG(27, 28))
	x := make([]float32, 256)
	normal(r, x)
	clear(x[64:128])
	x[130] = float32(math.Inf(1))
	x[200] = float32(math.NaN())
	var v Vector16
	v.Round(x, 64)
	for l, q := range v.Q[:128] {
		if s := float64(v.Scale[l/64]); math.Abs(float64(q)*s-float64(x[l])) > 0.5001*s || q > most16 || q < -most16 {
			t.Errorf("%v is %d times %v", x[l], q, s)
		}
	}
	if s := v.Scale[2]; !math.IsInf(float64(s), 1) {
		t.Errorf("the scale of a block with Inf is %v", s)
	}
	if s := v.Scale[3]; s == s {
		t.Errorf("the scale of a block with NaN is %v", s)
	}
}
