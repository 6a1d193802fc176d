package autograd

import "github.com/tenon-ml/tenon/tensor"

// RMSNorm returns z = x·r·w along the last axis, r = 1/√(mean(x²) + eps): root
// mean square normalisation (Zhang and Sennrich, 2019) as Llama has it.
//
//	dx = r·(dz·w - x·r²·mean(dz·w·x))    dw = Σ dz·x·r
func (x *Value) RMSNorm(w *Value, eps float64) *Value {
	if n := x.T.Dim(-1); w.T.Elems() != n {
		tensor.Bad("rmsnorm", "a weight as long as a row", x.T, w.T)
	}
	k := x.T.Device().Kernels()
	if x.T.DType() != tensor.F32 || k.RMSNorm == nil || k.RMSNormGrad == nil {
		return x.rmsNorm(w, eps)
	}
	z := tensor.Result(tensor.F32, x.Shape(), x.T)
	rstd := tensor.Result(tensor.F32, tensor.Shape{x.T.Rows()}, x.T)
	k.RMSNorm(z, rstd, x.T, w.T, eps)
	if v := unrecorded(z, x, w); v != nil {
		return v
	}
	v := recordAll("rmsnorm", z, []*Value{x, w}, []tt{x.T, w.T, rstd}, func(dz tt, want []bool) []tt {
		var dx, dw tt
		if want[0] {
			dx = tensor.Result(tensor.F32, x.Shape(), dz)
		}
		if want[1] {
			dw = tensor.Result(tensor.F32, w.Shape(), dz).Fill(0)
		}
		k.RMSNormGrad(dx, dw, dz, x.T, w.T, rstd)
		return []tt{dx, dw}
	})
	v.again = &again{[]tt{x.T, w.T, rstd}, func() tt {
		z := tensor.Result(tensor.F32, x.Shape(), x.T)
		k.RMSNorm(z, rstd, x.T, w.T, eps) // rstd is what it was
		return z
	}}
	return v
}

// rmsNorm is RMSNorm in mandatory operations: its definition.
func (x *Value) rmsNorm(w *Value, eps float64) *Value {
	e := x.tape.constant(x.T.DType(), []float64{eps}, 1)
	return x.Mul(x.Mul(x).Mean().Add(e).Rsqrt()).Mul(w)
}
