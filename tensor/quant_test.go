package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// normal returns n numbers of a normal distribution.
func normal(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 7))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func quantized(t *testing.T, dev Device, seed uint64, o QuantOptions, shape ...int) *Tensor {
	t.Helper()
	q, err := Quantize(dev, normal(seed, Shape(shape).Elems()), shape, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Release)
	return q
}

// quantOptions are combinations of what Quantize can do.
func quantOptions() (all []QuantOptions) {
	for _, dt := range []DType{NF4, FP4} {
		for _, double := range []bool{false, true} {
			for _, block := range []int{32, 64, 256, 4096} {
				all = append(all, QuantOptions{DType: dt, Block: block, Double: double})
			}
		}
	}
	return all
}

// quantValue is element i of a tensor by Quant's definition.
func quantValue(x *Tensor, i int) float32 {
	q, codes := x.Quant(), x.Bytes()
	code := int(codes[i/2])
	if i%2 == 0 {
		code >>= 4
	}
	scale := float32(0)
	if b := i / q.Block; q.Nested == nil {
		scale = q.Absmax.F32()[b]
	} else {
		p := float32(float64(q.Map[q.Absmax.Bytes()[b]]) * float64(q.Nested.F32()[b/256]))
		scale = float32(float64(p) + float64(q.Offset))
	}
	return float32(float64(q.Table[code&15]) * float64(scale))
}

func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: element %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// Every way to decode gives the elements of the definition: whole, rows at any
// place, views, clones.
func TestQuantDecode(t *testing.T) {
	dev := NewCPU(2)
	defer dev.Close()
	for _, o := range quantOptions() {
		for _, shape := range [][2]int{{1, 1}, {3, 5}, {7, 33}, {5, 64}, {9, 479}, {21, 1001}} {
			t.Run(fmt.Sprintf("%v/%d/%v/%v", o.DType, o.Block, o.Double, shape), func(t *testing.T) {
				checkQuantDecode(t, dev, o, shape[0], shape[1])
			})
		}
	}
	if _, used, _ := dev.MemoryStats(); used != 0 {
		t.Errorf("%d bytes are still in use", used)
	}
}

func checkQuantDecode(t *testing.T, dev *CPU, o QuantOptions, rows, cols int) {
	x := quantized(t, dev, uint64(rows*cols), o, rows, cols)
	want := make([]float32, rows*cols)
	for i := range want {
		want[i] = quantValue(x, i)
	}
	sameBits(t, "whole", x.F32s(), want)
	f := New(dev, F32, rows, cols)
	defer f.Release()
	f.CopyFrom(x)
	sameBits(t, "copy", f.F32s(), want)
	lo := rows / 2
	view := x.Slice(lo, rows)
	sameBits(t, "view", view.F32s(), want[lo*cols:])
	c := view.Clone()
	defer c.Release()
	sameBits(t, "clone of a view", c.F32s(), want[lo*cols:])
	ids := []int32{int32(rows - 1), 0, int32(lo)}
	var picked []float32
	for _, id := range ids {
		picked = append(picked, want[int(id)*cols:][:cols]...)
	}
	a := NewArena(dev)
	defer a.Close()
	sameBits(t, "gathered", x.Gather(a, ids).F32s(), picked)
	m := x.matrix(0, rows, cols, false)
	for _, c0 := range []int{0, 1, 2, 31, 32, 33, 63, 64, 65, 127, 200} {
		if c0 >= cols {
			break
		}
		n := cols - c0
		buf := make([]float32, (rows-lo)*n)
		m.decode(buf, lo, rows-lo, c0, n)
		for i := range rows - lo {
			sameBits(t, fmt.Sprintf("row %d, columns from %d", lo+i, c0), buf[i*n:][:n], want[(lo+i)*cols+c0:][:n])
		}
	}
}

// Products with 4-bit weights are those with the decoded ones, bit for bit.
func TestQuantMatMul(t *testing.T) {
	for _, threads := range []int{1, 3} {
		dev := NewCPU(threads)
		defer dev.Close()
		for _, o := range []QuantOptions{{DType: NF4, Block: 64, Double: true}, {DType: FP4, Block: 128}, {DType: NF4, Block: 4096}, {DType: NF4, Block: 32}} {
			for _, s := range [][3]int{{1, 64, 96}, {1, 70, 479}, {3, 33, 576}, {8, 129, 65}, {20, 100, 801}, {130, 2100, 100}, {1, 12, 11008}, {2, 9, 5000}, {1, 4104, 64},
				{12, 2080, 320}, {17, 1600, 1600}, {70, 200, 512}, {9, 48, 96}} {
				m, n, k := s[0], s[1], s[2]
				w := quantized(t, dev, 3, o, n, k)
				d := FromF32(dev, w.F32s(), n, k)
				x, dy := FromF32(dev, normal(4, m*k), m, k), FromF32(dev, normal(5, m*n), m, n)
				for _, p := range []struct {
					what      string
					got, want *Tensor
				}{{"forward", x.MatMulT(w), x.MatMulT(d)}, {"backward", dy.MatMul(w), dy.MatMul(d)}} {
					sameBits(t, fmt.Sprintf("%s %+v %v", p.what, o, s), p.got.F32s(), p.want.F32s())
					p.got.Release()
					p.want.Release()
				}
				for _, v := range []*Tensor{d, x, dy} {
					v.Release()
				}
			}
		}
	}
}

// Products decode into what a worker has of its own, at most 1 MB, and into panels of a
// bounded size: never a whole matrix.
func TestQuantScratch(t *testing.T) {
	dev := NewCPU(2)
	defer dev.Close()
	for _, s := range [][3]int{{64, 4096, 1024}, {64, 1024, 4096}, {8, 64, 11008}, {1, 3000, 4096}} {
		m, n, k := s[0], s[1], s[2]
		w := quantized(t, dev, 3, QuantOptions{DType: NF4, Block: 64, Double: true}, n, k)
		x, dy := FromF32(dev, normal(4, m*k), m, k), FromF32(dev, normal(5, m*n), m, n)
		for _, z := range []*Tensor{x.MatMulT(w), dy.MatMul(w), x, dy} {
			z.Release()
		}
	}
	calls := dev.workers.gemms.free
	if len(calls) == 0 {
		t.Fatal("no product has left its scratch")
	}
	for _, g := range calls {
		for worker := range g.local {
			if n := 4 * (cap(g.local[worker]) + cap(g.edge[worker]) + cap(g.strip[worker])); n > 1<<20 {
				t.Errorf("worker %d has %d bytes of scratch", worker, n)
			}
		}
		if n := cap(g.panels); n > packFloats*5/4 {
			t.Errorf("panels of %d floats", n)
		}
	}
}
