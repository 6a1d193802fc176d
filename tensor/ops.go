package tensor

import (
	"fmt"
	"slices"
)

// The operations below are the mandatory ones: every device has them, in F32 and
// F64. They check shapes, allocate the result and call the device's kernel.

func (x *Tensor) kernels() *Kernels { return x.dev.Kernels() }

// Unary returns op applied to every element.
func (x *Tensor) Unary(op UnaryOp) *Tensor {
	z := result(x.dt, x.shape, x)
	x.kernels().Unary(op, z, x)
	return z
}

// Binary returns x op y, broadcast by numpy's rule.
func (x *Tensor) Binary(op BinaryOp, y *Tensor) *Tensor {
	sameType("element-wise operation", x, y)
	z := result(x.dt, broadcast("element-wise operation", x, y), x, y)
	x.kernels().Binary(op, z, x, y)
	return z
}

// sameType panics unless all tensors have the first one's element type.
func sameType(op string, x *Tensor, ts ...*Tensor) {
	for _, t := range ts {
		if t.dt != x.dt {
			Bad(fmt.Sprintf("%s in %v and %v", op, x.dt, t.dt), "one element type", x, t)
		}
	}
}

// Add returns x + y.
func (x *Tensor) Add(y *Tensor) *Tensor { return x.Binary(OpAdd, y) }

// Sub returns x - y.
func (x *Tensor) Sub(y *Tensor) *Tensor { return x.Binary(OpSub, y) }

// Mul returns x·y, element by element.
func (x *Tensor) Mul(y *Tensor) *Tensor { return x.Binary(OpMul, y) }

// Div returns x/y, element by element.
func (x *Tensor) Div(y *Tensor) *Tensor { return x.Binary(OpDiv, y) }

// Scale returns a·x.
func (x *Tensor) Scale(a float64) *Tensor {
	z := result(x.dt, x.shape, x)
	z.scaled(x, a)
	return z
}

// ScaleInPlace multiplies x itself by a. It is for gradients and weights that the
// caller alone owns.
func (x *Tensor) ScaleInPlace(a float64) { x.scaled(x, a) }

// scaled sets z to a·x.
func (z *Tensor) scaled(x *Tensor, a float64) {
	s := result(x.dt, Shape{1}, x)
	x.kernels().Fill(s, a)
	x.kernels().Binary(OpMul, z, x, s)
	if s.arena == nil {
		s.Release()
	}
}

// AddInPlace adds y, broadcast to x's shape, to x itself. It is for gradients
// and weights that the caller alone owns.
func (x *Tensor) AddInPlace(y *Tensor) {
	sameType("add in place", x, y)
	if !broadcast("add in place", x, y).Equal(x.shape) {
		Bad("add in place", "a second shape that broadcasts to the first", x, y)
	}
	x.kernels().Binary(OpAdd, x, x, y)
}

// CopyFrom overwrites x with the elements of y, of the same shape, converted to
// x's type.
func (x *Tensor) CopyFrom(y *Tensor) {
	if !x.shape.Equal(y.shape) {
		Bad("copy", "equal shapes", x, y)
	}
	if encode := x.kernels().Encode; encode != nil && y.dt == F32 && x.dt != F64 {
		encode(x, y)
		return
	}
	st := x.shape.strides()
	x.kernels().Copy(x, st, y, st, x.shape)
}

// Fill sets every element of x to v.
func (x *Tensor) Fill(v float64) *Tensor {
	x.kernels().Fill(x, v)
	return x
}

// Reduce folds the last axis, which becomes 1 long.
func (x *Tensor) Reduce(op ReduceOp) *Tensor {
	if len(x.shape) == 0 || x.Dim(-1) == 0 {
		Bad("reduce", "a last axis that is not empty", x)
	}
	shape := slices.Clone(x.shape)
	shape[len(shape)-1] = 1
	z := result(x.dt, shape, x)
	x.kernels().Reduce(op, z, x)
	return z
}

// Sum returns the sums over the last axis, which becomes 1 long.
func (x *Tensor) Sum() *Tensor { return x.Reduce(OpSum) }

// SumTo returns x summed over the axes along which shape was broadcast to x's.
func (x *Tensor) SumTo(shape Shape) *Tensor {
	if x.shape.Equal(shape) {
		return x
	}
	// Bring the axes to be summed to the end, then fold them as one.
	n := len(x.shape)
	lead := n - len(shape)
	var keep, fold []int
	for i := range n {
		if i < lead || shape[i-lead] == 1 && x.shape[i] != 1 {
			fold = append(fold, i)
		} else {
			keep = append(keep, i)
		}
	}
	if len(fold) == 0 {
		return x.Reshape(shape...)
	}
	p := x.Permute(append(slices.Clone(keep), fold...)...)
	folded := 1
	for _, i := range fold {
		folded *= x.shape[i]
	}
	return p.Reshape(p.Elems()/folded, folded).Sum().Reshape(shape...)
}

// BroadcastTo returns x repeated to shape by numpy's rule.
func (x *Tensor) BroadcastTo(shape Shape) *Tensor {
	fits := len(x.shape) <= len(shape)
	for i := 1; fits && i <= len(x.shape); i++ {
		n := x.shape[len(x.shape)-i]
		fits = n == 1 || n == shape[len(shape)-i]
	}
	if !fits {
		Bad("broadcast", "a shape that broadcasts to "+shape.String(), x)
	}
	z := result(x.dt, shape, x)
	x.kernels().Copy(z, shape.strides(), x, broadcastStrides(x.shape, shape), shape)
	return z
}

// broadcastStrides returns, for each axis of shape, how far x's element moves: 0
// along the axes on which x is repeated.
func broadcastStrides(x, shape Shape) []int {
	st := make([]int, len(shape))
	xs := x.strides()
	for i := range x {
		if x[i] != 1 {
			st[len(shape)-len(x)+i] = xs[i]
		}
	}
	return st
}

// Permute returns x with its axes in the given order.
func (x *Tensor) Permute(axes ...int) *Tensor {
	if len(axes) != len(x.shape) {
		Bad("permute", "every axis once", x)
	}
	xs := x.shape.strides()
	shape, st := make(Shape, len(axes)), make([]int, len(axes))
	seen := make([]bool, len(axes))
	for i, a := range axes {
		if a < 0 || a >= len(axes) || seen[a] {
			Bad("permute", "every axis once", x)
		}
		seen[a] = true
		shape[i], st[i] = x.shape[a], xs[a]
	}
	z := result(x.dt, shape, x)
	x.kernels().Copy(z, shape.strides(), x, st, shape)
	return z
}

// Concat returns the tensors one after the other along axis.
func Concat(axis int, xs ...*Tensor) *Tensor {
	if len(xs) == 0 || axis < 0 || axis >= len(xs[0].shape) {
		Bad(fmt.Sprintf("concat along axis %d", axis), "tensors with that axis", xs...)
	}
	sameType("concat", xs[0], xs[1:]...)
	shape := slices.Clone(xs[0].shape)
	shape[axis] = 0
	for _, x := range xs {
		for i := range shape {
			if len(x.shape) != len(shape) || i != axis && x.shape[i] != shape[i] {
				Bad("concat", "equal extents on all other axes", xs...)
			}
		}
		shape[axis] += x.shape[axis]
	}
	z := result(xs[0].dt, shape, xs...)
	zs := shape.strides()
	at := 0
	for _, x := range xs {
		part := *z
		part.off += at * zs[axis]
		x.kernels().Copy(&part, zs, x, x.shape.strides(), x.shape)
		at += x.shape[axis]
	}
	return z
}

// Narrow returns a copy of the entries lo ≤ i < hi of an axis.
func (x *Tensor) Narrow(axis, lo, hi int) *Tensor {
	if axis < 0 || axis >= len(x.shape) || lo < 0 || hi < lo || hi > x.shape[axis] {
		Bad("narrow", "a range of an axis", x)
	}
	shape := slices.Clone(x.shape)
	shape[axis] = hi - lo
	xs := x.shape.strides()
	part := *x
	part.off += lo * xs[axis]
	z := result(x.dt, shape, x)
	x.kernels().Copy(z, shape.strides(), &part, xs, shape)
	return z
}

// Gather returns the rows of the matrix x that ids name: z[i, :] = x[ids[i], :].
// A stored type is decoded to F32.
func (x *Tensor) Gather(a *Arena, ids []int32) *Tensor {
	if len(x.shape) != 2 {
		Bad("gather", "a matrix", x)
	}
	for _, id := range ids {
		if id < 0 || int(id) >= x.shape[0] {
			Bad("gather", "row numbers within the matrix", x)
		}
	}
	dt := x.dt
	if dt != F64 {
		dt = F32
	}
	z := a.New(dt, len(ids), x.shape[1])
	x.kernels().Gather(z, x, ids)
	return z
}

// MatMul returns x·y.
func (x *Tensor) MatMul(y *Tensor) *Tensor { return matmul(x, y, false, false) }

// MatMulT returns x·yᵀ.
func (x *Tensor) MatMulT(y *Tensor) *Tensor { return matmul(x, y, false, true) }

// MatMulTA returns xᵀ·y.
func (x *Tensor) MatMulTA(y *Tensor) *Tensor { return matmul(x, y, true, false) }

// matmulShape returns the shape of op(x)·op(y). A two-dimensional y is shared by
// all rows of x. It is appended to dst.
func matmulShape(dst Shape, x, y *Tensor, tx, ty bool) Shape {
	n := len(x.shape)
	if n < 2 || len(y.shape) != n || !slices.Equal(x.shape[:n-2], y.shape[:n-2]) {
		Bad("matmul", "matrices with equal leading axes", x, y)
	}
	m, kx := x.shape[n-2], x.shape[n-1]
	if tx {
		m, kx = kx, m
	}
	ky, nn := y.shape[n-2], y.shape[n-1]
	if ty {
		ky, nn = nn, ky
	}
	if kx != ky {
		Bad("matmul", "equal inner extents", x, y)
	}
	return append(append(dst, x.shape[:n-2]...), m, nn)
}

func matmul(x, y *Tensor, tx, ty bool) *Tensor {
	if len(y.shape) == 2 && len(x.shape) != 2 && !tx {
		lead := x.shape[:len(x.shape)-1]
		z := matmul(x.Rows2D(), y, tx, ty)
		return z.Reshape(append(slices.Clone(lead), z.Dim(-1))...)
	}
	var room [4]int
	z := result(x.dt, matmulShape(room[:0], x, y, tx, ty), x, y)
	x.kernels().MatMul(z, x, y, tx, ty, 1, false)
	return z
}

// AddMatMul adds alpha·op(x)·op(y) to z itself, op being the transpose where tx
// or ty says so. It is for results that the caller alone has seen.
func (z *Tensor) AddMatMul(x, y *Tensor, tx, ty bool, alpha float64) {
	var room [4]int
	if !z.shape.Equal(matmulShape(room[:0], x, y, tx, ty)) {
		Bad("add matmul", "the product's shape", z, x, y)
	}
	z.kernels().MatMul(z, x, y, tx, ty, alpha, true)
}

// ScatterAdd adds the rows of src to the rows of the matrix x itself that ids
// name, in order: x[ids[i], :] += src[i, :].
func (x *Tensor) ScatterAdd(src *Tensor, ids []int32) {
	if len(x.shape) != 2 || len(src.shape) != 2 || src.shape[0] != len(ids) || src.shape[1] != x.shape[1] {
		Bad("scatter-add", "two matrices with rows of one length", x, src)
	}
	sameType("scatter-add", x, src)
	for _, id := range ids {
		if id < 0 || int(id) >= x.shape[0] {
			Bad("scatter-add", "row numbers within the matrix", x)
		}
	}
	x.kernels().ScatterAdd(x, src, ids)
}
