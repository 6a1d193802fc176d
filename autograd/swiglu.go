package autograd

import "github.com/tenon-ml/tenon/tensor"

// SwiGLU returns silu(x)·up (Shazeer, "GLU Variants Improve Transformer", 2020);
// x is the gate.
//
//	dx = dz·up·σ(x)·(1 + x·(1-σ(x)))    dup = dz·silu(x)
func (x *Value) SwiGLU(up *Value) *Value {
	if !x.Shape().Equal(up.Shape()) {
		tensor.Bad("swiglu", "equal shapes", x.T, up.T)
	}
	k := x.T.Device().Kernels()
	if x.T.DType() != tensor.F32 || k.SwiGLU == nil || k.SwiGLUGrad == nil {
		return x.swiGLU(up)
	}
	z := tensor.Result(tensor.F32, x.Shape(), x.T)
	k.SwiGLU(z, x.T, up.T)
	if v := unrecorded(z, x, up); v != nil {
		return v
	}
	v := recordAll("swiglu", z, []*Value{x, up}, []tt{x.T, up.T}, func(dz tt, _ []bool) []tt {
		dx, dup := tensor.Result(tensor.F32, x.Shape(), dz), tensor.Result(tensor.F32, x.Shape(), dz)
		k.SwiGLUGrad(dx, dup, dz, x.T, up.T)
		return []tt{dx, dup}
	})
	v.again = &again{[]tt{x.T, up.T}, func() tt {
		z := tensor.Result(tensor.F32, x.Shape(), x.T)
		k.SwiGLU(z, x.T, up.T)
		return z
	}}
	return v
}

// swiGLU is SwiGLU in mandatory operations: its definition.
func (x *Value) swiGLU(up *Value) *Value { return x.SiLU().Mul(up) }
