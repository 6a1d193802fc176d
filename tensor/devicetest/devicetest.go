// Package devicetest is the conformance suite of a tensor.Device, and a device
// that has nothing but what every device must have.
package devicetest

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/internal/golden"
	"github.com/tenon-ml/tenon/tensor"
)

// Run tests that a device stores and computes what tensor.Device and
// tensor.Kernels say: each kernel that it has against plain Go in F64, on whole
// tensors and on views with something before and behind them, which has to stay
// as it is.
func Run(t *testing.T, dev tensor.Device) {
	if dev.Name() == "" {
		t.Error("the device has no name")
	}
	k := dev.Kernels()
	if k.Fill == nil || k.Unary == nil || k.Binary == nil || k.Reduce == nil || k.Copy == nil ||
		k.Gather == nil || k.ScatterAdd == nil || k.MatMul == nil {
		t.Fatal("a mandatory kernel is missing")
	}
	t.Run("memory", func(t *testing.T) { memory(t, dev) })
	for _, place := range []string{"whole", "view"} {
		for _, dt := range []tensor.DType{tensor.F32, tensor.F64} {
			s := &suite{T: t, dev: dev, k: k, dt: dt, view: place == "view"}
			for _, c := range mandatory {
				t.Run(fmt.Sprintf("%s/%v/%s", c.name, dt, place), s.run(c.name, c.f))
			}
		}
		s := &suite{T: t, dev: dev, k: k, dt: tensor.F32, view: place == "view"}
		for _, c := range optional {
			t.Run(fmt.Sprintf("%s/%s", c.name, place), func(t *testing.T) {
				if !c.has(k) {
					t.Skip("the device has no such kernel: package autograd composes it")
				}
				s.run(c.name, c.f)(t)
			})
		}
	}
}

// suite is one run of the kernels' tests.
type suite struct {
	*testing.T
	dev    tensor.Device
	k      *tensor.Kernels
	dt     tensor.DType
	view   bool
	random *tensor.Random
	placed []*placed
}

func (s *suite) run(name string, f func(*suite)) func(t *testing.T) {
	return func(t *testing.T) {
		c := *s
		c.T, c.random = t, tensor.NewRandom(1, name)
		f(&c)
		c.release()
	}
}

// placed is a tensor with what lies around it.
type placed struct {
	*tensor.Tensor
	whole        *tensor.Tensor
	before, size int
}

// guard is what lies around a view.
const guard = 12345

// put stores data of the suite's type on the device: as a tensor of its own, or
// as a part of one that has guards before and behind it.
func (s *suite) put(data []float64, shape ...int) *placed { return s.putAs(s.dt, data, shape...) }

func (s *suite) putAs(dt tensor.DType, data []float64, shape ...int) *placed {
	s.Helper()
	if n := tensor.Shape(shape).Elems(); n != len(data) {
		s.Fatalf("%d elements for %v", len(data), shape)
	}
	before, after := 0, 0
	if s.view {
		before, after = 3, 2 // not aligned to anything
	}
	all := slices.Repeat([]float64{guard}, before+len(data)+after)
	copy(all[before:], data)
	whole := upload(s.dev, dt, all)
	p := &placed{
		Tensor: whole.Slice(before, before+len(data)).Reshape(shape...),
		whole:  whole, before: before, size: len(data),
	}
	s.placed = append(s.placed, p)
	return p
}

func upload(dev tensor.Device, dt tensor.DType, data []float64) *tensor.Tensor {
	if dt == tensor.F64 {
		return tensor.FromF64(dev, data, len(data))
	}
	f := make([]float32, len(data))
	for i, v := range data {
		f[i] = float32(v)
	}
	return tensor.FromF32(dev, f, len(data))
}

// empty is put for a result: its contents are NaN.
func (s *suite) empty(shape ...int) *placed {
	return s.put(slices.Repeat([]float64{math.NaN()}, tensor.Shape(shape).Elems()), shape...)
}

// release frees what was put and checks what lay around it.
func (s *suite) release() {
	s.Helper()
	for _, p := range s.placed {
		all := p.whole.F64s()
		for i, v := range all {
			if (i < p.before || i >= p.before+p.size) && v != guard {
				s.Errorf("a kernel wrote %g at element %d of a view of %d elements", v, i-p.before, p.size)
			}
		}
		p.whole.Release()
	}
	s.placed = nil
}

// numbers returns n random numbers that F32 can hold.
func (s *suite) numbers(n int, scale float64) []float64 {
	f := make([]float32, n)
	s.random.Normal(f, 0, scale)
	out := make([]float64, n)
	for i, v := range f {
		out[i] = float64(v)
	}
	return out
}

// check compares a result; in F64, to the last digits.
func (s *suite) check(class golden.Class, what string, got *placed, want []float64) {
	s.Helper()
	s.checkSums(class, what, got, want, nil)
}

// checkSums is check for sums of terms whose magnitudes add up to size.
func (s *suite) checkSums(class golden.Class, what string, got *placed, want, size []float64) {
	s.Helper()
	if s.dt == tensor.F64 && class != golden.Exact {
		class = golden.Double
	}
	if err := golden.CompareSums(class, what, got.Shape(), got.F64s(), want, size); err != nil {
		s.Errorf("%s: %v", s.dev.Name(), err)
	}
}

func memory(t *testing.T, dev tensor.Device) {
	for _, n := range []int{0, 1, 3, 64, 1000, 100003} {
		b, err := dev.Alloc(tensor.U8, n)
		if err != nil {
			t.Fatal(err)
		}
		if b.Bytes() != n {
			t.Errorf("a buffer of %d bytes says that it has %d", n, b.Bytes())
		}
		in, out := make([]byte, n), make([]byte, n)
		for i := range in {
			in[i] = byte(i*7 + i>>8)
		}
		if err := dev.CopyIn(b, in); err != nil {
			t.Fatal(err)
		}
		if err := dev.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := dev.CopyOut(out, b); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(in, out) {
			t.Errorf("%d bytes came back changed", n)
		}
		// The beginning alone.
		if err := dev.CopyIn(b, bytes.Repeat([]byte{0xee}, n/2)); err != nil {
			t.Fatal(err)
		}
		if err := dev.CopyOut(out, b); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out[:n/2], bytes.Repeat([]byte{0xee}, n/2)) || !bytes.Equal(out[n/2:], in[n/2:]) {
			t.Errorf("writing %d of %d bytes changed others", n/2, n)
		}
		dev.Free(b)
	}
	if _, err := dev.Alloc(tensor.F32, -1); err == nil {
		t.Error("Alloc of -1 elements: no error")
	}
	b, err := dev.Alloc(tensor.U8, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Free(b)
	if dev.CopyIn(b, make([]byte, 11)) == nil {
		t.Error("CopyIn of 11 bytes to a buffer of 10: no error")
	}
	if dev.CopyOut(make([]byte, 11), b) == nil {
		t.Error("CopyOut of 11 bytes from a buffer of 10: no error")
	}

	// A tensor's memory lives as long as its last owner.
	x := tensor.FromF32(dev, []float32{1, 2, 3, 4}, 2, 2)
	row := x.Slice(1, 2).Retain()
	if x.Exclusive() {
		t.Error("a tensor with two owners says that it has one")
	}
	x.Release()
	if !row.Exclusive() {
		t.Error("a tensor with one owner left says that it has more")
	}
	for range 4 { // would be given the memory if it were free
		y := tensor.New(dev, tensor.F32, 2, 2).Fill(9)
		defer y.Release()
	}
	if got := row.F64s(); !slices.Equal(got, []float64{3, 4}) {
		t.Errorf("a retained view is %v, want [3 4]", got)
	}
	row.Release()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("releasing more often than retaining: no panic")
			}
		}()
		row.Release()
	}()
}

type test struct {
	name string
	f    func(*suite)
}

var mandatory = []test{
	{"fill", func(s *suite) {
		for _, n := range []int{1, 5, 40007} {
			x := s.empty(n)
			s.k.Fill(x.Tensor, -2.5)
			s.check(golden.Exact, "fill", x, slices.Repeat([]float64{-2.5}, n))
		}
	}},
	{"unary", func(s *suite) {
		names := map[tensor.UnaryOp]string{tensor.OpNeg: "neg", tensor.OpExp: "exp", tensor.OpLog: "log", tensor.OpSqrt: "sqrt",
			tensor.OpRsqrt: "rsqrt", tensor.OpRecip: "recip", tensor.OpSigmoid: "sigmoid", tensor.OpSiLU: "silu"}
		for op, name := range names {
			for _, n := range []int{1, 7, 64, 40007} {
				x := s.numbers(n, 3)
				if op == tensor.OpLog || op == tensor.OpSqrt || op == tensor.OpRsqrt || op == tensor.OpRecip {
					for i := range x {
						x[i] = math.Abs(x[i]) + 0.125
						if s.dt == tensor.F32 {
							x[i] = float64(float32(x[i]))
						}
					}
				}
				want := make([]float64, n)
				for i, v := range x {
					want[i] = unaryOf(op, v)
				}
				z, in := s.empty(n), s.put(x, n)
				s.k.Unary(op, z.Tensor, in.Tensor)
				s.check(golden.Function, name, z, want)
				s.k.Unary(op, in.Tensor, in.Tensor) // in place
				s.check(golden.Function, name+" in place", in, want)
			}
		}
	}},
	{"special", func(s *suite) {
		inf, nan := math.Inf(1), math.NaN()
		x := []float64{0, -inf, inf, nan, -1000, 1000}
		for op, want := range map[tensor.UnaryOp][]float64{
			tensor.OpNeg:     {0, inf, -inf, nan, 1000, -1000},
			tensor.OpExp:     {1, 0, inf, nan, 0, inf},
			tensor.OpLog:     {-inf, nan, inf, nan, nan, math.Log(1000)},
			tensor.OpSqrt:    {0, nan, inf, nan, nan, math.Sqrt(1000)},
			tensor.OpSigmoid: {0.5, 0, 1, nan, 0, 1},
			tensor.OpSiLU:    {0, nan, inf, nan, 0, 1000}, // -inf·0, as PyTorch's
		} {
			if op == tensor.OpExp && s.dt == tensor.F64 {
				want[4], want[5] = math.Exp(-1000), math.Exp(1000)
			}
			if op == tensor.OpSiLU {
				continue // see asm's own tests for where its tiers differ
			}
			// Eight times, so that the vector kernels see them.
			z, in := s.empty(len(x)*8), s.put(slices.Repeat(x, 8), len(x)*8)
			s.k.Unary(op, z.Tensor, in.Tensor)
			s.check(golden.Function, fmt.Sprintf("unary %d of special values", op), z, slices.Repeat(want, 8))
		}
	}},
	{"binary", func(s *suite) {
		shapes := [][2]tensor.Shape{
			{{1}, {1}}, {{3, 5}, {3, 5}}, {{150, 273}, {150, 273}}, {{150, 273}, {273}}, {{2, 3, 5}, {5}}, {{2, 3, 5}, {3, 1}},
			{{4, 1}, {1, 6}}, {{3, 5}, {1}}, {{1}, {3, 5}}, {{2, 1, 5}, {7, 1}}, {{5}, {2, 1, 5}}, {{3, 1, 4}, {3, 2, 4}}, {{}, {2, 2}},
		}
		for _, sh := range shapes {
			shape := make(tensor.Shape, max(len(sh[0]), len(sh[1])))
			for a := range shape {
				shape[a] = 1
				for _, x := range sh {
					if i := a - len(shape) + len(x); i >= 0 && x[i] != 1 {
						shape[a] = x[i]
					}
				}
			}
			for op, name := range []string{"add", "sub", "mul", "div"} {
				op := tensor.BinaryOp(op)
				a, b := s.numbers(sh[0].Elems(), 1), s.numbers(sh[1].Elems(), 1)
				want := make([]float64, shape.Elems())
				for i := range want {
					want[i] = binaryOf(op, a[source(shape, sh[0], i)], b[source(shape, sh[1], i)])
				}
				z, x, y := s.empty(shape...), s.put(a, sh[0]...), s.put(b, sh[1]...)
				s.k.Binary(op, z.Tensor, x.Tensor, y.Tensor)
				s.check(golden.Rounded, fmt.Sprintf("%s of %v and %v", name, sh[0], sh[1]), z, want)
				if shape.Equal(sh[0]) {
					s.k.Binary(op, x.Tensor, x.Tensor, y.Tensor)
					s.check(golden.Rounded, fmt.Sprintf("%s of %v and %v in place", name, sh[0], sh[1]), x, want)
				}
			}
		}
	}},
	{"reduce", func(s *suite) {
		for _, shape := range []tensor.Shape{{1, 1}, {3, 5}, {2, 3, 67}, {1, 4099}, {30011, 2}, {7}} {
			n := shape[len(shape)-1]
			x := s.numbers(shape.Elems(), 1)
			for i := range x { // else the sum of many is small beside its terms, and their rounding shows
				x[i] = float64(float32(x[i] + 1))
			}
			out := slices.Clone(shape)
			out[len(out)-1] = 1
			for op, name := range []string{"sum", "max"} {
				op := tensor.ReduceOp(op)
				class := golden.Exact
				want := make([]float64, out.Elems())
				for r := range want {
					want[r] = reduceOf(op, x[r*n:(r+1)*n])
				}
				if op == tensor.OpSum {
					class = golden.Sums
				}
				z := s.empty(out...)
				s.k.Reduce(op, z.Tensor, s.put(x, shape...).Tensor)
				s.check(class, fmt.Sprintf("%s of %v", name, shape), z, want)
			}
		}
		x := []float64{1, math.NaN(), 2, math.Inf(-1), math.Inf(-1), math.Inf(-1), math.NaN(), 1, 0, 1, 2, math.NaN()}
		z := s.empty(4, 1)
		s.k.Reduce(tensor.OpMax, z.Tensor, s.put(x, 4, 3).Tensor)
		s.check(golden.Exact, "max with NaN", z, []float64{math.NaN(), math.Inf(-1), math.NaN(), math.NaN()})
	}},
	{"copy", func(s *suite) {
		other := tensor.F32 + tensor.F64 - s.dt
		for _, from := range []tensor.DType{s.dt, other} {
			for _, c := range []struct {
				what   string
				dst    tensor.Shape // of the whole destination
				ds     []int
				src    tensor.Shape
				ss     []int
				copied tensor.Shape
			}{
				{"whole", tensor.Shape{3, 5}, []int{5, 1}, tensor.Shape{3, 5}, []int{5, 1}, tensor.Shape{3, 5}},
				{"large", tensor.Shape{300, 701}, []int{701, 1}, tensor.Shape{300, 701}, []int{701, 1}, tensor.Shape{300, 701}},
				{"transpose", tensor.Shape{5, 3}, []int{3, 1}, tensor.Shape{3, 5}, []int{1, 5}, tensor.Shape{5, 3}},
				{"axes", tensor.Shape{2, 4, 3, 5}, []int{60, 15, 5, 1}, tensor.Shape{2, 3, 4, 5}, []int{60, 5, 20, 1}, tensor.Shape{2, 4, 3, 5}},
				{"repeat rows", tensor.Shape{4, 5}, []int{5, 1}, tensor.Shape{5}, []int{0, 1}, tensor.Shape{4, 5}},
				{"repeat columns", tensor.Shape{4, 5}, []int{5, 1}, tensor.Shape{4, 1}, []int{1, 0}, tensor.Shape{4, 5}},
				{"repeat one", tensor.Shape{2, 3}, []int{3, 1}, tensor.Shape{1}, []int{0, 0}, tensor.Shape{2, 3}},
				{"to a part", tensor.Shape{4, 6}, []int{6, 1}, tensor.Shape{4, 2}, []int{2, 1}, tensor.Shape{4, 2}},
				{"from a part", tensor.Shape{4, 2}, []int{2, 1}, tensor.Shape{4, 6}, []int{6, 1}, tensor.Shape{4, 2}},
				{"nothing", tensor.Shape{2}, []int{1}, tensor.Shape{2}, []int{1}, tensor.Shape{0}},
				{"scalar", tensor.Shape{}, nil, tensor.Shape{}, nil, tensor.Shape{}},
			} {
				x := s.numbers(c.src.Elems(), 1)
				z := s.put(slices.Repeat([]float64{-1}, c.dst.Elems()), c.dst...)
				want := slices.Repeat([]float64{-1}, c.dst.Elems())
				strided(c.copied, c.ds, c.ss, func(a, b int) { want[a] = x[b] })
				s.k.Copy(z.Tensor, c.ds, s.putAs(from, x, c.src...).Tensor, c.ss, c.copied)
				s.check(golden.Exact, fmt.Sprintf("copy %s from %v", c.what, from), z, want)
			}
		}
		if s.dt == tensor.F32 {
			for _, st := range stored {
				w := width(st)
				raw, want := s.stored(st, 6*w)
				src := tensor.FromBytes(s.dev, st, raw, 6, w)
				z := s.empty(6, w)
				s.k.Copy(z.Tensor, []int{w, 1}, src, []int{w, 1}, tensor.Shape{6, w})
				s.check(golden.Exact, fmt.Sprintf("copy from %v", st), z, want)
				part := s.empty(2, w)
				s.k.Copy(part.Tensor, []int{w, 1}, src.Slice(3, 5), []int{w, 1}, tensor.Shape{2, w})
				s.check(golden.Exact, fmt.Sprintf("copy from rows of %v", st), part, want[3*w:5*w])
				same := src.Clone()
				if !bytes.Equal(same.Raw(), raw) {
					s.Errorf("a clone of %v has other bytes", st)
				}
				same.Release()
				src.Release()
			}
		}
	}},
	{"gather", func(s *suite) {
		ids := []int32{4, 0, 4, 2, 4, 0, 4}
		for _, c := range []int{1, 7, 64, 1003} {
			x := s.numbers(5*c, 1)
			var want []float64
			for _, id := range ids {
				want = append(want, x[int(id)*c:(int(id)+1)*c]...)
			}
			z := s.empty(len(ids), c)
			s.k.Gather(z.Tensor, s.put(x, 5, c).Tensor, ids)
			s.check(golden.Exact, "gather", z, want)
		}
		if s.dt != tensor.F32 {
			return
		}
		for _, st := range stored {
			w := width(st)
			raw, rows := s.stored(st, 5*w)
			src := tensor.FromBytes(s.dev, st, raw, 5, w)
			var want []float64
			for _, id := range ids {
				want = append(want, rows[int(id)*w:(int(id)+1)*w]...)
			}
			z := s.empty(len(ids), w)
			s.k.Gather(z.Tensor, src, ids)
			s.check(golden.Exact, fmt.Sprintf("gather from %v", st), z, want)
			src.Release()
		}
	}},
	{"scatter-add", func(s *suite) {
		for _, c := range []int{1, 7, 64, 1003} {
			ids := []int32{4, 0, 4, 2, 4, 0, 4}
			x, want := s.numbers(len(ids)*c, 1), s.numbers(5*c, 1)
			z := s.put(want, 5, c)
			for i, id := range ids {
				for j := range c {
					want[int(id)*c+j] += x[i*c+j]
				}
			}
			s.k.ScatterAdd(z.Tensor, s.put(x, len(ids), c).Tensor, ids)
			s.check(golden.Sums, "scatter-add", z, want)
		}
	}},
	{"matmul", func(s *suite) {
		type mnk struct{ m, n, k int }
		for _, c := range []mnk{{1, 1, 1}, {5, 3, 7}, {1, 33, 64}, {4, 17, 9}, {13, 1, 20}, {67, 71, 130}, {2, 300, 31}, {65, 8, 257}, {3, 4, 0}, {0, 4, 3}} {
			for batch := 1; batch <= 2; batch++ {
				for i := range 4 {
					for _, alpha := range []float64{1, -0.75} {
						s.matMul(tensor.Invalid, batch, c.m, c.n, c.k, i&1 != 0, i&2 != 0, alpha)
					}
				}
			}
		}
		if s.dt != tensor.F32 {
			return
		}
		for _, st := range stored { // as the right side; rows are whole blocks
			for _, m := range []int{1, 3, 40} {
				s.matMul(st, 1, m, 35, width(st), false, true, 0.5)
				s.matMul(st, 1, m, width(st), 35, false, false, 1)
				s.matMul(st, 1, m, 5, 5*width(st), false, true, 1)
			}
		}
	}},
}

// stored are the types that are decoded where they are used.
var stored = func() (out []tensor.DType) {
	for d := range tensor.DType(255) {
		if d.CanDecode() && d != tensor.F32 && d != tensor.F64 {
			out = append(out, d)
		}
	}
	return out
}()

// width returns a row length of whole blocks.
func width(st tensor.DType) int {
	block, _ := st.Block()
	return max(64, block)
}

// stored returns n random elements of a stored type and their values.
func (s *suite) stored(st tensor.DType, n int) (raw []byte, values []float64) {
	block, size := st.Block()
	b, f := make([]byte, size), make([]float32, block)
	for len(values) < n {
		for i := range b {
			b[i] = byte(s.random.Uint32())
		}
		st.Decode(f, b)
		var top float64
		for _, v := range toF64(f) {
			top = math.Max(top, math.Abs(v)) // NaN stays
		}
		if top > 0.1 && top < 100 { // else a scale is out of the common
			raw, values = append(raw, b...), append(values, toF64(f)...)
		}
	}
	return raw, values
}

// matMul tests one product, with and without adding to what is there. st is the
// right side's type if it is a stored one.
func (s *suite) matMul(st tensor.DType, batch, m, n, k int, tx, ty bool, alpha float64) {
	xs, ys := []int{batch, m, k}, []int{batch, k, n}
	if tx {
		xs[1], xs[2] = k, m
	}
	if ty {
		ys[1], ys[2] = n, k
	}
	zs := []int{batch, m, n}
	if batch == 1 { // plain matrices
		xs, ys, zs = xs[1:], ys[1:], zs[1:]
	}
	a := s.numbers(batch*m*k, 1)
	x := s.put(a, xs...)
	var y *tensor.Tensor
	var b []float64
	if st == tensor.Invalid {
		b = s.numbers(batch*k*n, 1)
		y = s.put(b, ys...).Tensor
	} else {
		var raw []byte
		raw, b = s.stored(st, k*n)
		y = tensor.FromBytes(s.dev, st, raw, ys...)
		defer y.Release()
	}
	product, size := make([]float64, batch*m*n), make([]float64, batch*m*n)
	for i := range product {
		e, r, c := i/(m*n), i/n%m, i%n
		for l := range k {
			xi, yi := r*k+l, l*n+c
			if tx {
				xi = l*m + r
			}
			if ty {
				yi = c*k + l
			}
			term := alpha * a[e*m*k+xi] * b[e*k*n+yi]
			product[i] += term
			size[i] += math.Abs(term)
		}
	}
	what := fmt.Sprintf("matmul %v·%v (transposed: %v, %v; right side %v)", xs, ys, tx, ty, st)
	z := s.empty(zs...)
	s.k.MatMul(z.Tensor, x.Tensor, y, tx, ty, alpha, false)
	s.checkSums(golden.Sums, what, z, product, size)
	old := s.numbers(batch*m*n, 1)
	z = s.put(old, zs...)
	for i, v := range old {
		product[i] += v
		size[i] += math.Abs(v)
	}
	s.k.MatMul(z.Tensor, x.Tensor, y, tx, ty, alpha, true)
	s.checkSums(golden.Sums, what+" added", z, product, size)
}
