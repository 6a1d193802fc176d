package autograd

import "github.com/tenon-ml/tenon/tensor"

// Max returns the largest elements along the last axis, which becomes 1 long;
// NaN if there is one.
//
//	dx = dz where x is the first of the largest elements, else 0
func (x *Value) Max() *Value {
	z := x.T.Reduce(tensor.OpMax)
	return record("max", z, wrt(x, func(dz tt) tt {
		n := x.T.Dim(-1)
		xs, zs := x.T.F64s(), z.F64s()
		mask := make([]float64, len(xs))
		for r := range zs {
			for i, v := range xs[r*n : (r+1)*n] {
				if v == zs[r] {
					mask[r*n+i] = 1
					break
				}
			}
		}
		return dz.Mul(x.tape.constant(x.T.DType(), mask, x.Shape()...).T)
	}, x.T, z))
}
