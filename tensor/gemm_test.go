package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/asm"
)

// stored returns a [rows, cols] matrix of dt with random values, row-major, and
// the same in F32.
func stored(r *rand.Rand, dt DType, rows, cols int) (matrix, []float32) {
	dense := make([]float32, rows*cols)
	for i := range dense {
		dense[i] = float32(r.NormFloat64())
	}
	if dt == F32 {
		return matrix{f32: dense, dt: F32, rs: cols, cs: 1}, dense
	}
	raw := make([]byte, dt.Bytes(rows*cols))
	switch dt {
	case BF16:
		asm.EncodeBF16(raw, dense)
	case F16:
		asm.EncodeF16(raw, dense)
	default: // random blocks; the F16 in them, at even offsets, are below 2
		for i := range raw {
			raw[i] = byte(r.Uint32())
			if i%2 != 0 {
				raw[i] &^= 0x40
			}
		}
	}
	dt.Decode(dense, raw)
	return matrix{raw: raw, dt: dt, rs: cols, cs: 1}, dense
}

// operand returns a [rows, cols] operand that is stored as it stands or
// transposed, and its values, row-major as it stands.
func operand(r *rand.Rand, dt DType, rows, cols int, transposed bool) (matrix, []float32) {
	if transposed {
		x, dense := stored(r, dt, cols, rows)
		x.rs, x.cs = 1, rows
		return x, transpose(dense, cols, rows)
	}
	return stored(r, dt, rows, cols)
}

func transpose(x []float32, rows, cols int) []float32 {
	z := make([]float32, len(x))
	for i := range rows {
		for j := range cols {
			z[j*rows+i] = x[i*cols+j]
		}
	}
	return z
}

type gemmCase struct {
	m, n, k    int
	at, bt     bool
	adt, bdt   DType
	alpha      float32
	accumulate bool
}

func (x gemmCase) String() string {
	return fmt.Sprintf("m=%d/n=%d/k=%d/at=%v/bt=%v/%v/%v/alpha=%v/accumulate=%v", x.m, x.n, x.k, x.at, x.bt, x.adt, x.bdt, x.alpha, x.accumulate)
}

func gemmCases() (cases []gemmCase) {
	for _, s := range [][3]int{{1, 1, 1}, {1, 33, 40}, {2, 5, 7}, {3, 16, 64}, {5, 31, 9}, {6, 16, 8}, {7, 17, 33}, {8, 65, 100}, {9, 15, 129}, {13, 48, 385},
		{64, 64, 64}, {97, 8, 70}, {100, 130, 3}, {130, 70, 770}, {33, 2100, 40}, {200, 16, 576}, {1, 300, 17000}, {50, 96, 0},
		{64, 1, 17}, {67, 3, 300}, {129, 7, 15}, {200, 8, 576}, {301, 9, 530}, {1000, 13, 41}, {2050, 16, 70}, {66, 2, 17000}} {
		for mode := range 4 {
			cases = append(cases, gemmCase{s[0], s[1], s[2], mode&1 != 0, mode&2 != 0, F32, F32, 1, false})
		}
		cases = append(cases, gemmCase{s[0], s[1], s[2], false, true, F32, F32, 0.75, true}, gemmCase{s[0], s[1], s[2], true, false, F32, F32, -2, false}, gemmCase{s[0], s[1], s[2], true, false, F32, F32, 0.5, true})
	}
	for dt := range numDTypes {
		block, _ := dt.Block()
		if dt != BF16 && dt != F16 && block == 1 || dt.Quantized() {
			continue
		}
		for _, s := range [][3]int{{1, 96, 64}, {3, 64, 4128}, {8, 128, 64}, {20, 96, 800}, {100, 2144, 32}, {1, 7, 4096 + 512}} {
			n, k := s[1], s[2]
			if block > 32 { // blocks of 256 lie along k if b is transposed, along n if not
				n, k = ceil(n, block)*block, ceil(k, block)*block
			}
			cases = append(cases, gemmCase{s[0], s[1], k, false, true, F32, dt, 1, false}, gemmCase{s[0], s[1], k, false, true, F32, dt, 0.5, true})
			if s[1]%32 == 0 {
				cases = append(cases, gemmCase{s[0], n, s[2] + 7, false, false, F32, dt, 1, false}, gemmCase{s[0], n, s[2] + 7, false, false, F32, dt, 0.5, true})
			}
		}
		m, k := ceil(128, block)*block, ceil(448, block)*block
		cases = append(cases, gemmCase{100, 40, k, false, false, dt, F32, 1, false}, gemmCase{m, 40, 401, true, true, dt, F32, 1, false}, gemmCase{4, 40, k, false, true, dt, F32, 1, false},
			gemmCase{50, 300, k, false, true, dt, dt, 1, false})
	}
	// At random, at and beside the bounds between the ways through a product.
	r := rand.New(rand.NewPCG(77, 5))
	dims := []int{1, 2, 3, 8, 9, 15, 16, 17, 24, 25, 32, 33, 63, 64, 65, 100, 130, 257, 513, 1100, 2049}
	types := []DType{F32, F32, F32, BF16, F16, Q8_0, Q4_0}
	for len(cases) < randomCases {
		at, bt := r.IntN(3) == 0, r.IntN(2) == 0
		x := gemmCase{dims[r.IntN(len(dims))], dims[r.IntN(len(dims))], dims[r.IntN(len(dims))], at, bt, F32, types[r.IntN(len(types))], []float32{1, 1, 0.5}[r.IntN(3)], r.IntN(3) == 0}
		block, _ := x.bdt.Block()
		if bt {
			x.k = ceil(x.k, block) * block
		} else {
			x.n = ceil(x.n, block) * block
		}
		if x.m*x.n*x.k < 2<<20 {
			cases = append(cases, x)
		}
	}
	return cases
}

// randomCases is how many cases there are, with those that are drawn.
const randomCases = 700

func TestGemm(t *testing.T) {
	pools := []*Workers{NewWorkers(1), NewWorkers(2), NewWorkers(5)}
	for _, w := range pools {
		defer w.Close()
	}
	for _, x := range gemmCases() {
		if testing.Short() && x.m*x.n*x.k > 3<<20 {
			continue
		}
		t.Run(x.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(x.m), uint64(x.n*x.k)))
			a, aDense := operand(r, x.adt, x.m, x.k, x.at)
			b, bDense := operand(r, x.bdt, x.k, x.n, x.bt)
			columns := transpose(bDense, x.k, x.n)
			ldc := x.n + 3
			before := make([]float32, x.m*ldc)
			for i := range before {
				before[i] = float32(r.NormFloat64())
			}
			var first []float32
			for _, w := range pools {
				c := slices.Clone(before)
				gemm(w, c, ldc, a, b, x.m, x.n, x.k, x.alpha, x.accumulate)
				if first == nil {
					first = c
					continue
				}
				for i := range c {
					if c[i] != first[i] {
						t.Fatalf("%d workers: element %d is %v, with one worker %v", w.N(), i, c[i], first[i])
					}
				}
			}
			// Roundings of a running sum add up like a random walk.
			tolerance := 0x1p-23 * (1 + math.Sqrt(float64(x.k)))
			for i := range x.m {
				for j := range ldc {
					old := float64(before[i*ldc+j])
					want, scale := old, math.Abs(old)
					if j < x.n {
						var s, abs float64
						column := columns[j*x.k:][:x.k]
						for l, v := range aDense[i*x.k:][:x.k] {
							p := float64(v) * float64(column[l])
							s, abs = s+p, abs+math.Abs(p)
						}
						if !x.accumulate {
							want, scale = 0, 0
						}
						want += float64(x.alpha) * s
						scale += math.Abs(float64(x.alpha)) * abs
					}
					if got := float64(first[i*ldc+j]); !(math.Abs(got-want) <= tolerance*scale) {
						t.Fatalf("c[%d,%d] (ldc %d) = %v, want %v", i, j, ldc, got, want)
					}
				}
			}
		})
	}
}

// Products with stored weights are those with the decoded ones, bit for bit, whether
// panels are shared or packed by those who multiply them.
func TestGemmStored(t *testing.T) {
	w := NewWorkers(2)
	defer w.Close()
	r := rand.New(rand.NewPCG(5, 5))
	for _, dt := range []DType{BF16, F16, Q8_0, Q4_0} {
		for _, s := range [][3]int{{20, 1120, 320}, {600, 96, 64}, {30, 224, 300}, {15, 65, 1}} {
			for _, transposed := range []bool{false, true} {
				block, _ := dt.Block()
				m, n, k := s[0], ceil(s[1], block)*block, ceil(s[2], block)*block
				a, _ := operand(r, F32, m, k, false)
				b, dense := operand(r, dt, k, n, transposed)
				got, want := make([]float32, m*n), make([]float32, m*n)
				gemm(w, got, n, a, b, m, n, k, 1, false)
				gemm(w, want, n, a, matrix{f32: dense, dt: F32, rs: n, cs: 1}, m, n, k, 1, false)
				if !slices.Equal(got, want) {
					t.Errorf("%v %v transposed %v: not the product of the decoded", dt, s, transposed)
				}
			}
		}
	}
}

func TestGemm64(t *testing.T) {
	w := NewWorkers(2)
	defer w.Close()
	r := rand.New(rand.NewPCG(1, 1))
	const m, n, k = 7, 130, 70
	for mode := range 8 {
		ars, acs, brs, bcs := k, 1, n, 1
		if mode&1 != 0 {
			ars, acs = 1, m
		}
		if mode&2 != 0 {
			brs, bcs = 1, k
		}
		accumulate := mode&4 != 0
		a, b, c := make([]float64, m*k), make([]float64, k*n), make([]float64, m*n)
		for _, s := range [][]float64{a, b, c} {
			for i := range s {
				s[i] = r.NormFloat64()
			}
		}
		old := slices.Clone(c)
		gemm64(w, c, n, a, ars, acs, b, brs, bcs, m, n, k, 0.5, accumulate)
		for i := range m {
			for j := range n {
				var want float64
				for l := range k {
					want += 0.5 * a[i*ars+l*acs] * b[l*brs+j*bcs]
				}
				if accumulate {
					want += old[i*n+j]
				}
				if math.Abs(c[i*n+j]-want) > 1e-12 {
					t.Fatalf("mode %d: c[%d,%d] = %v, want %v", mode, i, j, c[i*n+j], want)
				}
			}
		}
	}
}

func TestGemmAllocatesNothing(t *testing.T) {
	w := NewWorkers(2)
	defer w.Close()
	r := rand.New(rand.NewPCG(2, 2))
	for _, x := range []gemmCase{
		{m: 1, n: 256, k: 512, bt: true, adt: F32, bdt: F32}, {m: 1, n: 256, k: 512, bt: true, adt: F32, bdt: Q4_0},
		{m: 128, n: 256, k: 512, bt: true, adt: F32, bdt: BF16}, {m: 128, n: 256, k: 512, adt: F32, bdt: F32},
	} {
		a, _ := operand(r, x.adt, x.m, x.k, x.at)
		b, _ := operand(r, x.bdt, x.k, x.n, x.bt)
		c := make([]float32, x.m*x.n)
		if n := testing.AllocsPerRun(20, func() { gemm(w, c, x.n, a, b, x.m, x.n, x.k, 0.5, false) }); n != 0 {
			t.Errorf("%v: %v allocations a call, want 0", x, n)
		}
	}
}

// A product of NaN or Inf reaches exactly the row and the column that it should:
// the zeros that fill a panel up must not meet it.
func TestGemmKeepsNaNInItsColumn(t *testing.T) {
	w := NewWorkers(1)
	const m, n, k = 10, 19, 12
	r := rand.New(rand.NewPCG(3, 3))
	a, _ := operand(r, F32, m, k, false)
	b, _ := operand(r, F32, k, n, true)
	b.f32[17*k+3] = float32(math.NaN())
	c := make([]float32, m*n)
	gemm(w, c, n, a, b, m, n, k, 1, false)
	for i, v := range c {
		if (v != v) != (i%n == 17) {
			t.Fatalf("c[%d,%d] = %v", i/n, i%n, v)
		}
	}
}

func TestGemmFromSeveralGoroutines(t *testing.T) {
	w := NewWorkers(2)
	defer w.Close()
	r := rand.New(rand.NewPCG(4, 4))
	const m, n, k = 60, 120, 300
	a, _ := operand(r, F32, m, k, false)
	b, _ := operand(r, F32, k, n, true)
	want := make([]float32, m*n)
	gemm(w, want, n, a, b, m, n, k, 1, false)
	done := make(chan error)
	for range 4 {
		go func() {
			for range 50 {
				c := make([]float32, m*n)
				gemm(w, c, n, a, b, m, n, k, 1, false)
				if !slices.Equal(c, want) {
					done <- fmt.Errorf("results differ")
					return
				}
			}
			done <- nil
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Products in BF16 are those of rounded operands, for every type and every number of
// workers.
func TestGemmBF16(t *testing.T) {
	pools := []*Workers{NewWorkers(1), NewWorkers(3)}
	for _, w := range pools {
		w.compute = ComputeBF16
		defer w.Close()
	}
	for _, s := range [][3]int{{25, 65, 65}, {97, 130, 257}, {40, 2100, 70}, {33, 96, 1153}, {64, 16, 300}, {40, 64, 16}, {130, 300, 17}} {
		for mode := range 4 {
			for _, dt := range []DType{F32, BF16, Q8_0} {
				m, n, k := s[0], s[1], s[2]
				if dt == Q8_0 {
					n, k = ceil(n, 32)*32, ceil(k, 32)*32
				}
				r := rand.New(rand.NewPCG(7, uint64(mode)))
				a, aDense := operand(r, F32, m, k, mode&1 != 0)
				b, bDense := operand(r, dt, k, n, mode&2 != 0)
				aDense, bDense = slices.Clone(aDense), slices.Clone(bDense) // not the operands' own
				asm.RoundBF16(aDense, aDense)
				asm.RoundBF16(bDense, bDense)
				columns := transpose(bDense, k, n)
				first := make([]float32, m*n)
				gemm(pools[0], first, n, a, b, m, n, k, 0.5, false)
				second := make([]float32, m*n)
				gemm(pools[1], second, n, a, b, m, n, k, 0.5, false)
				if !slices.Equal(first, second) {
					t.Errorf("%v mode %d %v: results differ between numbers of workers", s, mode, dt)
				}
				for i := range m {
					for j := range n {
						var want, scale float64
						for l := range k {
							p := 0.5 * float64(aDense[i*k+l]) * float64(columns[j*k+l])
							want, scale = want+p, scale+math.Abs(p)
						}
						if got := float64(first[i*n+j]); !(math.Abs(got-want) <= 0x1p-23*(1+math.Sqrt(float64(k)))*scale) {
							t.Fatalf("%v mode %d %v: c[%d,%d] = %v, want %v", s, mode, dt, i, j, got, want)
						}
					}
				}
			}
		}
	}
}
