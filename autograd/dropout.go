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
	drawMask(mask, p, key, 0)
	return masked(x, mask)
}

// dropoutRows is dropout of some rows of a matrix, drawn as for the whole.
func dropoutRows(x tt, p float64, key uint64, rows []int32) tt {
	n := x.Dim(-1)
	mask := make([]float32, x.Elems())
	for i, r := range rows {
		drawMask(mask[i*n:(i+1)*n], p, key, int(r)*n)
	}
	return masked(x, mask)
}

// drawMask sets mask to the factors of the elements from first on.
func drawMask(mask []float32, p float64, key uint64, first int) {
	scale := float32(1 / (1 - p))
	tensor.DropoutMask(p, key, first, first+len(mask), func(i int, keep bool) {
		if keep {
			mask[i-first] = scale
		}
	})
}

func masked(x tt, mask []float32) tt {
	m := tensor.Result(tensor.F32, x.Shape(), x)
	m.Set(mask)
	return x.Mul(m.To(x.DType()))
}
