package autograd

import "github.com/tenon-ml/tenon/tensor"

// Dropout returns x with each element set to 0 with probability p and the others
// divided by 1-p (Srivastava et al., 2014). Which ones is decided by
// tensor.DropoutMask: by the key and the element's place, so that recomputation
// draws the same ones.
//
//	dx = dropout(dz), the same elements
func (x *Value) Dropout(p float64, key uint64) *Value {
	return record("dropout", dropout(x.T, p, key), wrt(x, func(dz tt) tt { return dropout(dz, p, key) }))
}

func dropout(x tt, p float64, key uint64) tt {
	if p < 0 || p >= 1 {
		tensor.Bad("dropout", "a probability of 0 or more and less than 1", x)
	}
	k := x.Device().Kernels().Dropout
	if x.DType() == tensor.F32 && k != nil {
		z := tensor.Result(tensor.F32, x.Shape(), x)
		k(z, x, p, key)
		return z
	}
	mask := make([]float32, x.Elems())
	scale := float32(1 / (1 - p))
	tensor.DropoutMask(p, key, 0, len(mask), func(i int, keep bool) {
		if keep {
			mask[i] = scale
		}
	})
	m := tensor.Result(tensor.F32, x.Shape(), x)
	m.Set(mask)
	return x.Mul(m.To(x.DType()))
}
