package autograd

import "github.com/tenon-ml/tenon/tensor"

// Affine is a matrix with what may be added to it: a bias and a low-rank term.
type Affine struct {
	W    *Value // [out, in]
	Bias *Value // [out], or nil

	A, B  *Value // [r, in] and [out, r], or nil
	BBias *Value // [out], added to the low-rank term, or nil
	Scale float64

	// Dropout is the probability with which an element of the low-rank term's
	// input is set to 0, its random stream DropoutKey.
	Dropout    float64
	DropoutKey uint64

	// rows are those that x is, of a larger matrix for which dropout is drawn; nil:
	// x is the whole.
	rows []int32
}

// Affine returns y = x·Wᵀ + bias + scale·((d·Aᵀ)·Bᵀ + bbias), d = dropout(x), the linear
// layer of Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models"
// (2021). x is [.., in], y [.., out].
//
//	u  = scale·dz·B
//	dx = dz·W + dropout(u·A)    dW = dzᵀ·x    dbias = Σ dz
//	dA = uᵀ·d                   dB = scale·dzᵀ·(d·Aᵀ)    dbbias = scale·Σ dz
func (x *Value) Affine(a Affine) *Value {
	xt := x.T.Rows2D()
	z, h := a.forward(xt)
	if xs := x.Shape(); len(xs) != 2 {
		z = z.Reshape(append(append(tensor.Shape{}, xs[:len(xs)-1]...), z.Dim(-1))...)
	}
	if v := unrecorded(z, a.inputs(x)...); v != nil {
		return v
	}
	return x.recordAffine(a, xt, h, z)
}

func (x *Value) recordAffine(a Affine, xt, h, z tt) *Value {
	var keep []tt
	if a.W.wants() || a.A.wants() {
		keep = append(keep, xt)
	}
	if a.B.wants() {
		keep = append(keep, h)
	}
	if x.wants() {
		keep = append(keep, a.W.T)
	}
	if a.A != nil && (x.wants() || a.A.wants()) {
		keep = append(keep, a.A.T, a.B.T)
	}
	return recordAll("affine", z, a.inputs(x), keep, func(dz tt, want []bool) []tt {
		return a.grad(dz.Rows2D(), x, xt, h, want)
	})
}

// inputs returns what gradients may be wanted of: x, W, bias, A, B and bbias.
func (a *Affine) inputs(x *Value) []*Value { return []*Value{x, a.W, a.Bias, a.A, a.B, a.BBias} }

// forward returns the result for x [N, in] and, if there is a low-rank term, d·Aᵀ.
func (a *Affine) forward(x tt) (z, h tt) {
	z = x.MatMulT(a.W.T)
	if a.Bias != nil {
		z.AddInPlace(a.Bias.T)
	}
	if a.A != nil {
		h = a.drop(x).MatMulT(a.A.T)
		z.AddMatMul(h, a.B.T, false, true, a.Scale)
	}
	if a.BBias != nil {
		z.AddInPlace(a.BBias.T.In(x.Arena()).Scale(a.Scale))
	}
	return z, h
}

// drop returns the input of the low-rank term.
func (a *Affine) drop(x tt) tt {
	switch {
	case a.Dropout == 0:
		return x
	case a.rows != nil:
		return dropoutRows(x, a.Dropout, a.DropoutKey, a.rows)
	}
	return dropout(x, a.Dropout, a.DropoutKey)
}

// grad returns the gradients with respect to Affine's inputs.
func (a *Affine) grad(dz tt, x *Value, xt, h tt, want []bool) []tt {
	dx := make([]tt, 6)
	var u tt
	if a.A != nil && (want[0] || want[3]) {
		u = dz.MatMul(a.B.T).Scale(a.Scale)
	}
	if want[0] {
		g := dz.MatMul(a.W.T)
		switch {
		case a.A != nil && a.Dropout != 0:
			g.AddInPlace(a.drop(u.MatMul(a.A.T)))
		case a.A != nil:
			g.AddMatMul(u, a.A.T, false, false, 1)
		}
		dx[0] = g.Reshape(x.Shape()...)
	}
	if want[1] {
		dx[1] = dz.MatMulTA(xt)
	}
	if want[2] {
		dx[2] = dz.SumTo(a.Bias.Shape())
	}
	if want[3] {
		dx[3] = u.MatMulTA(a.drop(xt))
	}
	if want[4] {
		dx[4] = dz.MatMulTA(h).Scale(a.Scale)
	}
	if want[5] {
		dx[5] = dz.SumTo(a.BBias.Shape()).Scale(a.Scale)
	}
	return dx
}
