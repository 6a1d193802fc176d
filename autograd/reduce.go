package autograd

// Sum returns the sums over the last axis, which becomes 1 long.
//
//	dx = dz, repeated along the axis
func (x *Value) Sum() *Value {
	return record("sum", x.T.Sum(), wrt(x, func(dz tt) tt { return dz.BroadcastTo(x.Shape()) }))
}

// Mean returns the means over the last axis, which becomes 1 long.
//
//	dx = dz/n, repeated along the axis
func (x *Value) Mean() *Value { return x.Sum().Scale(1 / float64(x.T.Dim(-1))) }

// SumAll returns the sum of all elements, of shape [1].
//
//	dx = dz, repeated
func (x *Value) SumAll() *Value { return x.Reshape(x.T.Elems()).Sum() }
