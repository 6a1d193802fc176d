package tensor

// AffineTerm is one of the matrices of a group of affine layers over one x, and
// the outer half of its low-rank term.
type AffineTerm struct {
	W     *Tensor // [out, in], of any type that can be decoded
	B     *Tensor // [out, r], or nil
	Scale float64 // of the low-rank term
	At    int     // the first of its r columns in the inner halves' [N, R]
}

func (c *CPU) affine(z []*Tensor, h, x, a *Tensor, terms []AffineTerm) {
	n, in := x.Dim(0), x.Dim(1)
	xs, r := x.matrix(0, n, in, false), 0
	if h != nil {
		r = h.Dim(1)
		gemm(c.workers, h.F32(), r, xs, a.matrix(0, in, r, true), n, r, in, 1, false)
	}
	for i, t := range terms {
		out := t.W.Dim(0)
		gemm(c.workers, z[i].F32(), out, xs, t.W.matrix(0, in, out, true), n, out, in, 1, false)
		if t.B != nil {
			k := t.B.Dim(1)
			gemm(c.workers, z[i].F32(), out, h.columns(t.At), t.B.matrix(0, k, out, true), n, out, k, float32(t.Scale), true)
		}
	}
}

func (c *CPU) affineGrad(dx, da *Tensor, db []*Tensor, u *Tensor, dz []*Tensor, h, x, a *Tensor, terms []AffineTerm) {
	n := dz[0].Dim(0)
	for i, t := range terms {
		out := t.W.Dim(0)
		z := dz[i].matrix(0, n, out, false)
		if dx != nil {
			in := t.W.Dim(1)
			gemm(c.workers, dx.F32(), in, z, t.W.matrix(0, out, in, false), n, in, out, 1, i > 0)
		}
		if t.B == nil {
			continue
		}
		r := t.B.Dim(1)
		if u != nil {
			gemm(c.workers, u.F32()[t.At:], u.Dim(1), z, t.B.matrix(0, out, r, false), n, r, out, float32(t.Scale), false)
		}
		if db[i] != nil {
			gemm(c.workers, db[i].F32(), r, dz[i].matrix(0, out, n, true), h.columns(t.At), out, r, n, float32(t.Scale), false)
		}
	}
	if u == nil {
		return
	}
	r := u.Dim(1)
	if dx != nil {
		gemm(c.workers, dx.F32(), dx.Dim(1), u.matrix(0, n, r, false), a.matrix(0, r, dx.Dim(1), false), n, dx.Dim(1), r, 1, true)
	}
	if da != nil {
		gemm(c.workers, da.F32(), da.Dim(1), u.matrix(0, r, n, true), x.matrix(0, n, da.Dim(1), false), r, da.Dim(1), n, 1, false)
	}
}

// columns returns the columns of an F32 matrix from one on as gemm's operand.
func (t *Tensor) columns(from int) matrix {
	return matrix{dt: F32, f32: t.F32()[from:], rs: t.Dim(1), cs: 1}
}
