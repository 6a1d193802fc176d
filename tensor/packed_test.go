package tensor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// A packed matrix gives the bits of the matrix as it was, wherever a stored type
// can be.
func TestPack(t *testing.T) {
	dev := NewCPU(2)
	defer dev.Close()
	r := rand.New(rand.NewPCG(6, 6))
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	arena := NewArena(dev)
	defer arena.Close()
	for _, s := range [][2]int{{16, 2}, {48, 40}, {64, 300}, {2112, 70}} {
		n, k := s[0], s[1]
		t.Run(fmt.Sprintf("n=%d/k=%d", n, k), func(t *testing.T) {
			data := random(n * k)
			plain := FromF32(dev, data, n, k)
			whole := FromF32(dev, data, n, k)
			w := whole.Pack()
			if w.DType() != Panels {
				t.Fatal("not packed")
			}
			clone := w.Clone()
			for name, got := range map[string][]float32{"F32s": w.F32s(), "Clone": clone.F32s(), "To": w.To(F32).F32s(), "Slice": w.Slice(n-16, n).F32s()} {
				if want := data[len(data)-len(got):]; !slices.Equal(got, want) {
					t.Errorf("%s changes values", name)
				}
			}
			ids := []int32{int32(n) - 1, 0, 7, 7}
			if got, want := w.Gather(arena, ids).F32s(), plain.Gather(arena, ids).F32s(); !slices.Equal(got, want) {
				t.Error("Gather differs")
			}
			for _, m := range []int{1, 2, 9, 15, 33, 130} {
				x, dy := FromF32(dev, random(m*k), m, k), FromF32(dev, random(m*n), m, n)
				if m > skinnyRows { // fewer rows are summed in another way
					if got, want := x.MatMulT(w).F32s(), x.MatMulT(plain).F32s(); !slices.Equal(got, want) {
						t.Errorf("x·Wᵀ with %d rows differs", m)
					}
				}
				got, want := x.MatMulT(w).F32s(), x.MatMulT(plain).F32s()
				for i := range got {
					if d := got[i] - want[i]; d > 1e-4 || d < -1e-4 {
						t.Fatalf("x·Wᵀ with %d rows: %v, want %v", m, got[i], want[i])
					}
				}
				if got, want := dy.MatMul(w).F32s(), dy.MatMul(plain).F32s(); !slices.Equal(got, want) {
					t.Errorf("dy·W with %d rows differs", m)
				}
				part := w.Slice(16*(n/32), n)
				if got, want := x.MatMulT(part).F32s(), x.MatMulT(w).F32s(); !slices.Equal(got[:n-16*(n/32)], want[16*(n/32):n]) {
					t.Errorf("x·Wᵀ of a slice with %d rows differs", m)
				}
			}
		})
	}
}

// What cannot be packed stays.
func TestPackLeaves(t *testing.T) {
	dev := NewCPU(1)
	defer dev.Close()
	shared := New(dev, F32, 32, 4)
	shared.Retain()
	for name, x := range map[string]*Tensor{"rows": New(dev, F32, 24, 4), "type": New(dev, F64, 32, 4), "axes": New(dev, F32, 2, 16, 4), "column": New(dev, F32, 32, 1), "shared": shared} {
		if x.Pack() != x {
			t.Errorf("%s: packed", name)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a slice within a panel can be read")
		}
	}()
	New(dev, F32, 32, 4).Pack().Slice(3, 20).F32s()
}

func BenchmarkPacked(b *testing.B) {
	const n, k = 4096, 4096
	for _, m := range []int{1, 2, 4, 8, 16, 64, 128, 512} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("packed/f32/m=%d/n=%d/k=%d/threads=%d", m, n, k, threads), func(b *testing.B) {
				dev := NewCPU(threads)
				defer dev.Close()
				x, w := New(dev, F32, m, k), New(dev, F32, n, k)
				x.kernels().Fill(x, 1)
				w.kernels().Fill(w, 1)
				w = w.Pack()
				z := New(dev, F32, m, n)
				for b.Loop() {
					dev.matMul(z, x, w, false, true, 1, false)
				}
				report(b, m, n, k)
			})
		}
	}
}
