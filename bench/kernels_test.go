package bench

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/machine"
	"github.com/tenon-ml/tenon/tensor"
)

// limitsOf measures the machine's limits for a number of threads, once.
var limitsOf = func() func(threads int) machine.Limits {
	var mu sync.Mutex
	known := map[int]machine.Limits{}
	return func(threads int) machine.Limits {
		mu.Lock()
		defer mu.Unlock()
		l, ok := known[threads]
		if !ok {
			l = machine.Measure(threads, 300*time.Millisecond)
			known[threads] = l
		}
		return l
	}
}()

// BenchmarkKernels measures products, named op/type of the right side/shape/threads, so
// that benchstat groups them, with the share of the limit that binds them: of the
// multiply-adds (%peak), or of the bandwidth where one row meets weights that no
// cache holds (%bw).
//
//	go test ./bench -run '^$' -bench 'Kernels/matmulT/f32/m=512'
func BenchmarkKernels(b *testing.B) {
	var cases []Case
	for n := 64; n <= 4096; n *= 2 {
		cases = append(cases, Case{"matmul", n, n, n})
	}
	for _, m := range []int{1, 2, 4, 8, 16, 64, 128, 512} {
		for _, w := range []struct{ n, k int }{{4096, 4096}, {11008, 4096}, {576, 576}, {192, 576}, {1536, 576}, {576, 1536}} {
			cases = append(cases, Case{"matmulT", m, w.n, w.k}, Case{"packed", m, w.n, w.k})
		}
	}
	cases = append(cases, Case{"matmul", 512, 576, 1536}, Case{"matmulTA", 1536, 576, 512}, Case{"matmulT", 512, 49152, 576}, Case{"matmul", 512, 576, 49152})
	cases = append(cases, Thin()...)
	threads := []int{1}
	if n := runtime.NumCPU(); n > 1 {
		threads = append(threads, min(n, 2))
	}
	for _, t := range threads {
		dev := tensor.NewCPU(t)
		defer dev.Close()
		for _, c := range cases {
			b.Run(c.name(tensor.F32, dev), func(b *testing.B) {
				p := NewProduct(dev, c, tensor.F32)
				defer p.Release()
				for b.Loop() {
					p.Run()
				}
				rate := p.FLOP() * float64(b.N) / b.Elapsed().Seconds()
				b.ReportMetric(rate/1e9, "GFLOP/s")
				b.ReportMetric(100*rate/limitsOf(t).FMA, "%peak")
			})
		}
		for _, row := range RowTypes() {
			b.Run("rows/"+(Case{"matmulT", 1, 4096, 4096}).name(row, dev), func(b *testing.B) {
				p := NewRotated(dev, row, 4096, 4096, 192<<20)
				defer p.Release()
				for b.Loop() {
					p.Run()
				}
				rate := p.Bytes() * float64(b.N) / b.Elapsed().Seconds()
				b.ReportMetric(rate/1e9, "GB/s")
				b.ReportMetric(100*rate/limitsOf(t).Read, "%bw")
			})
		}
	}
}

// A product is x·y whatever form it has.
func TestProduct(t *testing.T) {
	dev := tensor.NewCPU(1)
	defer dev.Close()
	for _, op := range []string{"matmul", "matmulT", "matmulTA", "packed"} {
		c := Case{op, 3, 16, 7}
		p := NewProduct(dev, c, tensor.F32)
		p.Run()
		x, got := p.x.F32(), p.dst.F32()
		y := make([]float32, p.y.Elems())
		p.y.CopyTo(y)
		for i := range c.M {
			for j := range c.N {
				var want float64
				for l := range c.K {
					a, b := x[i*c.K+l], y[(l*c.N+j)%len(y)]
					if op == "matmulTA" {
						a = x[l*c.M+i]
					}
					if p.transposed() {
						b = y[j*c.K+l]
					}
					want += float64(a) * float64(b)
				}
				if d := float64(got[i*c.N+j]) - want; d > 1e-5 || d < -1e-5 {
					t.Errorf("%s: element %d, %d is %g, want %g", op, i, j, got[i*c.N+j], want)
				}
			}
		}
		if want := op + "/f32/m=3/n=16/k=7/threads=1"; p.Name() != want || p.FLOP() != 672 {
			t.Errorf("%s, %g FLOP", p.Name(), p.FLOP())
		}
		if op == "packed" && p.y.DType() != tensor.Panels {
			t.Errorf("packed is %v", p.y.DType())
		}
		p.Release()
	}
}

// The rows of every type can be multiplied, and the weights are finite.
func TestRotated(t *testing.T) {
	dev := tensor.NewCPU(1)
	defer dev.Close()
	for _, row := range RowTypes() {
		p := NewRotated(dev, row, 4, 256, 3*stored(weights(dev, row, 4, 256)()))
		if len(p.w) != 3 {
			t.Errorf("%v: %d matrices, want 3", row, len(p.w))
		}
		for range 4 {
			p.Run()
			if !tensor.Finite(p.dst.F32()) {
				t.Errorf("%v: %v", row, p.dst.F32())
			}
		}
		if e := p.Error(dev); e != 0 {
			t.Errorf("%v: an error of %g against itself", row, e)
		}
		if p.next != 2 {
			t.Errorf("%v: the next one is %d", row, p.next)
		}
		p.Release()
	}
}
