package autograd

import (
	"math"
	"slices"

	"github.com/tenon-ml/tenon/internal/golden"
	"github.com/tenon-ml/tenon/tensor"
)

// op is a row of the table of operations: what every check in this package is
// driven by.
type op struct {
	name    string       // as in the source: Add, Tape.Embedding
	class   golden.Class // of the tolerance in F32
	goldens []string     // files testdata/ops/NAME.*.safetensors
	none    string       // why there are none
	inputs  []string     // names in the goldens, in the order of opCase.in
	run     func(t *Tape, in []*Value, c *opCase) *Value
	// make returns random cases: small ones for finite differences, odd ones for
	// comparison with F64, large ones that are split among threads.
	make func(r *gen, s size) []*opCase
	// golden, if set, takes what else there is in a golden.
	golden func(g *golden.File, c *opCase)
}

type size int

const (
	small size = iota
	odd
	large
)

// array is numbers and their shape, on no device.
type array struct {
	shape []int
	data  []float64
}

// opCase is one call of an operation. The exported fields are those of the
// goldens' attrs.
type opCase struct {
	in       []*array // operands with a gradient; nil: absent
	ids      []int32  // ids or labels
	cos, sin *array
	p        float64 // dropout
	mask     []bool  // of the result's elements that mean something; nil: all
	see      Mask    // of attention

	Scale, Eps, Divisor float64
	Axis, Start, End    int
	Perm, Shape         []int
}

// masks returns what attention of b rows of tq queries and tk keys is tried with:
// all keys, a window, documents that share a row, and both.
func masks(b, tq, tk int) []Mask {
	var starts []int32
	for r := range b {
		for t := range tq {
			own := tk - tq + t
			starts = append(starts, int32(own-own%(tk/3+r+1)))
		}
	}
	w := tk/2 + 1
	return []Mask{{}, {Window: w}, {Starts: starts}, {Window: w, Starts: starts}}
}

// gen makes random operands.
type gen struct{ r *tensor.Random }

func newGen(name string) *gen { return &gen{tensor.NewRandom(7, name)} }

// arr returns normally distributed numbers that F32 can hold.
func (g *gen) arr(scale float64, shape ...int) *array {
	f := make([]float32, tensor.Shape(shape).Elems())
	g.r.Normal(f, 0, scale)
	a := &array{shape: shape, data: make([]float64, len(f))}
	for i, v := range f {
		a.data[i] = float64(v)
	}
	return a
}

// positive returns numbers of at least 1/4.
func (g *gen) positive(shape ...int) *array {
	a := g.arr(1, shape...)
	for i, v := range a.data {
		a.data[i] = float64(float32(math.Abs(v) + 0.25))
	}
	return a
}

// away returns numbers of at least 1/2 in size.
func (g *gen) away(shape ...int) *array {
	a := g.arr(1, shape...)
	for i, v := range a.data {
		a.data[i] = float64(float32(v + math.Copysign(0.5, v)))
	}
	return a
}

// ids returns n numbers below v.
func (g *gen) ids(n, v int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(g.r.Uint32() % uint32(v))
	}
	return ids
}

func each(shapes [][]int, f func(shape []int) *opCase) []*opCase {
	var out []*opCase
	for _, s := range shapes {
		out = append(out, f(s))
	}
	return out
}

// flat are the shapes for operations without structure.
func flat(s size) [][]int {
	return [size(3)][][]int{
		{{1}, {2, 3}},
		{{1, 1}, {3, 67}, {2, 3, 129}},
		{{37, 1501}},
	}[s]
}

func unaryOp(f func(*Value) *Value, of func(g *gen, shape []int) *array) op {
	return op{
		inputs: []string{"x"},
		run:    func(_ *Tape, in []*Value, _ *opCase) *Value { return f(in[0]) },
		make: func(g *gen, s size) []*opCase {
			return each(flat(s), func(shape []int) *opCase { return &opCase{in: []*array{of(g, shape)}} })
		},
	}
}

func normal(scale float64) func(g *gen, shape []int) *array {
	return func(g *gen, shape []int) *array { return g.arr(scale, shape...) }
}

func positive(g *gen, shape []int) *array { return g.positive(shape...) }

func binaryOp(f func(x, y *Value) *Value) op {
	return op{
		inputs: []string{"x", "y"},
		run:    func(_ *Tape, in []*Value, _ *opCase) *Value { return f(in[0], in[1]) },
		make: func(g *gen, s size) []*opCase {
			shapes := [size(3)][][2][]int{
				{{{2, 3}, {2, 3}}, {{2, 3}, {3}}, {{2, 1}, {1, 3}}, {{2, 3}, {1}}, {{3}, {2, 1, 3}}, {{2, 1, 2}, {3, 1}}},
				{{{5, 67}, {5, 67}}, {{2, 3, 33}, {33}}, {{2, 3, 33}, {3, 1}}, {{9, 1}, {1, 13}}, {{1}, {7, 5}}},
				{{{37, 1501}, {37, 1501}}, {{37, 1501}, {1501}}, {{37, 1501}, {37, 1}}},
			}[s]
			var out []*opCase
			for _, sh := range shapes {
				out = append(out, &opCase{in: []*array{g.arr(1, sh[0]...), g.away(sh[1]...)}})
			}
			return out
		},
	}
}

func matmulOp(f func(x, y *Value) *Value, tx, ty bool) op {
	return op{
		inputs: []string{"x", "y"},
		run:    func(_ *Tape, in []*Value, _ *opCase) *Value { return f(in[0], in[1]) },
		make: func(g *gen, s size) []*opCase {
			var out []*opCase
			for _, c := range [size(3)][][4]int{ // leading axis (0: none), M, N, K
				{{0, 2, 3, 4}, {2, 3, 2, 1}},
				{{0, 1, 33, 65}, {3, 7, 5, 130}, {0, 67, 71, 131}, {0, 5, 1, 257}},
				{{0, 130, 257, 150}, {2, 97, 65, 80}, {0, 3, 700, 333}},
			}[s] {
				xs, ys := []int{c[1], c[3]}, []int{c[3], c[2]}
				if tx {
					slices.Reverse(xs)
				}
				if ty {
					slices.Reverse(ys)
				}
				if c[0] != 0 {
					xs, ys = append([]int{c[0]}, xs...), append([]int{c[0]}, ys...)
				}
				out = append(out, &opCase{in: []*array{g.arr(1, xs...), g.arr(1, ys...)}})
			}
			if s != large && !tx { // a matrix shared by all leading axes
				y := []int{5, 3}
				if ty {
					y = []int{3, 5}
				}
				out = append(out, &opCase{in: []*array{g.arr(1, 2, 2, 5), g.arr(1, y...)}})
			}
			return out
		},
	}
}

// shaped is a unary operation with the shapes and constants of its own cases.
func shaped(f func(x *Value, c *opCase) *Value, cases func(s size) []opCase, shapes func(s size) [][]int) op {
	return op{
		inputs: []string{"x"},
		run:    func(_ *Tape, in []*Value, c *opCase) *Value { return f(in[0], c) },
		make: func(g *gen, s size) []*opCase {
			var out []*opCase
			for i, c := range cases(s) {
				c.in = []*array{g.arr(1, shapes(s)[i]...)}
				out = append(out, &c)
			}
			return out
		},
	}
}

// named completes a row.
func named(name string, class golden.Class, goldens string, o op) op {
	o.name, o.class = name, class
	if goldens != "" {
		o.goldens = []string{goldens}
	}
	return o
}

func without(reason string, o op) op {
	o.none = reason
	return o
}

// axis returns an axis of a golden, counted from the front.
func (c *opCase) axis(rank int) int { return (c.Axis + rank) % rank }

// affineOf returns the Affine of an operation's operands W, bias, A, B, bbias.
func affineOf(in []*Value, c *opCase) Affine {
	a := Affine{W: in[0], Bias: in[1], A: in[2], B: in[3], BBias: in[4], Scale: c.Scale}
	if c.p != 0 {
		a.Dropout, a.DropoutKey = c.p, 11
	}
	return a
}

// unit is the scale of a matrix's elements with which sums of n products are of
// size 1.
func unit(n int) float64 { return 1 / math.Sqrt(float64(n)) }

// affineCases returns operands x [.., in], W, bias, A, B and bbias in several
// combinations.
func affineCases(g *gen, s size, lead ...int) []*opCase {
	var out []*opCase
	for _, c := range [size(3)][]struct {
		in, out, r int // r 0: no low-rank term
		bias       bool
		p          float64
	}{
		{{3, 4, 0, false, 0}, {3, 4, 2, true, 0}, {4, 3, 2, false, 0.4}},
		{{33, 17, 0, true, 0}, {65, 130, 8, false, 0}, {64, 31, 16, true, 0.1}},
		{{130, 257, 8, true, 0.1}, {257, 130, 64, false, 0}},
	}[s] {
		k := &opCase{Scale: 1.5, p: c.p, in: []*array{g.arr(1, append(slices.Clone(lead), c.in)...), g.arr(unit(c.in), c.out, c.in), nil, nil, nil, nil}}
		if c.bias {
			k.in[2] = g.arr(1, c.out)
		}
		if c.r > 0 {
			k.in[3], k.in[4] = g.arr(unit(c.in), c.r, c.in), g.arr(unit(c.r), c.out, c.r)
			if c.bias {
				k.in[5] = g.arr(1, c.out)
			}
		}
		out = append(out, k)
	}
	return out
}

// ops is the table.
var ops = []op{
	named("Value.Add", golden.Sums, "add", binaryOp((*Value).Add)),
	named("Value.Sub", golden.Sums, "sub", binaryOp((*Value).Sub)),
	named("Value.Mul", golden.Sums, "mul", binaryOp((*Value).Mul)),
	named("Value.Div", golden.Sums, "div", binaryOp((*Value).Div)),
	named("Value.Scale", golden.Rounded, "scale", shaped(
		func(x *Value, c *opCase) *Value { return x.Scale(c.Scale) },
		func(size) []opCase { return []opCase{{Scale: -1.75}} },
		func(s size) [][]int { return flat(s) })),
	named("Value.Neg", golden.Exact, "neg", unaryOp((*Value).Neg, normal(1))),
	named("Value.Exp", golden.Function, "exp", unaryOp((*Value).Exp, normal(2))),
	named("Value.Log", golden.Function, "log", unaryOp((*Value).Log, positive)),
	named("Value.Sqrt", golden.Function, "sqrt", unaryOp((*Value).Sqrt, positive)),
	named("Value.Rsqrt", golden.Function, "rsqrt", unaryOp((*Value).Rsqrt, positive)),
	named("Value.Sigmoid", golden.Normed, "sigmoid", unaryOp((*Value).Sigmoid, normal(3))),
	named("Value.SiLU", golden.Normed, "silu", unaryOp((*Value).SiLU, normal(3))),
	named("Value.MatMul", golden.Sums, "matmul", matmulOp((*Value).MatMul, false, false)),
	named("Value.MatMulT", golden.Sums, "matmulT", matmulOp((*Value).MatMulT, false, true)),
	named("Value.MatMulTA", golden.Sums, "matmulTA", matmulOp((*Value).MatMulTA, true, false)),
	named("Value.Max", golden.Exact, "max", unaryOp((*Value).Max, normal(1))),
	named("Value.Sum", golden.Sums, "sum", unaryOp((*Value).Sum, positive)),
	named("Value.Mean", golden.Sums, "mean", unaryOp((*Value).Mean, positive)),
	named("Value.SumAll", golden.Scores, "", without("Sum of a reshaped value", unaryOp((*Value).SumAll, positive))),
	named("Value.Softmax", golden.Scores, "softmax", unaryOp((*Value).Softmax, normal(2))),
	named("Value.Reshape", golden.Exact, "reshape", shaped(
		func(x *Value, c *opCase) *Value { return x.Reshape(c.Shape...) },
		func(s size) []opCase {
			return [size(3)][]opCase{{{Shape: []int{6}}}, {{Shape: []int{3, 67}}}, {{Shape: []int{1501, 37}}}}[s]
		},
		func(s size) [][]int { return [size(3)][][]int{{{2, 3}}, {{67, 1, 3}}, {{37, 1501}}}[s] })),
	named("Value.Permute", golden.Exact, "permute", shaped(
		func(x *Value, c *opCase) *Value { return x.Permute(c.Perm...) },
		func(s size) []opCase {
			return [size(3)][]opCase{
				{{Perm: []int{1, 0}}, {Perm: []int{2, 0, 1}}}, {{Perm: []int{0, 2, 1, 3}}, {Perm: []int{2, 0, 1}}}, {{Perm: []int{1, 0}}},
			}[s]
		},
		func(s size) [][]int {
			return [size(3)][][]int{{{2, 3}, {2, 3, 2}}, {{2, 33, 3, 5}, {5, 7, 9}}, {{37, 1501}}}[s]
		})),
	named("Value.BroadcastTo", golden.Sums, "", without("its gradient is the sum of Add's", shaped(
		func(x *Value, c *opCase) *Value { return x.BroadcastTo(c.Shape...) },
		func(s size) []opCase {
			return [size(3)][]opCase{
				{{Shape: []int{2, 3}}, {Shape: []int{2, 2, 3}}}, {{Shape: []int{7, 33}}}, {{Shape: []int{1, 37, 1501}}},
			}[s]
		},
		func(s size) [][]int { return [size(3)][][]int{{{3}, {2, 1, 3}}, {{1, 33}}, {{37, 1501}}}[s] }))),
	named("Value.Narrow", golden.Exact, "slice", shaped(
		func(x *Value, c *opCase) *Value { return x.Narrow(c.axis(len(x.Shape())), c.Start, c.End) },
		func(s size) []opCase {
			return [size(3)][]opCase{
				{{Axis: 0, Start: 1, End: 3}, {Axis: 1, Start: 0, End: 2}}, {{Axis: 1, Start: 2, End: 5}, {Axis: 2, Start: 6, End: 7}},
				{{Axis: 1, Start: 3, End: 1400}},
			}[s]
		},
		func(s size) [][]int {
			return [size(3)][][]int{{{3, 2}, {2, 3}}, {{3, 5, 7}, {3, 5, 7}}, {{37, 1501}}}[s]
		})),
	named("Concat", golden.Exact, "concat", op{
		inputs: []string{"x", "y"},
		run: func(_ *Tape, in []*Value, c *opCase) *Value {
			return Concat(c.axis(len(in[0].Shape())), in...)
		},
		make: func(g *gen, s size) []*opCase {
			switch s {
			case small:
				return []*opCase{
					{in: []*array{g.arr(1, 2, 2), g.arr(1, 1, 2)}},
					{Axis: 1, in: []*array{g.arr(1, 2, 2), g.arr(1, 2, 1), g.arr(1, 2, 3)}},
				}
			case odd:
				return []*opCase{{Axis: 1, in: []*array{g.arr(1, 3, 5, 7), g.arr(1, 3, 33, 7)}}}
			}
			return []*opCase{{Axis: 1, in: []*array{g.arr(1, 37, 1501), g.arr(1, 37, 77)}}}
		},
	}),
	named("Value.RMSNorm", golden.Normed, "rmsnorm", op{
		inputs: []string{"x", "weight"},
		run:    func(_ *Tape, in []*Value, c *opCase) *Value { return in[0].RMSNorm(in[1], c.Eps) },
		make: func(g *gen, s size) []*opCase {
			shapes := [size(3)][][]int{{{2, 3}, {1, 2, 2}}, {{3, 67}, {2, 5, 33}, {1, 576}}, {{131, 257}}}[s]
			return each(shapes, func(sh []int) *opCase {
				return &opCase{Eps: 1e-5, in: []*array{g.arr(1, sh...), g.away(sh[len(sh)-1])}}
			})
		},
	}),
	named("Value.RoPE", golden.Sums, "rope", op{
		inputs: []string{"x"},
		run: func(t *Tape, in []*Value, c *opCase) *Value {
			x := in[0]
			if len(x.Shape()) == 4 {
				x = x.Reshape(x.Shape()[0]*x.Shape()[1], x.Shape()[2], x.Shape()[3])
			}
			return x.RoPE(c.cos.tensor(t, tensor.F32), c.sin.tensor(t, tensor.F32))
		},
		golden: func(g *golden.File, c *opCase) {
			half := func(name string) *array { // the reference repeats each angle
				s, d := g.Shape(name), g.Floats(name)
				n := s[len(s)-1]
				out := &array{shape: []int{len(d) / n, n / 2}}
				for i := 0; i < len(d); i += n {
					out.data = append(out.data, d[i:i+n/2]...)
				}
				return out
			}
			c.cos, c.sin = half("in.cos"), half("in.sin")
			g.Ints("in.positions") // cos and sin hold their angles
		},
		make: func(g *gen, s size) []*opCase {
			var out []*opCase
			for _, c := range [size(3)][][4]int{{{2, 1, 2, 2}, {4, 2, 4, 2}}, {{6, 3, 10, 3}, {66, 2, 64, 33}}, {{130, 9, 64, 130}}}[s] {
				out = append(out, &opCase{in: []*array{g.arr(1, c[:3]...)}, cos: g.arr(1, c[3], c[2]/2), sin: g.arr(1, c[3], c[2]/2)})
			}
			return out
		},
	}),
	named("Value.SwiGLU", golden.Normed, "swiglu", op{
		inputs: []string{"gate", "up"},
		run:    func(_ *Tape, in []*Value, _ *opCase) *Value { return in[0].SwiGLU(in[1]) },
		make: func(g *gen, s size) []*opCase {
			return each(flat(s), func(sh []int) *opCase { return &opCase{in: []*array{g.arr(3, sh...), g.arr(1, sh...)}} })
		},
	}),
	named("Value.Attention", golden.Scores, "attention", op{
		inputs: []string{"q", "k", "v"},
		run:    func(_ *Tape, in []*Value, c *opCase) *Value { return in[0].Attention(in[1], in[2], c.see, c.Scale) },
		golden: func(g *golden.File, c *opCase) {
			if !g.Has("in.lengths") {
				return
			}
			// A row of a batch is padded at its end: causal attention never sees it
			// from before, and what comes of it means nothing.
			s, lengths := g.Shape("out.z"), g.Ints("in.lengths")
			c.mask = make([]bool, tensor.Shape(s).Elems())
			for i := range c.mask {
				token := i / (s[2] * s[3])
				c.mask[i] = token%s[1] < int(lengths[token/s[1]])
			}
		},
		make: func(g *gen, s size) []*opCase {
			var out []*opCase
			for _, c := range [size(3)][][6]int{ // B, Tq, Tk, H, KV, D
				{{1, 3, 3, 2, 1, 2}, {2, 2, 4, 2, 2, 2}},
				{{1, 130, 130, 3, 1, 16}, {2, 1, 67, 6, 2, 20}, {1, 65, 131, 4, 2, 17}, {2, 33, 33, 9, 3, 64}, {1, 3, 200, 5, 5, 8}},
				{{1, 257, 257, 6, 2, 32}, {2, 70, 140, 4, 1, 16}},
			}[s] {
				for _, see := range masks(c[0], c[1], c[2]) {
					out = append(out, &opCase{see: see, Scale: 1 / math.Sqrt(float64(c[5])), in: []*array{
						g.arr(2, c[0], c[1], c[3], c[5]), g.arr(1, c[0], c[2], c[4], c[5]), g.arr(1, c[0], c[2], c[4], c[5]),
					}})
				}
			}
			return out
		},
	}),
	named("Value.Affine", golden.Sums, "", op{
		goldens: []string{"linear", "lowrank"},
		inputs:  []string{"x", "weight", "bias", "a", "b", "bbias"},
		run:     func(_ *Tape, in []*Value, c *opCase) *Value { return in[0].Affine(affineOf(in[1:], c)) },
		make: func(g *gen, s size) []*opCase {
			lead := [size(3)][]int{{2}, {3, 23}, {150}}[s]
			return affineCases(g, s, lead...)
		},
	}),
	named("Affines", golden.Sums, "", without("the goldens of Affine run it as a group of one", op{
		inputs: []string{"x", "weight 1", "bias 1", "a 1", "b 1", "bbias 1", "weight 2", "bias 2", "a 2", "b 2", "bbias 2", "weight 3", "bias 3", "a 3", "b 3", "bbias 3"},
		run: func(_ *Tape, in []*Value, c *opCase) *Value {
			var group []Affine
			for i := 1; i < len(in); i += 5 {
				group = append(group, affineOf(in[i:], c))
			}
			return Concat(len(in[0].Shape())-1, Affines(nil, in[0], group)...)
		},
		make: func(g *gen, s size) []*opCase {
			// Members of several widths and ranks, some of them without low-rank term.
			var out []*opCase
			lead := [size(3)][]int{{2}, {3, 23}, {150}}[s]
			for _, c := range [size(3)][][][2]int{ // out, r
				{{{3, 2}, {2, 0}, {4, 1}}, {{2, 0}, {3, 0}}},
				{{{31, 8}, {17, 3}, {33, 0}}, {{9, 0}, {16, 16}}},
				{{{257, 16}, {64, 4}, {130, 16}}},
			}[s] {
				in := [size(3)]int{3, 65, 130}[s]
				k := &opCase{Scale: 1.5, in: []*array{g.arr(1, append(slices.Clone(lead), in)...)}}
				for i, m := range c {
					w := []*array{g.arr(unit(in), m[0], in), nil, nil, nil, nil}
					if i == 1 {
						w[1] = g.arr(1, m[0])
					}
					if m[1] > 0 {
						w[2], w[3] = g.arr(unit(in), m[1], in), g.arr(unit(m[1]), m[0], m[1])
					}
					if i == 0 && m[1] > 0 {
						w[4] = g.arr(1, m[0])
					}
					k.in = append(k.in, w...)
				}
				out = append(out, k)
			}
			return out
		},
	})),
	named("CrossEntropy", golden.Scores, "cross_entropy", op{
		inputs: []string{"hidden", "weight", "bias", "a", "b", "bbias"},
		run: func(_ *Tape, in []*Value, c *opCase) *Value {
			return CrossEntropy(in[0], affineOf(in[1:], c), c.ids, c.Divisor)
		},
		golden: func(g *golden.File, c *opCase) { c.ids = g.Ints("in.labels") },
		make: func(g *gen, s size) []*opCase {
			n := [size(3)]int{4, 37, 150}[s]
			cases := affineCases(g, s, n)
			for i, c := range cases {
				c.Divisor = 2.5
				c.ids = g.ids(n, c.in[1].shape[0])
				for j := range c.ids {
					if i == 1 && j%3 == 2 || i == 2 && j < 2 {
						c.ids[j] = Ignore
					}
				}
			}
			return cases
		},
	}),
	named("CrossEntropyLogits", golden.Scores, "", without("the goldens of CrossEntropy in F64 run it", op{
		inputs: []string{"logits"},
		run:    func(_ *Tape, in []*Value, c *opCase) *Value { return CrossEntropyLogits(in[0], c.ids, c.Divisor) },
		make: func(g *gen, s size) []*opCase {
			return each([size(3)][][]int{{{3, 4}}, {{37, 130}}, {{150, 257}}}[s], func(sh []int) *opCase {
				c := &opCase{in: []*array{g.arr(2, sh...)}, ids: g.ids(sh[0], sh[1]), Divisor: 2.5}
				c.ids[1] = Ignore
				return c
			})
		},
	})),
	named("Tape.Embedding", golden.Sums, "embedding", op{
		inputs: []string{"weight"},
		run:    func(t *Tape, in []*Value, c *opCase) *Value { return t.Embedding(in[0], c.ids) },
		golden: func(g *golden.File, c *opCase) { c.ids = g.Ints("in.ids") },
		make: func(g *gen, s size) []*opCase {
			c := [size(3)][3]int{{4, 3, 2}, {40, 13, 33}, {300, 50, 257}}[s] // N, V, C
			return []*opCase{{ids: g.ids(c[0], c[1]), in: []*array{g.arr(1, c[1], c[2])}}}
		},
	}),
	named("Tape.ReplaceRows", golden.Exact, "", without("PEFT has it as index_copy, which copies", op{
		inputs: []string{"weight", "rows"},
		run:    func(t *Tape, in []*Value, c *opCase) *Value { return t.ReplaceRows(in[0], in[1], c.ids) },
		make: func(g *gen, s size) []*opCase {
			c := [size(3)][3]int{{4, 2, 3}, {40, 3, 33}, {300, 50, 257}}[s] // V, N, C
			ids := make([]int32, c[1])
			for i := range ids {
				ids[i] = int32(c[0] - 1 - 2*i)
			}
			return []*opCase{{ids: ids, in: []*array{g.arr(1, c[0], c[2]), g.arr(1, c[1], c[2])}}}
		},
	})),
	named("Value.Dropout", golden.Rounded, "", without("PyTorch draws other random numbers; see TestDropout", shaped(
		func(x *Value, c *opCase) *Value { return x.Dropout(c.p, 5) },
		func(size) []opCase { return []opCase{{p: 0.3}} },
		func(s size) [][]int { return flat(s) }))),
}
