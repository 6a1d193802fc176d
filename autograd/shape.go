package autograd

import (
	"slices"

	"github.com/tenon-ml/tenon/tensor"
)

// Reshape returns a view of x with other extents.
//
//	dx = dz, with x's extents
func (x *Value) Reshape(shape ...int) *Value {
	z := x.T.Reshape(shape...)
	if v := unrecorded(z, x); v != nil {
		return v
	}
	return record("reshape", z, wrt(x, func(dz tt) tt { return dz.Reshape(x.Shape()...) }))
}

// Permute returns x with its axes in the given order.
//
//	dx = dz, with its axes in the inverse order
func (x *Value) Permute(axes ...int) *Value {
	return record("permute", x.T.Permute(axes...), wrt(x, func(dz tt) tt {
		inverse := make([]int, len(axes))
		for i, a := range axes {
			inverse[a] = i
		}
		return dz.Permute(inverse...)
	}))
}

// BroadcastTo returns x repeated to shape by numpy's rule.
//
//	dx = dz, summed over the axes that were broadcast
func (x *Value) BroadcastTo(shape ...int) *Value {
	return record("broadcast", x.T.BroadcastTo(shape), wrt(x, func(dz tt) tt { return dz.SumTo(x.Shape()) }))
}

// Narrow returns the entries lo ≤ i < hi of an axis.
//
//	dx = dz there, 0 elsewhere
func (x *Value) Narrow(axis, lo, hi int) *Value {
	return record("narrow", x.T.Narrow(axis, lo, hi), wrt(x, func(dz tt) tt {
		before, after := slices.Clone(x.Shape()), slices.Clone(x.Shape())
		before[axis], after[axis] = lo, x.Shape()[axis]-hi
		zero := func(s tensor.Shape) tt { return tensor.Result(dz.DType(), s, dz).Fill(0) }
		return tensor.Concat(axis, zero(before), dz, zero(after))
	}))
}

// Concat returns the values one after the other along axis.
//
//	dx = the part of dz that came from x
func Concat(axis int, xs ...*Value) *Value {
	ts, ins := make([]tt, len(xs)), make([]input, len(xs))
	for i, x := range xs {
		ts[i] = x.T
	}
	z := tensor.Concat(axis, ts...)
	at := 0
	for i, x := range xs {
		lo, hi := at, at+x.Shape()[axis]
		ins[i] = wrt(x, func(dz tt) tt { return dz.Narrow(axis, lo, hi) })
		at = hi
	}
	return record("concat", z, ins...)
}
