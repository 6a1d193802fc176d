package autograd

import "github.com/tenon-ml/tenon/tensor"

// RoPE turns each head of x [.., H, D] by position: rotary position embedding (Su
// et al., 2021) in the layout of Llama checkpoints, where element i is paired
// with element i+D/2. Row n of the N that the leading axes make takes its angles
// from row n mod R of cos and sin [R, D/2].
//
//	z = (x₀·cos - x₁·sin, x₁·cos + x₀·sin)    dx = the same with -sin
func (x *Value) RoPE(cos, sin *tensor.Tensor) *Value {
	s := x.Shape()
	if len(s) < 3 || x.T.Dim(-1)%2 != 0 || cos.Dim(-1) != x.T.Dim(-1)/2 || !cos.Shape().Equal(sin.Shape()) || s[:len(s)-2].Elems()%cos.Dim(0) != 0 {
		tensor.Bad("rope", "[.., H, D], and cos and sin [R, D/2] with as many rows as a multiple of R", x.T, cos, sin)
	}
	k := x.T.Device().Kernels()
	if x.T.DType() != tensor.F32 || k.RoPE == nil {
		return x.rope(cos, sin)
	}
	z := turn(x.T, cos, sin, false)
	if v := unrecorded(z, x); v != nil {
		return v
	}
	return record("rope", z, wrt(x, func(dz tt) tt { return turn(dz, cos, sin, true) }, cos, sin))
}

func turn(x, cos, sin tt, inverse bool) tt {
	z := tensor.Result(tensor.F32, x.Shape(), x)
	x.Device().Kernels().RoPE(z, x, cos, sin, inverse)
	return z
}

// rope is RoPE in mandatory operations: its definition.
func (x *Value) rope(cos, sin *tensor.Tensor) *Value {
	h, d, r := x.T.Dim(-2), x.T.Dim(-1), cos.Dim(0)
	n := x.T.Elems() / (h * d)
	shape := x.Shape()
	x = x.Reshape(n, h, d)
	table := func(t tt) *Value { return &Value{T: t.To(x.T.DType()).Reshape(1, r, 1, d/2), tape: x.tape} }
	c, si := table(cos.In(x.tape.arena)), table(sin.In(x.tape.arena))
	x0 := x.Narrow(2, 0, d/2).Reshape(n/r, r, h, d/2)
	x1 := x.Narrow(2, d/2, d).Reshape(n/r, r, h, d/2)
	z0 := x0.Mul(c).Sub(x1.Mul(si)).Reshape(n, h, d/2)
	z1 := x1.Mul(c).Add(x0.Mul(si)).Reshape(n, h, d/2)
	return Concat(2, z0, z1).Reshape(shape...)
}
