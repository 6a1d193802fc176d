package autograd

import "github.com/tenon-ml/tenon/tensor"

type tt = *tensor.Tensor

// Add returns x + y, broadcast by numpy's rule.
//
//	dx = dz    dy = dz, summed over the axes that were broadcast
func (x *Value) Add(y *Value) *Value {
	z := x.T.Add(y.T)
	if v := unrecorded(z, x, y); v != nil {
		return v
	}
	return record("add", z,
		wrt(x, func(dz tt) tt { return dz.SumTo(x.Shape()) }),
		wrt(y, func(dz tt) tt { return dz.SumTo(y.Shape()) }))
}

// Sub returns x - y, broadcast by numpy's rule.
//
//	dx = dz    dy = -dz
func (x *Value) Sub(y *Value) *Value {
	return record("sub", x.T.Sub(y.T),
		wrt(x, func(dz tt) tt { return dz.SumTo(x.Shape()) }),
		wrt(y, func(dz tt) tt { return dz.Unary(tensor.OpNeg).SumTo(y.Shape()) }))
}

// Mul returns x·y, element by element, broadcast by numpy's rule.
//
//	dx = dz·y    dy = dz·x
func (x *Value) Mul(y *Value) *Value {
	return record("mul", x.T.Mul(y.T),
		wrt(x, func(dz tt) tt { return dz.Mul(y.T).SumTo(x.Shape()) }, y.T),
		wrt(y, func(dz tt) tt { return dz.Mul(x.T).SumTo(y.Shape()) }, x.T))
}

// Div returns x/y, element by element, broadcast by numpy's rule.
//
//	dx = dz/y    dy = -dz·x/y²
func (x *Value) Div(y *Value) *Value {
	return record("div", x.T.Div(y.T),
		wrt(x, func(dz tt) tt { return dz.Div(y.T).SumTo(x.Shape()) }, y.T),
		wrt(y, func(dz tt) tt {
			return dz.Mul(x.T).Div(y.T).Div(y.T).Unary(tensor.OpNeg).SumTo(y.Shape())
		}, x.T, y.T))
}

// Scale returns a·x.
//
//	dx = a·dz
func (x *Value) Scale(a float64) *Value {
	return record("scale", x.T.Scale(a), wrt(x, func(dz tt) tt { return dz.Scale(a) }))
}

// Neg returns -x.
//
//	dx = -dz
func (x *Value) Neg() *Value {
	return record("neg", x.T.Unary(tensor.OpNeg), wrt(x, func(dz tt) tt { return dz.Unary(tensor.OpNeg) }))
}

// Exp returns eˣ.
//
//	dx = dz·z
func (x *Value) Exp() *Value {
	z := x.T.Unary(tensor.OpExp)
	return record("exp", z, wrt(x, func(dz tt) tt { return dz.Mul(z) }, z))
}

// Log returns the natural logarithm of x.
//
//	dx = dz/x
func (x *Value) Log() *Value {
	return record("log", x.T.Unary(tensor.OpLog), wrt(x, func(dz tt) tt { return dz.Div(x.T) }, x.T))
}

// Sqrt returns √x.
//
//	dx = dz/(2z)
func (x *Value) Sqrt() *Value {
	z := x.T.Unary(tensor.OpSqrt)
	return record("sqrt", z, wrt(x, func(dz tt) tt { return dz.Div(z).Scale(0.5) }, z))
}

// Rsqrt returns 1/√x.
//
//	dx = -dz·z³/2
func (x *Value) Rsqrt() *Value {
	z := x.T.Unary(tensor.OpRsqrt)
	return record("rsqrt", z, wrt(x, func(dz tt) tt { return dz.Mul(z).Mul(z).Mul(z).Scale(-0.5) }, z))
}

// Sigmoid returns 1/(1+e⁻ˣ).
//
//	dx = dz·z·(1-z)
func (x *Value) Sigmoid() *Value {
	z := x.T.Unary(tensor.OpSigmoid)
	return record("sigmoid", z, wrt(x, func(dz tt) tt { return dz.Mul(z.Sub(z.Mul(z))) }, z))
}

// SiLU returns x·σ(x), the sigmoid-weighted linear unit (Elfwing et al., 2017).
//
//	dx = dz·(σ + z·(1-σ))
func (x *Value) SiLU() *Value {
	z := x.T.Unary(tensor.OpSiLU)
	return record("silu", z, wrt(x, func(dz tt) tt {
		s := x.T.Unary(tensor.OpSigmoid)
		return dz.Mul(s.Add(z).Sub(z.Mul(s)))
	}, x.T, z))
}
