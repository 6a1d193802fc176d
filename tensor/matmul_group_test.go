package tensor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Products of a group are those of each alone, bit for bit, whatever the arithmetic and
// the number of workers.
func TestGroup(t *testing.T) {
	for _, compute := range []Compute{ComputeF32, ComputeBF16} {
		for _, s := range []struct{ m, k, rank int }{{20, 64, 16}, {40, 576, 16}, {130, 1024, 48}, {75, 96, 8}, {600, 64, 16}} {
			for _, dt := range []DType{F32, BF16, Q4_0, Q4_K} {
				if block, _ := dt.Block(); s.k%block != 0 {
					continue
				}
				t.Run(fmt.Sprintf("%v/m=%d/k=%d/r=%d/%v", compute, s.m, s.k, s.rank, dt), func(t *testing.T) {
					r := rand.New(rand.NewPCG(8, 8))
					a, _ := operand(r, F32, s.m, s.k, false)
					h, _ := operand(r, F32, s.m, s.rank, false)
					type term struct{ b, b2 matrix }
					var terms []term
					widths := []int{300, s.rank, 64}
					for _, n := range widths {
						b, _ := operand(r, dt, s.k, n, true)
						b2, _ := operand(r, F32, s.rank, n, true)
						terms = append(terms, term{b, b2})
					}
					alone := NewCPU(1)
					defer alone.Close()
					alone.SetCompute(compute)
					together := NewCPU(3)
					defer together.Close()
					together.SetCompute(compute)
					var want, got [][]float32
					var products []groupTerm
					for i, n := range widths {
						c := make([]float32, s.m*n)
						for j := range c {
							c[j] = float32(r.NormFloat64())
						}
						want, got = append(want, c), append(got, slices.Clone(c))
						p := groupTerm{c: got[i], ldc: n, b: terms[i].b, n: n, alpha: 0.5, accumulate: i == 0}
						gemm(alone.workers, c, n, a, terms[i].b, s.m, n, s.k, 0.5, i == 0)
						if i != 1 {
							p.a2, p.b2, p.k2, p.alpha2 = h, terms[i].b2, s.rank, 2
							gemm(alone.workers, c, n, h, terms[i].b2, s.m, n, s.rank, 2, true)
						}
						products = append(products, p)
					}
					p := together.group(a, s.m, s.k)
					p.multiply(products...)
					p.done()
					for i := range widths {
						if !slices.Equal(got[i], want[i]) {
							t.Errorf("product %d differs", i)
						}
					}
				})
			}
		}
	}
}
