package autograd

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/golden"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/tensor/devicetest"
)

// counting is a CPU that counts its matrix products and the rows of their left
// sides.
type counting struct {
	*tensor.CPU
	kernels        tensor.Kernels
	products, rows int
}

func newCounting(t *testing.T) *counting {
	c := &counting{CPU: tensor.NewCPU(1)}
	t.Cleanup(func() { c.Close() })
	c.kernels = *c.CPU.Kernels()
	f := c.kernels.MatMul
	c.kernels.MatMul = func(dst, x, y *tensor.Tensor, tx, ty bool, alpha float64, accumulate bool) {
		c.products++
		c.rows += dst.Rows()
		f(dst, x, y, tx, ty, alpha, accumulate)
	}
	affine, grad := c.kernels.Affine, c.kernels.AffineGrad
	c.kernels.Affine = func(z []*tensor.Tensor, h, x, a *tensor.Tensor, terms []tensor.AffineTerm) {
		if h != nil {
			c.products++
		}
		for _, t := range terms {
			c.products++
			if t.B != nil {
				c.products++
			}
		}
		affine(z, h, x, a, terms)
	}
	c.kernels.AffineGrad = func(dx, da *tensor.Tensor, db []*tensor.Tensor, u *tensor.Tensor, dz []*tensor.Tensor, h, x, a *tensor.Tensor, terms []tensor.AffineTerm) {
		for i, t := range terms {
			for _, wanted := range []bool{dx != nil, u != nil && t.B != nil, db[i] != nil} {
				if wanted {
					c.products++
				}
			}
		}
		for _, wanted := range []bool{u != nil && dx != nil, da != nil} {
			if wanted {
				c.products++
			}
		}
		grad(dx, da, db, u, dz, h, x, a, terms)
	}
	return c
}

func (c *counting) Kernels() *tensor.Kernels { return &c.kernels }

func newCPU(t testing.TB) *tensor.CPU {
	cpu := tensor.NewCPU(2)
	t.Cleanup(func() {
		if _, n, _ := cpu.MemoryStats(); n != 0 {
			t.Errorf("%d bytes still in use at the end", n)
		}
		cpu.Close()
	})
	return cpu
}

// param returns a parameter of random elements; the caller's test releases it.
func param(t testing.TB, dev tensor.Device, g *gen, trainable bool, scale float64, shape ...int) *Value {
	arena := tensor.NewArena(dev)
	p := Param(g.arr(scale, shape...).tensor(NewTape(arena), tensor.F32).Retain().Detached())
	arena.Close()
	p.Trainable = trainable
	t.Cleanup(func() { p.T.Release() })
	return p
}

// TestFrozenKeepsNothing runs every operation on frozen operands: nothing is
// recorded, and no memory stays but the operands' and the result's.
func TestFrozenKeepsNothing(t *testing.T) {
	cpu := tensor.NewCPU(1)
	defer cpu.Close()
	cases(t, odd, func(t *testing.T, o *op, c *opCase) {
		arena := tensor.NewArena(cpu)
		defer arena.Close()
		tape := NewTape(arena)
		in := make([]*Value, len(c.in))
		for i, a := range c.in {
			if a != nil {
				in[i] = tape.Input(a.tensor(tape, tensor.F32))
			}
		}
		var z *Value
		before := inUse(cpu)
		arena.Scope(func() []*tensor.Tensor {
			z = o.run(tape, in, c)
			return []*tensor.Tensor{z.T}
		})
		after := inUse(cpu)
		if len(tape.nodes) != 0 || z.node != 0 {
			t.Errorf("%d nodes recorded", len(tape.nodes))
		}
		// The result alone: a copy of it takes as much.
		cp := tensor.New(cpu, tensor.F32, z.Shape()...)
		defer cp.Release()
		if most := inUse(cpu) - after; after-before > most {
			t.Errorf("%d bytes kept, the result has %d", after-before, most)
		}
		grads := Grads{}
		Backward(z.SumAll(), grads)
		if len(grads) != 0 {
			t.Errorf("%d gradients of frozen operands", len(grads))
		}
	})
}

// TestFrozenGradient freezes each operand in turn: it gets no gradient, and the
// others the same as ever.
func TestFrozenGradient(t *testing.T) {
	cpu := tensor.NewCPU(1)
	defer cpu.Close()
	cases(t, odd, func(t *testing.T, o *op, c *opCase) {
		all := o.eval(t, cpu, tensor.F32, c, func(n int) []float64 { return slices.Repeat([]float64{1}, n) })
		for frozen := range c.in {
			if c.in[frozen] == nil {
				continue
			}
			arena := tensor.NewArena(cpu)
			tape := NewTape(arena)
			in := make([]*Value, len(c.in))
			for i, a := range c.in {
				if a != nil {
					in[i] = &Value{T: a.tensor(tape, tensor.F32), tape: tape, Trainable: i != frozen}
				}
			}
			grads := Grads{}
			Backward(o.run(tape, in, c).SumAll(), grads)
			if grads[in[frozen]] != nil {
				t.Errorf("operand %d is frozen and got a gradient", frozen)
			}
			for i, v := range in {
				if v == nil || i == frozen {
					continue
				}
				if err := golden.Compare(golden.Exact, fmt.Sprintf("gradient %d with %d frozen", i, frozen), c.in[i].shape, grads[v].F64s(), all.grads[i]); err != nil {
					t.Error(err)
				}
			}
			grads.Release()
			tape.Close()
			arena.Close()
		}
	})
}

// TestFrozenCost counts what LoRA saves: products and kept tensors.
func TestFrozenCost(t *testing.T) {
	cpu := newCounting(t)
	g := newGen("cost")
	for _, c := range []struct {
		name                         string
		lowrank                      bool
		x, w, a, b                   bool // trainable
		forward, backward, keptElems int
	}{
		// x is [7, 5], W [4, 5], A [3, 5], B [4, 3].
		{"frozen", true, false, false, false, false, 3, 0, 0},
		{"plain, x wanted: W", false, true, false, false, false, 1, 1, 20},
		{"plain, W wanted: x", false, false, true, false, false, 1, 1, 35},
		{"first layer's LoRA: x, d·Aᵀ, A, B", true, false, false, true, true, 3, 3, 35 + 21 + 15 + 12},
		{"a layer's LoRA: W too", true, true, false, true, true, 3, 5, 35 + 21 + 20 + 15 + 12},
		{"frozen LoRA: W, A, B", true, true, false, false, false, 3, 3, 20 + 15 + 12},
		{"everything", true, true, true, true, true, 3, 6, 35 + 21 + 20 + 15 + 12},
	} {
		arena := tensor.NewArena(cpu)
		tape := NewTape(arena)
		leaf := func(trainable bool, shape ...int) *Value {
			return &Value{T: g.arr(1, shape...).tensor(tape, tensor.F32), tape: tape, Trainable: trainable}
		}
		x, a := leaf(c.x, 7, 5), Affine{W: leaf(c.w, 4, 5)}
		if c.lowrank {
			a.A, a.B, a.Scale = leaf(c.a, 3, 5), leaf(c.b, 4, 3), 2
		}
		cpu.products = 0
		z := x.Affine(a)
		forward := cpu.products
		kept := 0
		for _, n := range tape.nodes {
			for _, k := range n.keep {
				kept += k.Elems()
			}
		}
		grads := Grads{}
		Backward(z.SumAll(), grads)
		if backward := cpu.products - forward; forward != c.forward || backward != c.backward || kept != c.keptElems {
			t.Errorf("%s: %d and %d products, %d elements kept, want %d, %d, %d", c.name, forward, backward, kept, c.forward, c.backward, c.keptElems)
		}
		grads.Release()
		arena.Close()
	}
}

// TestFrozenKept lists what binary operations keep when one operand is frozen: not
// what the frozen one's gradient would need.
func TestFrozenKept(t *testing.T) {
	cpu := newCPU(t)
	for name, c := range map[string]struct {
		f          func(x, y *Value) *Value
		x, y       []int
		forX, forY []string // kept for x's gradient, for y's
	}{
		"add":      {(*Value).Add, []int{2, 2}, []int{2}, nil, nil},
		"sub":      {(*Value).Sub, []int{2, 2}, []int{2}, nil, nil},
		"mul":      {(*Value).Mul, []int{2, 2}, []int{2}, []string{"y"}, []string{"x"}},
		"div":      {(*Value).Div, []int{2, 2}, []int{2}, []string{"y"}, []string{"x", "y"}},
		"matmul":   {(*Value).MatMul, []int{2, 3}, []int{3, 4}, []string{"y"}, []string{"x"}},
		"matmulT":  {(*Value).MatMulT, []int{2, 3}, []int{4, 3}, []string{"y"}, []string{"x"}},
		"matmulTA": {(*Value).MatMulTA, []int{3, 2}, []int{3, 4}, []string{"y"}, []string{"x"}},
		"concat":   {func(x, y *Value) *Value { return Concat(0, x, y) }, []int{2, 3}, []int{1, 3}, nil, nil},
	} {
		for _, wanted := range []string{"x", "y"} {
			arena := tensor.NewArena(cpu)
			tape := NewTape(arena)
			x := &Value{T: arena.New(tensor.F32, c.x...).Fill(1), tape: tape, Trainable: wanted == "x"}
			y := &Value{T: arena.New(tensor.F32, c.y...).Fill(1), tape: tape, Trainable: wanted == "y"}
			c.f(x, y)
			var kept []string
			for _, k := range tape.nodes[0].keep {
				switch k {
				case x.T:
					kept = append(kept, "x")
				case y.T:
					kept = append(kept, "y")
				default:
					kept = append(kept, "else")
				}
			}
			if want := map[string][]string{"x": c.forX, "y": c.forY}[wanted]; !slices.Equal(kept, want) {
				t.Errorf("%s: keeps %v for the gradient of %s, want %v", name, kept, wanted, want)
			}
			tape.Close()
			arena.Close()
		}
	}
}

// TestBackwardAccumulates asks that a second pass adds to what is there.
func TestBackwardAccumulates(t *testing.T) {
	cpu := newCPU(t)
	for i := range ops {
		o := &ops[i]
		c := o.make(newGen(o.name), small)[0]
		leaves := make([]*Value, len(c.in))
		arena := tensor.NewArena(cpu)
		for i, a := range c.in {
			if a != nil {
				leaves[i] = &Value{T: a.tensor(NewTape(arena), tensor.F32), Trainable: true}
			}
		}
		grads := Grads{}
		var once [][]float64
		for pass := range 3 {
			step := tensor.NewArena(cpu)
			tape := NewTape(step)
			in := make([]*Value, len(leaves))
			for i, p := range leaves {
				if p != nil {
					in[i] = p
					if i == 0 { // an operation on parameters alone belongs to no tape
						in[i] = p.on(tape)
					}
				}
			}
			Backward(o.run(tape, in, c).SumAll(), grads)
			tape.Close()
			step.Close()
			for i, p := range leaves {
				if p == nil {
					continue
				}
				got := grads[p].F64s()
				if pass == 0 {
					once = append(slices.Clone(once), make([][]float64, i+1-len(once))...)
					once[i] = got
					continue
				}
				want := slices.Clone(once[i])
				for j := range want {
					want[j] *= float64(pass + 1)
				}
				class := golden.Exact // doubling is exact
				if pass > 1 {
					class = golden.Rounded
				}
				if o.name == "Tape.Embedding" { // adds row by row to what is there
					class = golden.Sums
				}
				if err := golden.Compare(class, fmt.Sprintf("%s: gradient %d after %d passes", o.name, i, pass+1), c.in[i].shape, got, want); err != nil {
					t.Error(err)
				}
			}
		}
		grads.Release()
		arena.Close()
	}
}

// TestEmbeddingInPlace adds to the gradient of a table, which is as large as the
// table, where it lies.
func TestEmbeddingInPlace(t *testing.T) {
	cpu := newCPU(t)
	table := param(t, cpu, newGen("table"), true, 1, 1<<14, 64)
	grads := Grads{}
	defer grads.Release()
	backward := func() int {
		arena := tensor.NewArena(cpu)
		defer arena.Close()
		tape := NewTape(arena)
		Backward(tape.Embedding(table, []int32{1, 5, 1}).SumAll(), grads)
		_, _, peak := cpu.MemoryStats()
		return peak
	}
	if first, second := backward(), backward(); second > first {
		t.Errorf("a second pass takes %d bytes more, the table has %d", second-first, 4*table.T.Elems())
	}
	if got := grads[table].F32()[64]; got != 4 {
		t.Errorf("gradient %g, want 4", got)
	}
}

// on returns a value with the parameter's gradient on a tape: x + 0.
func (v *Value) on(t *Tape) *Value {
	zero := t.arena.New(v.T.DType(), v.Shape()...).Fill(0)
	return t.Input(zero).Add(v)
}

// block is a layer as models have them, small: normalisation, an adapted linear
// layer with dropout, an activation, a residual.
type block struct {
	norm, w, a, b *Value
	p             float64
}

func newBlock(t testing.TB, dev tensor.Device, g *gen, n int, p float64) *block {
	return &block{
		norm: param(t, dev, g, false, 1, n), w: param(t, dev, g, false, unit(n), n, n),
		a: param(t, dev, g, true, unit(n), 4, n), b: param(t, dev, g, true, 0.5, n, 4), p: p,
	}
}

func (b *block) forward(x *Value) *Value {
	h := x.RMSNorm(b.norm, 1e-5).Affine(Affine{W: b.w, A: b.a, B: b.b, Scale: 2, Dropout: b.p, DropoutKey: 3})
	return h.SwiGLU(h).Dropout(b.p, 4).Add(x)
}

// stack runs blocks over x and returns the gradients of Σ z² with respect to all
// parameters and, if it is wanted, x. It also says how much memory was in use
// before the backward pass.
func stack(t *testing.T, dev tensor.Device, x *array, wantX bool, blocks []*block, layer func(x *Value, f func(*Value) *Value) *Value) (z []float64, grads [][]float64, kept int) {
	t.Helper()
	before := inUse(dev)
	arena := tensor.NewArena(dev)
	tape := NewTape(arena)
	in := &Value{T: x.tensor(tape, tensor.F32), tape: tape, Trainable: wantX}
	v := in
	for _, b := range blocks {
		v = tape.Scope(func() *Value { return layer(v, b.forward) })
	}
	kept = inUse(dev) - before
	loss := v.Mul(v).SumAll()
	z = v.T.F64s()
	g := Grads{}
	Backward(loss, g)
	want := 0
	for _, b := range blocks {
		for _, p := range []*Value{b.norm, b.w, b.a, b.b} {
			if !p.Trainable {
				continue
			}
			want++
			if g[p] == nil {
				t.Fatal("a parameter got no gradient")
			}
			grads = append(grads, g[p].F64s())
		}
	}
	if wantX {
		want++
		grads = append(grads, g[in].F64s())
	}
	if len(g) != want {
		t.Errorf("%d gradients, want %d", len(g), want)
	}
	g.Release()
	tape.Close()
	arena.Close()
	if after := inUse(dev); after != before {
		t.Errorf("%d in use before, %d after", before, after)
	}
	return z, grads, kept
}

func plainly(x *Value, f func(*Value) *Value) *Value { return f(x) }

// TestRecompute asks for the same bits with and without, with dropout, on the
// CPU and far off, whether or not the first layer's input wants a gradient.
func TestRecompute(t *testing.T) {
	for _, dev := range []tensor.Device{newCPU(t), devicetest.NewFar()} {
		for _, p := range []float64{0, 0.3} {
			for _, wantX := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/dropout %g/x wanted %v", dev.Name(), p, wantX), func(t *testing.T) {
					g := newGen("recompute")
					x := g.arr(1, 9, 33)
					var blocks []*block
					for range 3 {
						blocks = append(blocks, newBlock(t, dev, g, 33, p))
					}
					z, want, much := stack(t, dev, x, wantX, blocks, plainly)
					nested := func(x *Value, f func(*Value) *Value) *Value {
						return Recompute(x, func(x *Value) *Value { return Recompute(x, f) })
					}
					for name, layer := range map[string]func(*Value, func(*Value) *Value) *Value{"recompute": Recompute, "twice": nested} {
						z2, got, little := stack(t, dev, x, wantX, blocks, layer)
						if err := golden.Compare(golden.Exact, name+": z", x.shape, z2, z); err != nil {
							t.Error(err)
						}
						for i := range want {
							if err := golden.Compare(golden.Exact, fmt.Sprintf("%s: gradient %d", name, i), []int{len(want[i])}, got[i], want[i]); err != nil {
								t.Error(err)
							}
							if !slices.ContainsFunc(want[i], func(v float64) bool { return v != 0 }) {
								t.Errorf("%s: gradient %d is 0 throughout", name, i)
							}
						}
						if little*2 > much {
							t.Errorf("%s keeps %d, plain %d: want less than half", name, little, much)
						}
					}
				})
			}
		}
	}
}

// TestRecomputeRecords says when a recomputation is recorded.
func TestRecomputeRecords(t *testing.T) {
	cpu := newCPU(t)
	g := newGen("records")
	frozen, trainable := param(t, cpu, g, false, 1, 3, 3), param(t, cpu, g, true, 1, 3, 3)
	for _, c := range []struct {
		name     string
		w        *Value
		x, infer bool
		nodes    int
	}{
		{"all frozen", frozen, false, false, 0},
		{"x wanted", frozen, true, false, 1},
		{"weight wanted", trainable, false, false, 1},
		{"inference", trainable, false, true, 0},
	} {
		arena := tensor.NewArena(cpu)
		tape := NewTape(arena)
		if c.infer {
			tape = NoGrad(arena)
		}
		x := &Value{T: g.arr(1, 2, 3).tensor(tape, tensor.F32), tape: tape, Trainable: c.x}
		z := Recompute(x, func(x *Value) *Value { return x.MatMulT(c.w) })
		if len(tape.nodes) != c.nodes || (z.node != 0) != (c.nodes != 0) {
			t.Errorf("%s: %d nodes, want %d", c.name, len(tape.nodes), c.nodes)
		}
		tape.Close()
		arena.Close()
	}
}

// TestRecomputeUses uses constants and parameters from outside, and gives back
// its argument.
func TestRecomputeUses(t *testing.T) {
	cpu := newCPU(t)
	g := newGen("uses")
	w := param(t, cpu, g, true, 1, 3)
	grad := func(layer func(*Value, func(*Value) *Value) *Value, f func(x, c *Value) *Value) [2][]float64 {
		arena := tensor.NewArena(cpu)
		defer arena.Close()
		tape := NewTape(arena)
		defer tape.Close()
		x, c := tape.Leaf(newGen("x").arr(1, 2, 3).tensor(tape, tensor.F32)), tape.Input(newGen("c").arr(1, 2, 3).tensor(tape, tensor.F32))
		grads := Grads{}
		defer grads.Release()
		Backward(layer(x, func(x *Value) *Value { return f(x, c) }).SumAll(), grads)
		out := [2][]float64{grads[x].F64s(), nil}
		if grads[w] != nil {
			out[1] = grads[w].F64s()
		}
		return out
	}
	for name, f := range map[string]func(x, c *Value) *Value{
		"constant second": func(x, c *Value) *Value { return x.Mul(c).Mul(w) },
		"constant first":  func(x, c *Value) *Value { return c.Mul(x).Add(c).Mul(w) },
		"itself":          func(x, c *Value) *Value { return x },
		"a view":          func(x, c *Value) *Value { return x.Reshape(3, 2) },
		"x twice":         func(x, c *Value) *Value { return x.Mul(x).Add(x) },
	} {
		got, want := grad(Recompute, f), grad(plainly, f)
		for i := range want {
			if !slices.Equal(got[i], want[i]) {
				t.Errorf("%s: gradient %d: %v, want %v", name, i, got[i], want[i])
			}
		}
	}
}

// TestScope releases what is in between and keeps what gradients need.
func TestScope(t *testing.T) {
	cpu := newCPU(t)
	run := func(scoped bool) (grad []float64, used int) {
		arena := tensor.NewArena(cpu)
		defer arena.Close()
		tape := NewTape(arena)
		defer tape.Close()
		x := tape.Leaf(newGen("x").arr(1, 64).tensor(tape, tensor.F32))
		before := inUse(cpu)
		f := func() *Value { return x.Scale(2).Scale(3).Exp().Scale(4).Scale(5) }
		z := (*Value)(nil)
		if scoped {
			z = tape.Scope(f)
		} else {
			z = f()
		}
		used = inUse(cpu) - before
		grads := Grads{}
		defer grads.Release()
		Backward(z.SumAll(), grads)
		return grads[x].F64s(), used
	}
	want, all := run(false)
	got, used := run(true)
	if !slices.Equal(got, want) {
		t.Errorf("gradient %v, want %v", got, want)
	}
	if used != 2*256 || all < 5*256 {
		t.Errorf("%d bytes used, %d without a scope; want 512 (result and exp) and more", used, all)
	}
}

// TestNotNeeded: what is recorded after the loss, or is not part of it, is
// released like the rest.
func TestNotNeeded(t *testing.T) {
	cpu := newCPU(t)
	arena := tensor.NewArena(cpu)
	tape := NewTape(arena)
	x := tape.Leaf(newGen("x").arr(1, 64).tensor(tape, tensor.F32))
	x.Exp() // before
	loss := x.Mul(x).SumAll()
	x.Exp() // after
	grads := Grads{}
	Backward(loss, grads)
	if len(tape.nodes) != 0 {
		t.Errorf("%d nodes left", len(tape.nodes))
	}
	arena.Close()
	if n := inUse(cpu); n != 256 { // the gradient
		t.Errorf("%d bytes in use, want 256", n)
	}
	grads.Release()

	// Twice the same, and a loss that is a parameter.
	arena = tensor.NewArena(cpu)
	tape = NewTape(arena)
	y := tape.Leaf(newGen("y").arr(1, 1).tensor(tape, tensor.F32))
	Backward(y.Add(y), grads)
	if got := grads[y].Item(); got != 2 {
		t.Errorf("gradient of y + y: %g, want 2", got)
	}
	grads.Release()
	arena.Close()
}

// TestWarmStep asks that a step takes no memory from the system once one ran, and
// little from Go.
func TestWarmStep(t *testing.T) {
	cpu := newCPU(t)
	g := newGen("warm")
	var blocks []*block
	for range 4 {
		blocks = append(blocks, newBlock(t, cpu, g, 130, 0.1))
	}
	x := g.arr(1, 70, 130)
	for _, layer := range []func(*Value, func(*Value) *Value) *Value{plainly, Recompute} {
		stack(t, cpu, x, false, blocks, layer)
		before, _, _ := cpu.MemoryStats()
		var m0, m1 runtime.MemStats
		runtime.ReadMemStats(&m0)
		for range 3 {
			stack(t, cpu, x, false, blocks, layer)
		}
		runtime.ReadMemStats(&m1)
		if n := (m1.TotalAlloc - m0.TotalAlloc) / 3; n > 1<<20 {
			t.Errorf("a warm step allocates %d bytes of Go objects, want at most 1 MiB", n)
		}
		if after, _, _ := cpu.MemoryStats(); after != before {
			t.Errorf("%d bytes mapped after the first step, %d after the fourth", before, after)
		}
	}
}

// TestDropout checks the share of what is dropped, its scale, and that the
// backward pass drops the same.
func TestDropout(t *testing.T) {
	cpu := newCPU(t)
	const n = 1 << 17
	ones := &array{shape: []int{n}, data: slices.Repeat([]float64{1}, n)}
	drop := func(p float64, key uint64) (z, dx []float64) {
		arena := tensor.NewArena(cpu)
		defer arena.Close()
		tape := NewTape(arena)
		defer tape.Close()
		x := tape.Leaf(ones.tensor(tape, tensor.F32))
		v := x.Dropout(p, key)
		grads := Grads{}
		defer grads.Release()
		Backward(v.SumAll(), grads)
		return v.T.F64s(), grads[x].F64s()
	}
	for _, p := range []float64{0, 0.05, 0.5, 0.9} {
		z, dx := drop(p, 1)
		dropped, pairs := 0, 0
		for i, v := range z {
			switch v {
			case 0:
				dropped++
				if i > 0 && z[i-1] == 0 {
					pairs++
				}
			case float64(float32(1 / (1 - p))):
			default:
				t.Fatalf("p %g: element %d is %g, want 0 or %g", p, i, v, 1/(1-p))
			}
		}
		// Five standard deviations.
		if d := math.Abs(float64(dropped) - p*n); d > 5*math.Sqrt(p*(1-p)*n) {
			t.Errorf("p %g: %d of %d dropped", p, dropped, n)
		}
		if d := math.Abs(float64(pairs) - p*p*n); d > 5*math.Sqrt(p*p*(1-p*p)*n)*math.Sqrt(3) {
			t.Errorf("p %g: %d of %d neighbours dropped: they depend on each other", p, pairs, n)
		}
		if !slices.Equal(z, dx) {
			t.Errorf("p %g: the gradient's mask is another one", p)
		}
		again, _ := drop(p, 1)
		other, _ := drop(p, 2)
		if !slices.Equal(z, again) {
			t.Errorf("p %g: the same key drops others", p)
		}
		if p > 0 && slices.Equal(z, other) {
			t.Errorf("p %g: another key drops the same", p)
		}
	}
}

// crossEntropyOn returns the loss and gradients of some rows.
func crossEntropyOn(t *testing.T, dev tensor.Device, x *array, w *Value, labels []int32, denom float64) (loss float64, dx, dw []float64) {
	t.Helper()
	arena := tensor.NewArena(dev)
	defer arena.Close()
	tape := NewTape(arena)
	defer tape.Close()
	in := tape.Leaf(x.tensor(tape, tensor.F32))
	grads := Grads{}
	defer grads.Release()
	l := CrossEntropy(in, Affine{W: w}, labels, denom)
	Backward(l, grads)
	return l.T.Item(), grads[in].F64s(), grads[w].F64s()
}

// TestCrossEntropyLean: where memory is saved fewer rows are multiplied at once, and no
// bit changes.
func TestCrossEntropyLean(t *testing.T) {
	for _, s := range [][2]int{{100, 49152}, {33, 150_000}} {
		n, v := s[0], s[1]
		run := func(lean bool) (loss float64, dx []float64, peak int) {
			cpu, g := newCPU(t), newGen("lean")
			x, w, labels := g.arr(1, n, 70), param(t, cpu, g, false, 1, v, 70), g.ids(n, v)
			from, _, _ := cpu.MemoryStats()
			arena := tensor.NewArena(cpu)
			defer arena.Close()
			tape := NewTape(arena)
			defer tape.Close()
			tape.lean = lean
			in := tape.Leaf(x.tensor(tape, tensor.F32))
			grads := Grads{}
			defer grads.Release()
			l := CrossEntropy(in, Affine{W: w}, labels, 1)
			Backward(l, grads)
			_, _, peak = cpu.MemoryStats()
			return l.T.Item(), grads[in].F64s(), peak - from
		}
		loss, dx, peak := run(false)
		leanLoss, leanDX, leanPeak := run(true)
		if loss != leanLoss || !slices.Equal(dx, leanDX) {
			t.Errorf("%d rows of %d: another result", n, v)
		}
		if 2*leanPeak > peak && n > 33 {
			t.Errorf("%d rows of %d: %d bytes, without saving %d", n, v, leanPeak, peak)
		}
	}
}

// TestCrossEntropyMemory goes by chunks of rows: the matrix of logits never
// exists, and the result is that of the rows by themselves.
func TestCrossEntropyMemory(t *testing.T) {
	cpu := newCPU(t)
	const n, v, c = 520, 49152, 2
	g := newGen("memory")
	x, w, labels := g.arr(1, n, c), param(t, cpu, g, true, 1, v, c), g.ids(n, v)
	for i := 0; i < n; i += 5 {
		labels[i] = Ignore
	}
	loss, dx, dw := crossEntropyOn(t, cpu, x, w, labels, 100)
	_, _, peak := cpu.MemoryStats()
	if most := 72 << 20; peak > most {
		t.Errorf("peak of %d bytes, want at most %d; all logits are %d", peak, most, 4*n*v)
	}
	var sum float64
	var parts []float64
	dws := make([]float64, len(dw))
	for lo := 0; lo < n; lo += 104 {
		l, d, e := crossEntropyOn(t, cpu, &array{shape: []int{104, c}, data: x.data[lo*c : (lo+104)*c]}, w, labels[lo:lo+104], 100)
		sum, parts = sum+l, append(parts, d...)
		for i, v := range e {
			dws[i] += v
		}
	}
	if err := golden.Compare(golden.Scores, "loss", nil, []float64{loss}, []float64{sum}); err != nil {
		t.Error(err)
	}
	if err := golden.Compare(golden.Exact, "dx", x.shape, dx, parts); err != nil {
		t.Error(err)
	}
	if err := golden.Compare(golden.Scores, "dw", w.Shape(), dw, dws); err != nil {
		t.Error(err)
	}
}

// TestCrossEntropyIgnore leaves out rows without label, before the product.
func TestCrossEntropyIgnore(t *testing.T) {
	cpu := newCounting(t)
	g := newGen("ignore")
	x, w := g.arr(1, 6, 5), param(t, cpu, g, true, 1, 11, 5)
	for _, labels := range [][]int32{
		{1, 2, 3, 4, 5, 6}, {Ignore, 2, 3, Ignore, 5, Ignore}, {Ignore, Ignore, 3, 4, 5, Ignore}, {Ignore, Ignore, Ignore, Ignore, Ignore, 10},
		{Ignore, Ignore, Ignore, Ignore, Ignore, Ignore},
	} {
		cpu.rows = 0
		loss, dx, dw := crossEntropyOn(t, cpu, x, w, labels, 3)
		n := 0
		for i, l := range labels {
			if l != Ignore {
				n++
			} else if !slices.Equal(dx[i*5:(i+1)*5], make([]float64, 5)) {
				t.Errorf("%v: row %d has no label and gradient %v", labels, i, dx[i*5:(i+1)*5])
			}
		}
		// Logits and dx have a row each; dw has a row a word, if there is anything.
		if want := 2*n + map[bool]int{true: 11}[n > 0]; cpu.rows != want {
			t.Errorf("%v: %d rows of products, want %d", labels, cpu.rows, want)
		}
		if n > 0 && !(loss > 0) || n == 0 && loss != 0 {
			t.Errorf("%v: loss %g", labels, loss)
		}
		if zero := !slices.ContainsFunc(dw, func(v float64) bool { return v != 0 }); zero != (n == 0) {
			t.Errorf("%v: dw is %v", labels, dw)
		}
	}
}

// TestNaN asks that a NaN in an operand is in the result, and one in dz in the
// gradients: nothing hides a broken number.
func TestNaN(t *testing.T) {
	cpu, far := tensor.NewCPU(1), devicetest.NewFar()
	defer cpu.Close()
	isNaN := func(x []float64) bool { return slices.ContainsFunc(x, math.IsNaN) }
	cases(t, small, func(t *testing.T, o *op, c *opCase) {
		for _, dev := range []tensor.Device{cpu, far} {
			for i, a := range c.in {
				if a == nil {
					continue
				}
				nan := *c
				nan.in = slices.Clone(c.in)
				nan.in[i] = &array{a.shape, slices.Repeat([]float64{math.NaN()}, len(a.data))}
				if r := o.eval(t, dev, tensor.F32, &nan, nil); !isNaN(r.z) {
					t.Errorf("%s: operand %d is NaN, the result is not: %v", dev.Name(), i, r.z)
				}
			}
			r := o.eval(t, dev, tensor.F32, c, func(n int) []float64 { return slices.Repeat([]float64{math.NaN()}, n) })
			for i, g := range r.grads {
				if g != nil && !isNaN(g) {
					t.Errorf("%s: dz is NaN, gradient %d is not: %v", dev.Name(), i, g)
				}
			}
		}
	})
}

// TestShapes: a mistake in model code panics with a ShapeError.
func TestShapes(t *testing.T) {
	cpu := newCPU(t)
	arena := tensor.NewArena(cpu)
	defer arena.Close()
	tape := NewTape(arena)
	v := func(shape ...int) *Value { return tape.Leaf(arena.New(tensor.F32, shape...).Fill(1)) }
	f64 := tape.Leaf(arena.New(tensor.F64, 2, 3).Fill(1))
	for name, f := range map[string]func(){
		"add":                             func() { v(2, 3).Add(v(2)) },
		"sub":                             func() { v(2, 3).Sub(v(4, 3)) },
		"mul":                             func() { v(2, 3).Mul(v(3, 2)) },
		"div":                             func() { v(3).Div(v(2, 2)) },
		"two element types":               func() { v(2, 3).Add(f64) },
		"broadcast, two types":            func() { v(3).Mul(f64) },
		"reshape":                         func() { v(2, 3).Reshape(5) },
		"permute: axes":                   func() { v(2, 3).Permute(0) },
		"permute: twice":                  func() { v(2, 3).Permute(1, 1) },
		"permute: beyond":                 func() { v(2, 3).Permute(0, 2) },
		"broadcast":                       func() { v(2, 3).BroadcastTo(2, 4) },
		"broadcast: fewer axes":           func() { v(2, 3).BroadcastTo(3) },
		"narrow: axis":                    func() { v(2, 3).Narrow(2, 0, 1) },
		"narrow: range":                   func() { v(2, 3).Narrow(1, 1, 4) },
		"narrow: backwards":               func() { v(2, 3).Narrow(1, 2, 1) },
		"concat: axis":                    func() { Concat(-1, v(2, 3), v(2, 3)) },
		"concat: axis beyond":             func() { Concat(2, v(2, 3), v(2, 3)) },
		"concat: other axes":              func() { Concat(0, v(2, 3), v(2, 4)) },
		"concat: nothing":                 func() { Concat(0) },
		"matmul":                          func() { v(2, 3).MatMul(v(2, 3)) },
		"matmul: leading axes":            func() { v(2, 2, 3).MatMul(v(3, 3, 2)) },
		"matmulT":                         func() { v(2, 3).MatMulT(v(3, 2)) },
		"matmulTA":                        func() { v(2, 3).MatMulTA(v(3, 3)) },
		"matmul, two types":               func() { f64.MatMulT(v(2, 3)) },
		"softmax: empty":                  func() { v(2, 0).Softmax() },
		"max: empty":                      func() { v(2, 0).Max() },
		"rmsnorm":                         func() { v(2, 3).RMSNorm(v(2), 1e-5) },
		"swiglu":                          func() { v(2, 3).SwiGLU(v(3)) },
		"rope: two axes":                  func() { v(2, 4).RoPE(v(2, 2).T, v(2, 2).T) },
		"rope: odd":                       func() { v(2, 1, 3).RoPE(v(2, 1).T, v(2, 1).T) },
		"rope: angles":                    func() { v(2, 1, 4).RoPE(v(2, 1).T, v(2, 1).T) },
		"rope: sines":                     func() { v(2, 1, 4).RoPE(v(2, 2).T, v(1, 2).T) },
		"rope: rows":                      func() { v(3, 1, 4).RoPE(v(2, 2).T, v(2, 2).T) },
		"attention: axes":                 func() { v(2, 3, 4).Attention(v(2, 3, 4), v(2, 3, 4), Mask{}, 1) },
		"attention: more queries":         func() { v(1, 3, 2, 4).Attention(v(1, 2, 2, 4), v(1, 2, 2, 4), Mask{}, 1) },
		"attention: heads":                func() { v(1, 3, 3, 4).Attention(v(1, 3, 2, 4), v(1, 3, 2, 4), Mask{}, 1) },
		"attention: sizes":                func() { v(1, 3, 2, 4).Attention(v(1, 3, 2, 6), v(1, 3, 2, 6), Mask{}, 1) },
		"attention: values":               func() { v(1, 3, 2, 4).Attention(v(1, 3, 2, 4), v(1, 4, 2, 4), Mask{}, 1) },
		"attention: starts":               func() { v(1, 3, 2, 4).Attention(v(1, 3, 2, 4), v(1, 3, 2, 4), Mask{Starts: make([]int32, 2)}, 1) },
		"attention: window":               func() { v(1, 3, 2, 4).Attention(v(1, 3, 2, 4), v(1, 3, 2, 4), Mask{Window: -1}, 1) },
		"affine":                          func() { v(2, 3).Affine(Affine{W: v(4, 2)}) },
		"affine: bias":                    func() { v(2, 3).Affine(Affine{W: v(4, 3), Bias: v(3)}) },
		"affine: A":                       func() { v(2, 3).Affine(Affine{W: v(4, 3), A: v(2, 4), B: v(4, 2)}) },
		"affine: B":                       func() { v(2, 3).Affine(Affine{W: v(4, 3), A: v(2, 3), B: v(3, 2)}) },
		"embedding: id":                   func() { tape.Embedding(v(4, 2), []int32{4}) },
		"embedding: negative id":          func() { tape.Embedding(v(4, 2), []int32{-1}) },
		"embedding: a vector":             func() { tape.Embedding(v(4), []int32{0}) },
		"cross-entropy: labels":           func() { CrossEntropy(v(2, 3), Affine{W: v(4, 3)}, []int32{1}, 1) },
		"cross-entropy: label":            func() { CrossEntropy(v(1, 3), Affine{W: v(4, 3)}, []int32{4}, 1) },
		"cross-entropy: -1":               func() { CrossEntropy(v(1, 3), Affine{W: v(4, 3)}, []int32{-1}, 1) },
		"cross-entropy: head":             func() { CrossEntropy(v(1, 3), Affine{W: v(4, 2)}, []int32{1}, 1) },
		"cross-entropy of logits: labels": func() { CrossEntropyLogits(v(2, 3), []int32{1}, 1) },
		"cross-entropy of logits: label":  func() { CrossEntropyLogits(v(1, 3), []int32{3}, 1) },
		"dropout":                         func() { v(3).Dropout(1, 0) },
		"dropout: negative":               func() { v(3).Dropout(-0.1, 0) },
		"backward":                        func() { Backward(v(2).Scale(2), Grads{}) },
	} {
		err := tensor.Try(func() error { f(); return nil })
		var shape *tensor.ShapeError
		if !errors.As(err, &shape) {
			t.Errorf("%s: %v, want a ShapeError", name, err)
		} else if strings.Contains(err.Error(), "\n") || len(shape.Want) == 0 {
			t.Errorf("%s: the error says %q", name, err)
		}
	}
	tape.Close()
}

// TestMisuse panics with a text.
func TestMisuse(t *testing.T) {
	cpu := newCPU(t)
	arena := tensor.NewArena(cpu)
	defer arena.Close()
	one, two := NewTape(arena), NewTape(arena)
	x, y := one.Leaf(arena.New(tensor.F32, 2).Fill(1)), two.Leaf(arena.New(tensor.F32, 2).Fill(1))
	w := &Value{T: x.T, Trainable: true}
	for name, f := range map[string]func(){
		"two tapes":        func() { x.Mul(y) },
		"parameters alone": func() { w.Mul(w) },
		"what is of the outer tape, within Recompute": func() {
			Recompute(x, func(v *Value) *Value { return v.Add(one.Input(x.T).Mul(w)) })
		},
		"a gradient from outside of Recompute": func() {
			Recompute(x, func(v *Value) *Value { return v.Mul(x.Exp()) })
		},
	} {
		func() {
			defer func() {
				if p := recover(); p == nil || !strings.HasPrefix(fmt.Sprint(p), "autograd: ") {
					t.Errorf("%s: panicked with %v, want autograd's own words", name, p)
				}
			}()
			f()
		}()
	}
	one.Close()
	two.Close()
}

// TestAffinesUnused: a member of a group on whose result nothing depends gets no
// gradient, and the others and x the same as without it.
func TestAffinesUnused(t *testing.T) {
	cpu := newCPU(t)
	g := newGen("unused")
	arena := tensor.NewArena(cpu)
	defer arena.Close()
	tape := NewTape(arena)
	leaf := func(shape ...int) *Value { return tape.Leaf(g.arr(1, shape...).tensor(tape, tensor.F32)) }
	x, group := leaf(7, 5), make([]Affine, 3)
	for i := range group {
		group[i] = Affine{W: leaf(4, 5), A: leaf(3, 5), B: leaf(4, 3), Scale: 2}
	}
	gradients := func(y []*Value) Grads {
		grads := Grads{}
		Backward(y[0].Add(y[len(y)-1]).SumAll(), grads)
		return grads
	}
	got, want := gradients(Affines(nil, x, group)), gradients(Affines(nil, x, []Affine{group[0], group[2]}))
	defer got.Release()
	defer want.Release()
	if got[group[1].A] != nil || got[group[1].B] != nil || got[group[1].W] != nil {
		t.Error("a member that leads nowhere has a gradient")
	}
	if len(got) != 7 || len(want) != 7 {
		t.Errorf("%d and %d gradients, want 7", len(got), len(want))
	}
	for v, w := range want {
		if err := golden.Compare(golden.Sums, "gradient", v.Shape(), got[v].F64s(), w.F64s()); err != nil {
			t.Error(err)
		}
	}
}

// TestKeptAgain: what is cheap to compute again is not kept.
func TestKeptAgain(t *testing.T) {
	cpu := newCPU(t)
	g := newGen("again")
	arena := tensor.NewArena(cpu)
	defer arena.Close()
	tape := NewTape(arena)
	defer tape.Close()
	leaf := func(shape ...int) *Value { return tape.Leaf(g.arr(1, shape...).tensor(tape, tensor.F32)) }
	x, w := leaf(7, 5), leaf(5)
	norm := x.RMSNorm(w, 1e-5)
	y := Affines(nil, norm, []Affine{{W: leaf(4, 5)}, {W: leaf(4, 5)}})
	product := y[0].SwiGLU(y[1])
	product.Affine(Affine{W: leaf(3, 4)})
	for _, n := range tape.nodes {
		for _, k := range n.keep {
			if b, _ := k.Buffer(); b == buffer(norm) || b == buffer(product) {
				t.Errorf("a tensor of shape %v is kept that could be computed again", k.Shape())
			}
		}
	}
}

func buffer(v *Value) tensor.Buffer {
	b, _ := v.T.Buffer()
	return b
}
