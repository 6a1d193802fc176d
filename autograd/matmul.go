package autograd

// MatMul returns z = x·y, for each of equal leading axes.
//
//	dx = dz·yᵀ    dy = xᵀ·dz
func (x *Value) MatMul(y *Value) *Value {
	return record("matmul", x.T.MatMul(y.T),
		wrt(x, func(dz tt) tt { return dz.MatMulT(y.T) }, y.T),
		wrt(y, func(dz tt) tt { return x.T.MatMulTA(dz) }, x.T))
}

// MatMulT returns z = x·yᵀ.
//
//	dx = dz·y    dy = dzᵀ·x
func (x *Value) MatMulT(y *Value) *Value {
	return record("matmulT", x.T.MatMulT(y.T),
		wrt(x, func(dz tt) tt { return dz.MatMul(y.T) }, y.T),
		wrt(y, func(dz tt) tt { return dz.MatMulTA(x.T) }, x.T))
}

// MatMulTA returns z = xᵀ·y.
//
//	dx = y·dzᵀ    dy = x·dz
func (x *Value) MatMulTA(y *Value) *Value {
	return record("matmulTA", x.T.MatMulTA(y.T),
		wrt(x, func(dz tt) tt { return y.T.MatMulT(dz) }, y.T),
		wrt(y, func(dz tt) tt { return x.T.MatMul(dz) }, x.T))
}
