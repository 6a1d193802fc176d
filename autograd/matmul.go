package autograd

// MatMul returns z = x·y, for each of equal leading axes, or with one matrix y
// for all of x's.
//
//	dx = dz·yᵀ    dy = xᵀ·dz
func (x *Value) MatMul(y *Value) *Value {
	return record("matmul", x.T.MatMul(y.T),
		wrt(x, func(dz tt) tt { return dz.MatMulT(y.T) }, y.T),
		wrt(y, func(dz tt) tt { return product(y, x.T, dz) }, x.T))
}

// MatMulT returns z = x·yᵀ, with leading axes as in MatMul.
//
//	dx = dz·y    dy = dzᵀ·x
func (x *Value) MatMulT(y *Value) *Value {
	return record("matmulT", x.T.MatMulT(y.T),
		wrt(x, func(dz tt) tt { return dz.MatMul(y.T) }, y.T),
		wrt(y, func(dz tt) tt { return product(y, dz, x.T) }, x.T))
}

// product returns aᵀ·b, summed over their leading axes if y is one matrix for all
// of them.
func product(y *Value, a, b tt) tt {
	if len(y.Shape()) == 2 {
		a, b = a.Rows2D(), b.Rows2D()
	}
	return a.MatMulTA(b)
}

// MatMulTA returns z = xᵀ·y.
//
//	dx = y·dzᵀ    dy = x·dz
func (x *Value) MatMulTA(y *Value) *Value {
	return record("matmulTA", x.T.MatMulTA(y.T),
		wrt(x, func(dz tt) tt { return y.T.MatMulT(dz) }, y.T),
		wrt(y, func(dz tt) tt { return x.T.MatMul(dz) }, x.T))
}
