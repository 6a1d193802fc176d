package autograd

import "github.com/tenon-ml/tenon/tensor"

// Softmax returns exp(x - max x)/Σ exp(x - max x) along the last axis.
//
//	dx = z·(dz - Σ dz·z)
func (x *Value) Softmax() *Value {
	e := x.T.Sub(x.T.Reduce(tensor.OpMax)).Unary(tensor.OpExp)
	z := e.Div(e.Sum())
	return record("softmax", z, wrt(x, func(dz tt) tt { return z.Mul(dz.Sub(dz.Mul(z).Sum())) }, z))
}
