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
	p := c.group(x.matrix(0, n, in, false), n, in)
	defer p.done()
	if h != nil {
		r := h.Dim(1)
		p.multiply(groupTerm{c: h.F32(), ldc: r, b: a.matrix(0, in, r, true), n: r, alpha: 1})
	}
	products := make([]groupTerm, 0, 4)
	for i, t := range terms {
		out := t.W.Dim(0)
		g := groupTerm{c: z[i].F32(), ldc: out, b: t.W.matrix(0, in, out, true), n: out, alpha: 1}
		if t.B != nil {
			g.k2, g.alpha2 = t.B.Dim(1), float32(t.Scale)
			g.a2, g.b2 = h.columns(t.At), t.B.matrix(0, g.k2, out, true)
		}
		products = append(products, g)
	}
	p.multiply(products...)
}

func (c *CPU) affineGrad(dx, da *Tensor, db []*Tensor, u *Tensor, dz []*Tensor, h, x, a *Tensor, terms []AffineTerm) {
	n := dz[0].Dim(0)
	for i, t := range terms {
		out := t.W.Dim(0)
		p := c.group(dz[i].matrix(0, n, out, false), n, out)
		products := make([]groupTerm, 0, 2)
		if dx != nil {
			in := t.W.Dim(1)
			products = append(products, groupTerm{c: dx.F32(), ldc: in, b: t.W.matrix(0, out, in, false), n: in, alpha: 1, accumulate: i > 0})
		}
		if u != nil && t.B != nil {
			r := t.B.Dim(1)
			products = append(products, groupTerm{c: u.F32()[t.At:], ldc: u.Dim(1), b: t.B.matrix(0, out, r, false), n: r, alpha: float32(t.Scale)})
		}
		p.multiply(products...)
		p.done()
		if t.B != nil && db[i] != nil {
			r := t.B.Dim(1)
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
