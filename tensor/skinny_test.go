package tensor

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/asm"
)

// A row's product with stored weights is, bit for bit, that with the decoded ones;
// a few rows' products are those of each row alone; a warm one allocates nothing.
func TestSkinnyStored(t *testing.T) {
	const n, k = 40, 512
	r := rand.New(rand.NewPCG(31, 32))
	cpu := NewCPU(2)
	defer cpu.Close()
	w := cpu.workers
	dense := make([]float32, n*k)
	for i := range dense {
		dense[i] = float32(r.NormFloat64())
	}
	for _, dt := range []DType{BF16, F16, Q8_0, Q4_0, Q4_1, Q5_0, Q4_K, Q6_K, IQ4_NL, NF4, FP4} {
		b, values := matrix{}, []float32(nil)
		if dt.Quantized() {
			q, err := Quantize(cpu, dense, Shape{n, k}, QuantOptions{DType: dt, Block: 64, Double: true})
			if err != nil {
				t.Fatal(err)
			}
			defer q.Release()
			b, values = q.matrix(0, k, n, true), make([]float32, n*k)
			b.decode(values, 0, n, 0, k)
		} else {
			b, values = stored(r, dt, n, k)
			b.rs, b.cs = 1, k
		}
		decoded := matrix{f32: values, dt: F32, rs: 1, cs: k}
		for _, m := range []int{1, 3, 8} {
			x, _ := stored(r, F32, m, k)
			got, want, alone := make([]float32, m*n), make([]float32, m*n), make([]float32, n)
			gemm(w, got, n, x, b, m, n, k, 1, false)
			gemm(w, want, n, x, decoded, m, n, k, 1, false)
			for i := range m {
				gemm(w, alone, n, matrix{f32: x.f32[i*k:], dt: F32, rs: k, cs: 1}, b, 1, n, k, 1, false)
				for j, v := range alone {
					if g := got[i*n+j]; g != want[i*n+j] || g != v {
						t.Fatalf("%s, %d rows: [%d,%d] = %v, decoded %v, alone %v", dt, m, i, j, g, want[i*n+j], v)
					}
				}
			}
			if a := testing.AllocsPerRun(10, func() { gemm(w, got, n, x, b, m, n, k, 1, false) }); a > 0 {
				t.Errorf("%s, %d rows: a product allocates %v objects", dt, m, a)
			}
		}
	}
}

// Computing in 14-bit integers changes the products of up to eight rows with
// quantised weights, by little, and nothing else.
func TestSkinnyInt16(t *testing.T) {
	if !asm.HasInt16() {
		t.Skipf("%s has no integer kernels", asm.Tier())
	}
	// Of values of deviation 1, blocks reach 2.9, and rounding a product's two factors to
	// 1/8191 of that moves it by 1.5e-4: sums of k of them by √k times as much, where the
	// largest of sums is 3·√k. Six deviations are allowed.
	const n, k, tolerance = 70, 1024, 6 * 1.5e-4 / 3
	r := rand.New(rand.NewPCG(33, 34))
	exact, cpu := NewWorkers(1), NewCPU(2)
	defer exact.Close()
	defer cpu.Close()
	w := cpu.workers
	w.compute = ComputeInt16
	dense := make([]float32, n*k)
	for i := range dense {
		dense[i] = float32(r.NormFloat64())
	}
	for _, dt := range []DType{F32, BF16, Q8_0, Q4_0, Q4_1, IQ4_NL, NF4, FP4} {
		b := matrix{}
		if dt.Quantized() {
			q, err := Quantize(cpu, dense, Shape{n, k}, QuantOptions{DType: dt, Block: 64, Double: true})
			if err != nil {
				t.Fatal(err)
			}
			defer q.Release()
			b = q.matrix(0, k, n, true)
		} else {
			b, _ = stored(r, dt, n, k)
			b.rs, b.cs = 1, k
		}
		for _, m := range []int{1, 5, 9} {
			x, _ := stored(r, F32, m, k)
			got, want := make([]float32, m*n), make([]float32, m*n)
			gemm(w, got, n, x, b, m, n, k, 1, false)
			gemm(exact, want, n, x, b, m, n, k, 1, false)
			var most, worst float64
			for i, v := range want {
				most, worst = max(most, math.Abs(float64(v))), max(worst, math.Abs(float64(v-got[i])))
			}
			if integers := m <= skinnyRows && dt != F32 && dt != BF16; integers != (worst > 0) || worst > tolerance*most {
				t.Errorf("%s, %d rows: off by %g of the largest", dt, m, worst/most)
			} else if integers {
				t.Logf("%s, %d rows: off by %.2g of the largest", dt, m, worst/most)
			}
			if a := testing.AllocsPerRun(10, func() { gemm(w, got, n, x, b, m, n, k, 1, false) }); a > 0 && m <= skinnyRows {
				t.Errorf("%s, %d rows: a product allocates %v objects", dt, m, a)
			}
		}
	}
}

// Products over one x, which is rounded for all of them where their blocks are alike,
// are what each is alone.
func TestProductsInt16(t *testing.T) {
	const n, k = 24, 256
	r := rand.New(rand.NewPCG(35, 36))
	cpu := NewCPU(2)
	defer cpu.Close()
	cpu.SetCompute(ComputeInt16)
	noise := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	for _, m := range []int{1, 3} {
		xs := []*Tensor{FromF32(cpu, noise(m*k), m, k), FromF32(cpu, noise(m*k), m, k)}
		var ps []Product
		var want [][]float32
		for i, dt := range []DType{Q8_0, Q8_0, NF4, FP4, Q8_0, Q8_0} {
			w, err := Quantize(cpu, noise(n*k), Shape{n, k}, QuantOptions{DType: dt, Block: 64})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Release()
			p := Product{Z: New(cpu, F32, m, n), X: xs[i/5], Y: w, Alpha: 1}
			defer p.Z.Release()
			cpu.matMulTs([]Product{p})
			ps, want = append(ps, p), append(want, p.Z.F32s())
			p.Z.Fill(0)
		}
		for range 2 {
			cpu.matMulTs(ps)
			for i, p := range ps {
				if !slices.Equal(p.Z.F32(), want[i]) {
					t.Errorf("%d rows: product %d differs from what it is alone", m, i)
				}
			}
		}
		xs[0].Release()
		xs[1].Release()
	}
}

// A cutter's tasks are all rows in order, none longer than it may be, and the last ones
// of several matrices are short.
func TestCutter(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 16} {
		for _, c := range []struct{ n, row, most int }{{1, 1, 5}, {576, 324, 2048}, {49152, 612, 2048}, {7, 1 << 20, 2}, {3000, 64, 300}} {
			cut := cutter{2 * c.n * c.row, threads}
			var starts []int
			for range 2 {
				starts = cut.cut(starts[:0], c.n, c.row, c.most)
				if starts[0] != 0 || starts[len(starts)-1] != c.n {
					t.Fatalf("%+v, %d threads: tasks begin at %v", c, threads, starts)
				}
				for i, j := range starts[1:] {
					if rows := j - starts[i]; rows < 1 || rows > c.most {
						t.Errorf("%+v, %d threads: a task of %d rows", c, threads, rows)
					}
				}
			}
			if last := starts[len(starts)-1] - starts[len(starts)-2]; threads > 1 && last*c.row > max(2*streamLeast, 4*c.row) {
				t.Errorf("%+v, %d threads: the last task has %d rows", c, threads, last)
			}
			if cut.bytes != 0 {
				t.Errorf("%+v, %d threads: %d bytes are left", c, threads, cut.bytes)
			}
		}
	}
}
