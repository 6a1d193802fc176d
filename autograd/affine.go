package autograd

import (
	"slices"

	"github.com/tenon-ml/tenon/tensor"
)

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
	var room [1]*Value
	return Affines(room[:0], x, []Affine{a})[0]
}

// affine is Affine in mandatory operations: its definition.
func (x *Value) affine(a Affine) *Value {
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
	if a.A != nil {
		h = a.drop(x).MatMulT(a.A.T)
		z.AddMatMul(h, a.B.T, false, true, a.Scale)
	}
	a.addBiases(z)
	return z, h
}

// addBiases adds the biases to z itself.
func (a *Affine) addBiases(z tt) {
	if a.Bias != nil {
		z.AddInPlace(a.Bias.T)
	}
	if a.BBias != nil {
		z.AddInPlace(a.BBias.T.In(z.Arena()).Scale(a.Scale))
	}
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

// Affines appends x.Affine(a) of each member of a group to dst: layers over one x,
// such as q_proj, k_proj and v_proj, as one operation. The inner halves of their
// low-rank terms are one product, and so are their gradients; dx is summed in place.
func Affines(dst []*Value, x *Value, group []Affine) []*Value {
	if x.fuses(group) {
		return append(dst, x.affines(group)...)
	}
	if x.tape != nil && x.tape.mode == inference && x.T.DType() == tensor.F32 && x.T.Device().Kernels().MatMulTs != nil {
		return x.infer(dst, group)
	}
	for _, a := range group {
		dst = append(dst, x.affine(a))
	}
	return dst
}

// infer is Affines where nothing is recorded: the products with x, then the outer
// halves of the low-rank terms, each lot in one run of the device.
func (x *Value) infer(dst []*Value, group []Affine) []*Value {
	t, xt := x.tape, x.T.Rows2D()
	result := func(w *Value) tt { return tensor.Result(tensor.F32, tensor.Shape{xt.Dim(0), w.T.Dim(0)}, xt) }
	t.inner, t.outer = t.inner[:0], t.outer[:0]
	first := len(dst)
	for i := range group {
		a := &group[i]
		a.check(xt)
		z := result(a.W)
		dst = append(dst, t.value(z))
		t.inner = append(t.inner, tensor.Product{Z: z, X: xt, Y: a.W.T, Alpha: 1})
		if a.A != nil {
			h := result(a.A)
			t.inner = append(t.inner, tensor.Product{Z: h, X: a.drop(xt), Y: a.A.T, Alpha: 1})
			t.outer = append(t.outer, tensor.Product{Z: z, X: h, Y: a.B.T, Alpha: a.Scale, Accumulate: true})
		}
	}
	products := xt.Device().Kernels().MatMulTs
	products(t.inner)
	if len(t.outer) > 0 {
		products(t.outer)
	}
	for i, v := range dst[first:] {
		group[i].addBiases(v.T)
		if xs := x.Shape(); len(xs) != 2 {
			v.T = v.T.Reshape(append(slices.Clone(xs[:len(xs)-1]), v.T.Dim(1))...)
		}
	}
	return dst
}

// fuses reports whether a group is computed by the kernel of groups, which is worth
// it where gradients are wanted.
func (x *Value) fuses(group []Affine) bool {
	k := x.T.Device().Kernels()
	if x.T.DType() != tensor.F32 || k.Affine == nil || k.AffineGrad == nil || x.tape == nil || x.tape.mode == inference {
		return false
	}
	wants := x.wants()
	for i := range group {
		a := &group[i]
		if a.Dropout > 0 {
			return false
		}
		wants = wants || a.W.wants() || a.Bias.wants() || a.A.wants() || a.B.wants() || a.BBias.wants()
	}
	return wants
}

// ofAffine is the number of parameters of an Affine, in the order of inputs.
const ofAffine = 5

// affines is Affines by the kernel of groups.
func (x *Value) affines(members []Affine) []*Value {
	g := &group{x: x, members: slices.Clone(members)}
	inputs := []*Value{x}
	var keepX, keepH bool
	var keep []tt
	for i := range g.members {
		a := &g.members[i]
		inputs = append(inputs, a.inputs(x)[1:]...)
		term := tensor.AffineTerm{W: a.W.T, Scale: a.Scale, At: g.rank}
		if a.A != nil {
			term.B = a.B.T
			g.rank += a.A.T.Dim(0)
		}
		g.terms = append(g.terms, term)
		keepX, keepH = keepX || a.W.wants() || a.A.wants(), keepH || a.B.wants()
		if x.wants() {
			keep = append(keep, a.W.T)
		}
		if a.A != nil && (x.wants() || a.A.wants()) {
			keep = append(keep, a.A.T, a.B.T)
		}
	}
	z, h := g.forward()
	if keepH {
		g.h = h
		keep = append(keep, h)
	}
	if keepX {
		var kept []tt
		kept, g.xt = x.kept()
		keep = append(keep, kept...)
	}
	return recordSeveral("affine", z, inputs, keep, g.grad)
}

// group is a group of affine layers in one operation.
type group struct {
	x       *Value
	members []Affine
	terms   []tensor.AffineTerm
	rank    int       // of all low-rank terms together
	h       tt        // [N, rank]
	xt      func() tt // x in the backward pass
}

// inner returns the inner halves of the low-rank terms, [rank, in].
func (g *group) inner() tt {
	var a []tt
	for i := range g.members {
		if m := g.members[i].A; m != nil {
			a = append(a, m.T.In(g.x.T.Arena()))
		}
	}
	switch len(a) {
	case 0:
		return nil
	case 1:
		return a[0]
	}
	return tensor.Concat(0, a...)
}

func (g *group) forward() (z []tt, h tt) {
	x := g.x.T.Rows2D()
	if g.rank > 0 {
		h = tensor.Result(tensor.F32, tensor.Shape{x.Dim(0), g.rank}, x)
	}
	lead := g.x.Shape()[:len(g.x.Shape())-1]
	flat := make([]tt, len(g.members))
	for i := range g.members {
		a := &g.members[i]
		a.check(x)
		flat[i] = tensor.Result(tensor.F32, tensor.Shape{x.Dim(0), a.W.T.Dim(0)}, x)
		z = append(z, flat[i].Reshape(append(slices.Clone(lead), a.W.T.Dim(0))...))
	}
	x.Device().Kernels().Affine(flat, h, x, g.inner(), g.terms)
	for i := range g.members {
		g.members[i].addBiases(flat[i])
	}
	return z, h
}

// check panics unless the operands' shapes fit x [N, in].
func (a *Affine) check(x tt) {
	w := a.W.Shape()
	if len(w) != 2 || w[1] != x.Dim(1) {
		tensor.Bad("affine", "x [.., in] and W [out, in]", x, a.W.T)
	}
	if a.A == nil {
		return
	}
	if p, q := a.A.Shape(), a.B.Shape(); len(p) != 2 || len(q) != 2 || p[1] != w[1] || q[0] != w[0] || p[0] != q[1] {
		tensor.Bad("affine", "W [out, in], A [r, in] and B [out, r]", a.W.T, a.A.T, a.B.T)
	}
}

// grad returns the gradients with respect to x and the members' inputs.
func (g *group) grad(dz []tt, want []bool) []tt {
	out := make([]tt, len(want))
	var terms []tensor.AffineTerm
	var flat, db []tt
	var at []int // of the terms: their place among the members
	var wantA bool
	var xt tt
	x := func() tt {
		if xt == nil {
			xt = g.xt().Rows2D()
		}
		return xt
	}
	for i := range g.members {
		if dz[i] == nil {
			continue
		}
		w := want[1+ofAffine*i:][:ofAffine]
		d := dz[i].Rows2D()
		a := &g.members[i]
		terms, flat, at = append(terms, g.terms[i]), append(flat, d), append(at, 1+ofAffine*i)
		if w[3] {
			out[1+ofAffine*i+3] = tensor.Result(tensor.F32, a.B.Shape(), d)
		}
		db = append(db, out[1+ofAffine*i+3])
		wantA = wantA || w[2]
		if w[0] {
			out[1+ofAffine*i] = d.MatMulTA(x())
		}
		if w[1] {
			out[1+ofAffine*i+1] = d.SumTo(a.Bias.Shape())
		}
		if w[4] {
			out[1+ofAffine*i+4] = d.SumTo(a.BBias.Shape()).Scale(a.Scale)
		}
	}
	n, in := flat[0].Dim(0), g.members[0].W.T.Dim(1)
	var dx, da, u, a tt
	if want[0] {
		dx = tensor.Result(tensor.F32, tensor.Shape{n, in}, flat[0])
		out[0] = dx.Reshape(g.x.Shape()...)
		a = g.inner()
	}
	if wantA {
		da = tensor.Result(tensor.F32, tensor.Shape{g.rank, in}, flat[0])
		xt = x()
	}
	if g.rank > 0 && (want[0] || wantA) {
		u = tensor.Result(tensor.F32, tensor.Shape{n, g.rank}, flat[0])
		if len(terms) < len(g.members) {
			u.Fill(0)
		}
	}
	flat[0].Device().Kernels().AffineGrad(dx, da, db, u, flat, g.h, xt, a, terms)
	for i, t := range terms {
		if want[at[i]+2] {
			out[at[i]+2] = da.Slice(t.At, t.At+t.B.Dim(1))
		}
	}
	return out
}
