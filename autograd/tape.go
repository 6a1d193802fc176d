// Package autograd records what is computed on tensors and derives gradients:
// Value, the tape, the operations with their gradients, and recomputation.
//
// Every operation is written once, its gradient beside it. An operation keeps
// for the backward pass only what the gradients that are wanted need, so frozen
// weights cost neither time nor memory.
package autograd

import (
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/tensor"
)

// Value is a tensor in a computation.
type Value struct {
	T *tensor.Tensor
	// Trainable says that Backward is to collect the gradient of this value: it
	// is a parameter. It is set before a computation, never during one.
	Trainable bool

	tape *Tape // that operations on it are recorded on; nil for parameters
	node int   // 1 + its place on the tape; 0 if nothing trainable led to it
	out  int   // 1 + its place among the results of an operation that has several

	again *again // how to compute it once more; nil: it is not cheap
}

// again says how to compute a tensor once more from others, which is cheaper than
// to keep it for the backward pass.
type again struct {
	from []*tensor.Tensor
	make func() *tensor.Tensor
}

// kept returns what an operation that needs v in its backward pass is to keep, and
// a function that returns v's tensor there.
func (v *Value) kept() (keep []*tensor.Tensor, get func() *tensor.Tensor) {
	if v.again != nil {
		return v.again.from, v.again.make
	}
	t := v.T
	return []*tensor.Tensor{t}, func() *tensor.Tensor { return t }
}

// Param returns a parameter. It is frozen until Trainable is set.
func Param(t *tensor.Tensor) *Value { return &Value{T: t} }

// probed is the node of values on a probing tape that depend on something
// trainable.
const probed = -1

func (v *Value) wants() bool { return v != nil && (v.Trainable || v.node != 0) }

// Shape returns the shape of the value's tensor.
func (v *Value) Shape() tensor.Shape { return v.T.Shape() }

// Tape returns the tape that operations on the value are recorded on.
func (v *Value) Tape() *Tape { return v.tape }

// Tape records the operations of one computation, in order. It belongs to one
// goroutine.
type Tape struct {
	arena *tensor.Arena
	mode  mode
	nodes []node
	grads Grads // being collected, during Backward
	depth int   // of Recompute
	lean  bool  // Recompute was used: memory is to be saved

	// Where nothing is recorded, values are used again. Those in use come first.
	values       []*Value
	used         int
	inner, outer []tensor.Product // of affine layers
}

type mode uint8

const (
	recording mode = iota
	inference      // nothing is recorded
	probing        // only whether a value depends on something trainable
)

type node struct {
	inputs []*Value // nil where no gradient is wanted
	back   func(dz *tensor.Tensor) []*tensor.Tensor
	keep   []*tensor.Tensor
	dz     *tensor.Tensor
	outs   []*tensor.Tensor // dz of each result, if there are several
}

// NewTape returns a tape that records, whose tensors belong to the arena.
func NewTape(a *tensor.Arena) *Tape {
	a.KeepObjects()
	return &Tape{arena: a}
}

// NoGrad returns a tape on which nothing is recorded: for inference. A value ends
// with the scope that it was made in, or with Close, and its object is used again,
// as are those of the arena's tensors: what was computed before allocates nothing.
func NoGrad(a *tensor.Arena) *Tape {
	a.Recycle()
	return &Tape{arena: a, mode: inference}
}

// Arena returns the arena that owns the computation's tensors.
func (t *Tape) Arena() *tensor.Arena { return t.arena }

// Input returns a value of the computation that wants no gradient.
func (t *Tape) Input(x *tensor.Tensor) *Value { return t.value(x.In(t.arena)) }

// value returns a value of the computation that wants no gradient.
func (t *Tape) value(x *tensor.Tensor) *Value {
	if t.mode != inference {
		return &Value{T: x, tape: t}
	}
	if t.used == len(t.values) {
		t.values = append(t.values, new(Value))
	}
	v := t.values[t.used]
	t.used++
	*v = Value{T: x, tape: t}
	return v
}

// Leaf returns a value of the computation whose gradient Backward collects.
func (t *Tape) Leaf(x *tensor.Tensor) *Value {
	return &Value{T: x.In(t.arena), tape: t, Trainable: true}
}

// constant returns an input made of numbers.
func (t *Tape) constant(dt tensor.DType, data []float64, shape ...int) *Value {
	f := make([]float32, len(data))
	for i, v := range data {
		f[i] = float32(v)
	}
	x := t.arena.FromF32(f, shape...)
	if dt == tensor.F64 {
		x = x.To(dt)
	}
	return &Value{T: x, tape: t}
}

// Scope runs f and releases at its end what was made inside, but for the result
// and what gradients keep.
func (t *Tape) Scope(f func() *Value) *Value {
	mark, first := t.arena.Begin(), t.used
	v := f()
	t.arena.End(mark, v.T)
	if i := slices.Index(t.values[first:t.used], v); i >= 0 {
		t.values[first], t.values[first+i] = v, t.values[first]
		first++
	}
	t.used = first
	return v
}

// Close releases what is still kept for gradients that were not asked for. It
// does not close the arena. The tape may be used again, for another computation.
func (t *Tape) Close() {
	for i := range t.nodes {
		t.nodes[i].release()
	}
	clear(t.nodes)
	t.nodes, t.used = t.nodes[:0], 0
}

func (n *node) release() {
	for _, k := range n.keep {
		k.Release()
	}
	if n.dz != nil {
		n.dz.Release()
	}
	for _, d := range n.outs {
		if d != nil {
			d.Release()
		}
	}
	n.keep, n.dz, n.outs, n.back = nil, nil, nil, nil
}

// input is one operand of an operation with the gradient with respect to it,
// which needs the tensors in keep.
type input struct {
	v    *Value
	grad func(dz *tensor.Tensor) *tensor.Tensor
	keep []*tensor.Tensor
}

func wrt(v *Value, grad func(dz *tensor.Tensor) *tensor.Tensor, keep ...*tensor.Tensor) input {
	return input{v, grad, keep}
}

// tapeOf returns the tape of a computation on the given values, nil if they are
// all parameters. Inside of Recompute that is the inner tape, on which constants
// of the outer one may be used.
func tapeOf(values ...*Value) *Tape {
	var t *Tape
	for _, v := range values {
		if v != nil && v.tape != nil && (t == nil || v.tape.depth > t.depth) {
			t = v.tape
		}
	}
	for _, v := range values {
		if v == nil || v.tape == nil || v.tape == t {
			continue
		}
		if v.wants() || v.tape.depth == t.depth && v.tape.mode != t.mode {
			panic("autograd: values of two tapes in one operation")
		}
	}
	return t
}

// unrecorded returns the value z of an operation on which nothing is to be
// recorded, nil if something is. The operations that a decoded token is made of ask
// it before they make a closure, since that is an allocation.
func unrecorded(z *tensor.Tensor, inputs ...*Value) *Value {
	if t := tapeOf(inputs...); t != nil && (t.mode == inference || !slices.ContainsFunc(inputs, (*Value).wants)) {
		return t.value(z)
	}
	return nil
}

// record returns the value z of an operation and, if a gradient is wanted,
// notes how to compute it. Closures and tensors of operands that want none are
// dropped.
func record(name string, z *tensor.Tensor, ins ...input) *Value {
	values := make([]*Value, len(ins))
	for i, in := range ins {
		values[i] = in.v
	}
	var keep []*tensor.Tensor
	for _, in := range ins {
		if in.v.wants() {
			keep = append(keep, in.keep...)
		}
	}
	return recordAll(name, z, values, keep, func(dz *tensor.Tensor, want []bool) []*tensor.Tensor {
		dx := make([]*tensor.Tensor, len(ins))
		for i, in := range ins {
			if want[i] {
				dx[i] = in.grad(dz)
			}
		}
		return dx
	})
}

// recordAll is record for operations whose gradients share work: one function
// returns those that are wanted. It may instead add to a gradient that it got
// from Tape.existing, and return nil for it. keep is what it needs.
func recordAll(name string, z *tensor.Tensor, inputs []*Value, keep []*tensor.Tensor,
	back func(dz *tensor.Tensor, want []bool) []*tensor.Tensor) *Value {
	t := tapeOf(inputs...)
	if t == nil {
		panic("autograd: " + name + " of parameters alone belongs to no computation")
	}
	return t.record(z, inputs, keep, back)
}

// record is recordAll on a given tape, for operations whose only inputs are
// parameters.
func (t *Tape) record(z *tensor.Tensor, inputs []*Value, keep []*tensor.Tensor,
	back func(dz *tensor.Tensor, want []bool) []*tensor.Tensor) *Value {
	v := t.value(z)
	want, any := wanted(inputs)
	switch {
	case !any || t.mode == inference:
		return v
	case t.mode == probing:
		v.node = probed
		return v
	}
	n := node{inputs: make([]*Value, len(inputs))}
	for i, w := range want {
		if w {
			n.inputs[i] = inputs[i]
		}
	}
	for _, k := range keep {
		if k != nil {
			n.keep = append(n.keep, k.Retain())
		}
	}
	n.back = func(dz *tensor.Tensor) []*tensor.Tensor { return back(dz, want) }
	t.nodes = append(t.nodes, n)
	v.node = len(t.nodes)
	return v
}

// recordSeveral is recordAll for operations with several results. back gets dz of
// each, nil where nothing depends on it.
func recordSeveral(name string, z []*tensor.Tensor, inputs []*Value, keep []*tensor.Tensor,
	back func(dz []*tensor.Tensor, want []bool) []*tensor.Tensor) []*Value {
	outs := make([]*tensor.Tensor, len(z))
	first := recordAll(name, z[0], inputs, keep, func(_ *tensor.Tensor, want []bool) []*tensor.Tensor { return back(outs, want) })
	values := make([]*Value, len(z))
	for i := range z {
		v := *first
		v.T, values[i] = z[i], &v
		if v.node > 0 {
			v.out = i + 1
		}
	}
	if first.node > 0 {
		first.tape.nodes[first.node-1].outs = outs
	}
	return values
}

// wanted tells of which inputs the gradient is wanted.
func wanted(inputs []*Value) (want []bool, any bool) {
	want = make([]bool, len(inputs))
	for i, v := range inputs {
		want[i] = v.wants()
		any = any || want[i]
	}
	return want, any
}

// training reports whether an operation on these values will be recorded.
func training(inputs ...*Value) bool {
	t := tapeOf(inputs...)
	_, any := wanted(inputs)
	return any && t != nil && t.mode == recording
}

// Grads holds the gradients of parameters. They belong to the map's owner, who
// releases them. Two of them may share memory (those of x + y do), so they are
// not changed in place unless Exclusive.
type Grads map[*Value]*tensor.Tensor

// Release releases all gradients and empties the map.
func (g Grads) Release() {
	for v, t := range g {
		t.Release()
		delete(g, v)
	}
}

// Backward adds the gradients of loss, a value of one element, to grads. What
// the tape kept is released on the way.
func Backward(loss *Value, grads Grads) {
	if loss.T.Elems() != 1 {
		tensor.Bad("backward", "a loss of one element", loss.T)
	}
	if loss.node == 0 {
		return
	}
	t := loss.tape
	t.arena.Scope(func() []*tensor.Tensor {
		t.backward(loss, t.arena.New(loss.T.DType(), loss.T.Shape()...).Fill(1), grads)
		return nil
	})
}

// backward runs the tape from the value z back, given dz.
func (t *Tape) backward(z *Value, dz *tensor.Tensor, grads Grads) {
	t.grads = grads
	if z.node == 0 { // z is itself a leaf
		t.add(z, dz)
		return
	}
	if z.node > len(t.nodes) {
		panic("autograd: Backward twice on one tape, which keeps nothing after the first time")
	}
	t.add(z, dz)
	for i := len(t.nodes) - 1; i >= 0; i-- { // those after z lead nowhere
		n := &t.nodes[i]
		if n.dz == nil && !slices.ContainsFunc(n.outs, func(d *tensor.Tensor) bool { return d != nil }) {
			n.release()
			continue
		}
		t.arena.Scope(func() []*tensor.Tensor {
			for j, dx := range n.back(n.dz) {
				if dx != nil && n.inputs[j] != nil {
					t.add(n.inputs[j], dx)
				}
			}
			return nil
		})
		n.release()
	}
	t.nodes = t.nodes[:0]
}

// existing returns the gradient that v has so far, if a gradient function may
// add to it in place.
func (t *Tape) existing(v *Value) *tensor.Tensor {
	if g := t.grads[v]; v.Trainable && g != nil && g.Exclusive() {
		return g
	}
	return nil
}

// add adds dx to the gradient of v.
func (t *Tape) add(v *Value, dx *tensor.Tensor) {
	if !dx.Shape().Equal(v.T.Shape()) {
		panic(fmt.Sprintf("autograd: gradient of shape %v for a value of shape %v", dx.Shape(), v.T.Shape()))
	}
	if v.Trainable {
		t.grads[v] = sum(t.grads[v], dx).Detached()
		return
	}
	n := &t.nodes[v.node-1]
	if v.out > 0 {
		n.outs[v.out-1] = sum(n.outs[v.out-1], dx)
		return
	}
	n.dz = sum(n.dz, dx)
}

// sum returns a + b, owned by the caller, who gives up a: in place where no one
// else sees a.
func sum(a, b *tensor.Tensor) *tensor.Tensor {
	switch {
	case a == nil:
		return b.Retain()
	case a.Exclusive():
		a.AddInPlace(b)
		return a
	}
	z := b.Add(a).Retain()
	a.Release()
	return z
}

// Recompute returns f(x) but keeps x alone for the backward pass, which computes
// f again. f must give the same result each time. Besides parameters it may use
// values of the tape that want no gradient, in operations with what it made of x.
// It is recorded if anything trainable is reached inside f, whether or not x wants
// a gradient.
func Recompute(x *Value, f func(x *Value) *Value) *Value {
	t := x.tape
	if t.mode != recording {
		return t.Scope(func() *Value { return f(x) })
	}
	probe := &Tape{arena: t.arena, mode: probing, depth: t.depth + 1}
	in := &Value{T: x.T, tape: probe}
	if x.wants() {
		in.node = probed
	}
	y := probe.Scope(func() *Value { return f(in) })
	z := &Value{T: y.T, tape: t}
	if y.node == 0 {
		return z
	}
	t.lean = true
	n := node{inputs: []*Value{nil}, keep: []*tensor.Tensor{x.T.Retain()}}
	if x.wants() {
		n.inputs[0] = x
	}
	n.back = func(dz *tensor.Tensor) []*tensor.Tensor {
		sub := &Tape{arena: t.arena, depth: t.depth + 1}
		defer sub.Close()
		leaf := &Value{T: x.T, tape: sub, Trainable: x.wants()}
		y := f(leaf)
		sub.backward(y, dz, t.grads)
		dx := t.grads[leaf]
		if dx == nil {
			return []*tensor.Tensor{nil}
		}
		delete(t.grads, leaf)
		return []*tensor.Tensor{t.arena.Adopt(dx)}
	}
	t.nodes = append(t.nodes, n)
	z.node = len(t.nodes)
	return z
}
