package devicetest

import (
	"fmt"
	"math"
	"slices"

	"github.com/tenon-ml/tenon/internal/golden"
	"github.com/tenon-ml/tenon/tensor"
)

// optional are the kernels that a device may lack.
var optional = []struct {
	test
	has func(*tensor.Kernels) bool
}{
	{test{"products", products}, func(k *tensor.Kernels) bool { return k.MatMulTs != nil }},
	{test{"encode", encode}, func(k *tensor.Kernels) bool { return k.Encode != nil }},
	{test{"affine", affine}, func(k *tensor.Kernels) bool { return k.Affine != nil && k.AffineGrad != nil }},
	{test{"rmsnorm", rmsNorm}, func(k *tensor.Kernels) bool { return k.RMSNorm != nil }},
	{test{"rmsnorm gradient", rmsNormGrad}, func(k *tensor.Kernels) bool { return k.RMSNormGrad != nil }},
	{test{"rope", rope}, func(k *tensor.Kernels) bool { return k.RoPE != nil }},
	{test{"swiglu", swiGLU}, func(k *tensor.Kernels) bool { return k.SwiGLU != nil }},
	{test{"swiglu gradient", swiGLUGrad}, func(k *tensor.Kernels) bool { return k.SwiGLUGrad != nil }},
	{test{"attention", attention}, func(k *tensor.Kernels) bool { return k.Attention != nil && k.AttentionGrad != nil }},
	{test{"cross-entropy", crossEntropy}, func(k *tensor.Kernels) bool { return k.CrossEntropy != nil }},
	{test{"dropout", dropout}, func(k *tensor.Kernels) bool { return k.Dropout != nil }},
	{test{"adamw", adamW}, func(k *tensor.Kernels) bool { return k.AdamW != nil }},
}

// rows are the matrices that the row-wise kernels are tested on.
var rows = [][2]int{{1, 8}, {3, 5}, {4, 67}, {1, 576}, {129, 200}}

// product returns the m×n product of x and y, whose elements are x(i, l) and y(l, j).
func product(m, n, k int, x, y func(i, j int) float64) []float64 {
	z := make([]float64, m*n)
	for i := range z {
		for l := range k {
			z[i] += x(i/n, l) * y(l, i%n)
		}
	}
	return z
}

// products of few rows and of more, of long rows and of one element, together.
func products(s *suite) {
	var ps []tensor.Product
	var results []*placed
	var wants [][]float64
	for i, c := range []struct{ m, n, k int }{{1, 300, 576}, {3, 7, 33}, {1, 1, 1}, {2, 40, 1}, {8, 64, 16}, {11, 50, 20}, {1, 5, 4096}} {
		x, y, z := s.numbers(c.m*c.k, 1), s.numbers(c.n*c.k, 0.2), s.numbers(c.m*c.n, 1)
		p := tensor.Product{X: s.put(x, c.m, c.k).Tensor, Y: s.put(y, c.n, c.k).Tensor, Alpha: 1, Accumulate: i%2 > 0}
		if i > 2 {
			p.Alpha = 0.5
		}
		want := product(c.m, c.n, c.k, func(i, j int) float64 { return x[i*c.k+j] }, func(i, j int) float64 { return y[j*c.k+i] })
		for j := range want {
			want[j] *= p.Alpha
			if p.Accumulate {
				want[j] += z[j]
			}
		}
		r := s.empty(c.m, c.n)
		if p.Accumulate {
			r = s.put(z, c.m, c.n)
		}
		p.Z = r.Tensor
		ps, results, wants = append(ps, p), append(results, r), append(wants, want)
	}
	s.k.MatMulTs(ps)
	for i, r := range results {
		s.check(golden.Scores, fmt.Sprintf("product %d", i), r, wants[i])
	}
	s.k.MatMulTs(nil)
}

// encode stores numbers as types that a device encodes to, F32 and F16 at least.
func encode(s *suite) {
	for _, n := range []int{1, 64, 40000} {
		x := s.numbers(n, 3)
		z, src := s.empty(n), s.put(x, n)
		s.k.Encode(z.Tensor, src.Tensor)
		s.check(golden.Exact, "encode to F32", z, x)
		half := tensor.New(s.dev, tensor.F16, n)
		s.k.Encode(half, src.Tensor)
		raw, f := make([]byte, 2*n), make([]float32, n)
		for i, v := range x {
			f[i] = float32(v)
		}
		tensor.F16.Encode(raw, f)
		if !slices.Equal(half.Raw(), raw) {
			s.Errorf("%s: %d numbers in F16 have other bits", s.dev.Name(), n)
		}
		half.Release()
	}
}

func affine(s *suite) {
	const n, in, rank, scale = 19, 45, 7, 0.75
	row := func(x []float64, cols int) func(i, j int) float64 {
		return func(i, j int) float64 { return x[i*cols+j] }
	}
	col := func(x []float64, cols int) func(i, j int) float64 {
		return func(i, j int) float64 { return x[j*cols+i] }
	}
	x, a := s.numbers(n*in, 1), s.numbers(rank*in, 0.2)
	h := product(n, rank, in, row(x, in), col(a, in))
	dx, u := make([]float64, n*in), make([]float64, n*rank)
	var terms []tensor.AffineTerm
	var z, dz, db, noDB []*tensor.Tensor
	var results, gradients []*placed
	var wants, wantDB [][]float64
	px, pa, ph := s.put(x, n, in), s.put(a, rank, in), s.empty(n, rank)
	for _, c := range []struct{ out, r, at int }{{33, 4, 0}, {18, 0, 0}, {16, 2, 4}} { // a column is no term's
		w, b, d := s.numbers(c.out*in, 0.2), s.numbers(c.out*c.r, 1), s.numbers(n*c.out, 1)
		part := func(i, j int) float64 { return h[i*rank+c.at+j] }
		want := product(n, c.out, in, row(x, in), col(w, in))
		for i, v := range product(n, c.out, c.r, part, col(b, c.r)) {
			want[i] += scale * v
		}
		term := tensor.AffineTerm{W: s.put(w, c.out, in).Tensor, Scale: scale, At: c.at}
		var gb *tensor.Tensor
		if c.r > 0 {
			term.B = s.put(b, c.out, c.r).Tensor
			g := s.empty(c.out, c.r)
			gb = g.Tensor
			of := product(c.out, c.r, n, col(d, c.out), part)
			for i := range of {
				of[i] *= scale
			}
			gradients, wantDB = append(gradients, g), append(wantDB, of)
		}
		for i, v := range product(n, in, c.out, row(d, c.out), row(w, in)) {
			dx[i] += v
		}
		for i, v := range product(n, c.r, c.out, row(d, c.out), row(b, c.r)) {
			u[i/c.r*rank+c.at+i%c.r] = scale * v
		}
		r := s.empty(n, c.out)
		terms, z, dz, db, noDB = append(terms, term), append(z, r.Tensor), append(dz, s.put(d, n, c.out).Tensor), append(db, gb), append(noDB, nil)
		results, wants = append(results, r), append(wants, want)
	}
	for i, v := range product(n, in, rank, row(u, rank), row(a, in)) {
		dx[i] += v
	}
	s.k.Affine(z, ph.Tensor, px.Tensor, pa.Tensor, terms)
	s.check(golden.Scores, "h of affine", ph, h)
	for i, r := range results {
		s.check(golden.Scores, fmt.Sprintf("affine %d", i), r, wants[i])
	}
	for _, wantX := range []bool{true, false} {
		gx, ga, gu := s.empty(n, in), s.empty(rank, in), s.put(make([]float64, n*rank), n, rank)
		if wantX {
			s.k.AffineGrad(gx.Tensor, nil, noDB, gu.Tensor, dz, nil, nil, pa.Tensor, terms)
			s.check(golden.Scores, "dx of affine", gx, dx)
		} else {
			s.k.AffineGrad(nil, ga.Tensor, db, gu.Tensor, dz, ph.Tensor, px.Tensor, nil, terms)
			s.check(golden.Scores, "da of affine", ga, product(rank, in, n, col(u, rank), row(x, in)))
			for i, g := range gradients {
				s.check(golden.Scores, fmt.Sprintf("db %d of affine", i), g, wantDB[i])
			}
		}
	}
	// Without low-rank terms.
	r, g := s.empty(n, 18), s.empty(n, in)
	s.k.Affine([]*tensor.Tensor{r.Tensor}, nil, px.Tensor, nil, terms[1:2])
	s.check(golden.Scores, "affine without low-rank term", r, wants[1])
	s.k.AffineGrad(g.Tensor, nil, noDB[:1], nil, []*tensor.Tensor{dz[1]}, nil, nil, nil, terms[1:2])
	d := dz[1].F64s()
	s.check(golden.Scores, "dx of affine without low-rank term", g, product(n, in, 18, row(d, 18), row(terms[1].W.F64s(), in)))
}

// rstd returns 1/√(mean(x²)+eps).
func rstd(x []float64, eps float64) float64 {
	var sum float64
	for _, v := range x {
		sum += v * v
	}
	return 1 / math.Sqrt(sum/float64(len(x))+eps)
}

func rmsNorm(s *suite) {
	for _, c := range rows {
		n, k := c[0], c[1]
		const eps = 1e-5
		x, w := s.numbers(n*k, 2), s.numbers(k, 1)
		want, r := make([]float64, n*k), make([]float64, n)
		for i := range n {
			r[i] = rstd(x[i*k:(i+1)*k], eps)
			for j := range k {
				want[i*k+j] = x[i*k+j] * r[i] * w[j]
			}
		}
		z, rs := s.empty(n, k), s.empty(n)
		s.k.RMSNorm(z.Tensor, rs.Tensor, s.put(x, n, k).Tensor, s.put(w, k).Tensor, eps)
		s.check(golden.Normed, fmt.Sprintf("rmsnorm of %v", c), z, want)
		s.check(golden.Normed, fmt.Sprintf("rstd of %v", c), rs, r)
	}
}

func rmsNormGrad(s *suite) {
	for _, c := range rows {
		n, k := c[0], c[1]
		x, w, dz, old := s.numbers(n*k, 2), s.numbers(k, 1), s.numbers(n*k, 1), s.numbers(k, 1)
		r := make([]float64, n)
		dx, dw := make([]float64, n*k), slices.Clone(old)
		for i := range n {
			r[i] = float64(float32(rstd(x[i*k:(i+1)*k], 1e-5)))
			var dot float64
			for j := range k {
				dot += dz[i*k+j] * w[j] * x[i*k+j]
				dw[j] += dz[i*k+j] * x[i*k+j] * r[i]
			}
			for j := range k {
				dx[i*k+j] = r[i] * (dz[i*k+j]*w[j] - x[i*k+j]*r[i]*r[i]*dot/float64(k))
			}
		}
		px, pw, pz, pr := s.put(x, n, k), s.put(w, k), s.put(dz, n, k), s.put(r, n)
		for want := range 4 { // dx, dw, both, neither
			gx, gw := s.empty(n, k), s.put(old, k)
			tx, tw := gx.Tensor, gw.Tensor
			if want&1 == 0 {
				tx = nil
			}
			if want&2 == 0 {
				tw = nil
			}
			s.k.RMSNormGrad(tx, tw, pz.Tensor, px.Tensor, pw.Tensor, pr.Tensor)
			if tx != nil {
				s.check(golden.Normed, fmt.Sprintf("dx of rmsnorm %v", c), gx, dx)
			}
			if tw != nil {
				s.check(golden.Normed, fmt.Sprintf("dw of rmsnorm %v", c), gw, dw)
			} else {
				s.check(golden.Exact, "dw that is not wanted", gw, old)
			}
		}
	}
}

func rope(s *suite) {
	for _, c := range [][4]int{{1, 1, 2, 1}, {6, 3, 8, 3}, {7, 2, 10, 7}, {66, 9, 64, 33}} { // N, H, D, R
		n, h, d, r := c[0], c[1], c[2], c[3]
		x, cos, sin := s.numbers(n*h*d, 1), s.numbers(r*d/2, 1), s.numbers(r*d/2, 1)
		pc, ps := s.put(cos, r, d/2), s.put(sin, r, d/2)
		for _, sign := range []float64{1, -1} {
			want := make([]float64, n*h*d)
			for i := range n * h {
				for j := range d / 2 {
					co, si := cos[i/h%r*d/2+j], sign*sin[i/h%r*d/2+j]
					x0, x1 := x[i*d+j], x[i*d+d/2+j]
					want[i*d+j], want[i*d+d/2+j] = x0*co-x1*si, x1*co+x0*si
				}
			}
			z := s.empty(n, h, d)
			s.k.RoPE(z.Tensor, s.put(x, n, h, d).Tensor, pc.Tensor, ps.Tensor, sign < 0)
			s.check(golden.Sums, fmt.Sprintf("rope of %v, sign %g", c, sign), z, want)
		}
	}
}

func swiGLU(s *suite) {
	for _, n := range []int{1, 13, 40007} {
		g, u := s.numbers(n, 3), s.numbers(n, 1)
		want := make([]float64, n)
		for i, v := range g {
			want[i] = unaryOf(tensor.OpSiLU, v) * u[i]
		}
		z := s.empty(n)
		s.k.SwiGLU(z.Tensor, s.put(g, n).Tensor, s.put(u, n).Tensor)
		s.check(golden.Function, "swiglu", z, want)
	}
}

func swiGLUGrad(s *suite) {
	for _, n := range []int{1, 13, 40007} {
		g, u, dz := s.numbers(n, 3), s.numbers(n, 1), s.numbers(n, 1)
		dg, du := make([]float64, n), make([]float64, n)
		for i, v := range g {
			sig := unaryOf(tensor.OpSigmoid, v)
			dg[i] = dz[i] * u[i] * sig * (1 + v*(1-sig))
			du[i] = dz[i] * v * sig
		}
		pg, pu := s.empty(n), s.empty(n)
		s.k.SwiGLUGrad(pg.Tensor, pu.Tensor, s.put(dz, n).Tensor, s.put(g, n).Tensor, s.put(u, n).Tensor)
		s.check(golden.Normed, "dgate of swiglu", pg, dg) // 1 + x·(1-σ) cancels
		s.check(golden.Function, "dup of swiglu", pu, du)
	}
}

// starts returns the first keys of n queries, rows of tk, with documents of 1, 70
// and more keys.
func starts(n, tk int) []int32 {
	out := make([]int32, n)
	for i := range out {
		switch t := i % tk; {
		case t >= 71:
			out[i] = 71
		case t >= 1:
			out[i] = 1
		}
	}
	return out
}

func attention(s *suite) {
	for _, c := range []tensor.AttentionShape{
		{B: 1, Tq: 1, Tk: 1, H: 1, KV: 1, D: 1},
		{B: 2, Tq: 5, Tk: 5, H: 3, KV: 1, D: 8},
		{B: 1, Tq: 1, Tk: 133, H: 6, KV: 2, D: 20},
		{B: 2, Tq: 3, Tk: 70, H: 4, KV: 4, D: 16},
		{B: 1, Tq: 66, Tk: 131, H: 6, KV: 3, D: 17},
		{B: 1, Tq: 130, Tk: 130, H: 9, KV: 3, D: 64},
		{B: 1, Tq: 129, Tk: 129, H: 13, KV: 1, D: 4},
		{B: 2, Tq: 131, Tk: 131, H: 3, KV: 1, D: 8, Window: 2},
		{B: 1, Tq: 131, Tk: 200, H: 3, KV: 1, D: 8, Window: 70},
		{B: 2, Tq: 3, Tk: 3, H: 1, KV: 1, D: 2, Starts: []int32{0, 0, 2, 0, 1, 1}},
		{B: 2, Tq: 131, Tk: 131, H: 4, KV: 2, D: 8, Starts: starts(2*131, 131)},
		{B: 1, Tq: 131, Tk: 131, H: 4, KV: 2, D: 8, Starts: starts(131, 131), Window: 66},
	} {
		c.Scale = float32(1 / math.Sqrt(float64(c.D)))
		q, k, v := s.numbers(c.B*c.Tq*c.H*c.D, 2), s.numbers(c.B*c.Tk*c.KV*c.D, 1), s.numbers(c.B*c.Tk*c.KV*c.D, 1)
		dz := s.numbers(len(q), 1)
		want, lse := make([]float64, len(q)), make([]float64, c.B*c.H*c.Tq)
		dq, dk, dv := make([]float64, len(q)), make([]float64, len(k)), make([]float64, len(v))
		for b := range c.B {
			for h := range c.H {
				for t := range c.Tq {
					at := ((b*c.Tq+t)*c.H + h) * c.D
					// The keys that the documentation of Visible lets through.
					end := c.Tk - c.Tq + t + 1
					first := 0
					if c.Window > 0 && end > c.Window {
						first = end - c.Window
					}
					if c.Starts != nil {
						first = max(first, int(c.Starts[b*c.Tq+t]))
					}
					row := func(j int) int { return ((b*c.Tk+first+j)*c.KV + h/(c.H/c.KV)) * c.D }
					p, top := make([]float64, end-first), math.Inf(-1)
					for j := range p {
						for i := range c.D {
							p[j] += float64(c.Scale) * q[at+i] * k[row(j)+i]
						}
						top = max(top, p[j])
					}
					var sum, delta float64
					for j := range p {
						p[j] = math.Exp(p[j] - top)
						sum += p[j]
					}
					lse[(b*c.H+h)*c.Tq+t] = top + math.Log(sum)
					for j := range p {
						p[j] /= sum
						for i := range c.D {
							want[at+i] += p[j] * v[row(j)+i]
						}
					}
					for i := range c.D {
						delta += dz[at+i] * want[at+i]
					}
					for j := range p {
						var dp float64
						for i := range c.D {
							dp += dz[at+i] * v[row(j)+i]
						}
						ds := float64(c.Scale) * p[j] * (dp - delta)
						for i := range c.D {
							dq[at+i] += ds * k[row(j)+i]
							dk[row(j)+i] += ds * q[at+i]
							dv[row(j)+i] += p[j] * dz[at+i]
						}
					}
				}
			}
		}
		pq := s.put(q, c.B, c.Tq, c.H, c.D)
		pk, pv := s.put(k, c.B, c.Tk, c.KV, c.D), s.put(v, c.B, c.Tk, c.KV, c.D)
		z, l := s.empty(pq.Shape()...), s.empty(c.B, c.H, c.Tq)
		s.k.Attention(z.Tensor, l.Tensor, pq.Tensor, pk.Tensor, pv.Tensor, c)
		s.check(golden.Scores, fmt.Sprintf("attention %+v", c), z, want)
		s.check(golden.Scores, fmt.Sprintf("lse of attention %+v", c), l, lse)
		cached := c
		cached.Room = c.Tk + 2
		heads := func(x []float64) *placed { // as a cache holds them
			y := make([]float64, c.B*c.KV*cached.Room*c.D)
			for i := range y {
				y[i] = math.NaN()
			}
			for i := range c.B * c.Tk * c.KV {
				b, j, h := i/c.KV/c.Tk, i/c.KV%c.Tk, i%c.KV
				copy(y[((b*c.KV+h)*cached.Room+j)*c.D:], x[i*c.D:(i+1)*c.D])
			}
			return s.put(y, c.B, c.KV, cached.Room, c.D)
		}
		zc, lc := s.empty(pq.Shape()...), s.empty(c.B, c.H, c.Tq)
		s.k.Attention(zc.Tensor, lc.Tensor, pq.Tensor, heads(k).Tensor, heads(v).Tensor, cached)
		s.check(golden.Scores, fmt.Sprintf("attention %+v", cached), zc, want)
		s.check(golden.Scores, fmt.Sprintf("lse of attention %+v", cached), lc, lse)
		gq, gk, gv := s.empty(pq.Shape()...), s.empty(pk.Shape()...), s.empty(pk.Shape()...)
		s.k.AttentionGrad(gq.Tensor, gk.Tensor, gv.Tensor, s.put(dz, pq.Shape()...).Tensor, z.Tensor, l.Tensor, pq.Tensor, pk.Tensor, pv.Tensor, c)
		s.check(golden.Scores, fmt.Sprintf("dq of attention %+v", c), gq, dq)
		s.check(golden.Scores, fmt.Sprintf("dk of attention %+v", c), gk, dk)
		s.check(golden.Scores, fmt.Sprintf("dv of attention %+v", c), gv, dv)
	}
}

func crossEntropy(s *suite) {
	for _, c := range []struct {
		n, v  int
		scale float64 // of the logits
	}{{1, 1, 1}, {5, 7, 1}, {9, 1000, 4}, {70, 2111, 1}, {3, 64, 300}} {
		x, labels := s.numbers(c.n*c.v, c.scale), make([]int32, c.n)
		const scale = 0.125
		loss, grad := make([]float64, c.n), make([]float64, c.n*c.v)
		for i := range labels {
			if labels[i] = int32(s.random.Uint32() % uint32(c.v)); i%4 == 3 {
				labels[i] = -100
				continue
			}
			row := x[i*c.v : (i+1)*c.v]
			top, sum := slices.Max(row), 0.0
			for _, v := range row {
				sum += math.Exp(v - top)
			}
			loss[i] = scale * (top + math.Log(sum) - row[labels[i]])
			for j, v := range row {
				grad[i*c.v+j] = scale * math.Exp(v-top) / sum
			}
			grad[i*c.v+int(labels[i])] -= scale
		}
		for _, want := range []bool{false, true} {
			l, p := s.empty(c.n), s.put(x, c.n, c.v)
			s.k.CrossEntropy(l.Tensor, p.Tensor, labels, scale, want)
			s.check(golden.Scores, fmt.Sprintf("loss of cross-entropy %+v", c), l, loss)
			if want {
				s.check(golden.Scores, fmt.Sprintf("gradient of cross-entropy %+v", c), p, grad)
			} else {
				s.check(golden.Exact, "logits without gradient", p, x)
			}
		}
	}
}

func dropout(s *suite) {
	for _, n := range []int{1, 3, 40007} {
		for _, p := range []float64{0, 0.1, 0.5, 0.99} {
			x := s.numbers(n, 1)
			want := make([]float64, n)
			tensor.DropoutMask(p, 77, 0, n, func(i int, keep bool) {
				if keep {
					want[i] = x[i] * float64(float32(1/(1-p)))
				}
			})
			z := s.empty(n)
			s.k.Dropout(z.Tensor, s.put(x, n).Tensor, p, 77)
			s.check(golden.Rounded, fmt.Sprintf("dropout %g", p), z, want)
		}
	}
}

func adamW(s *suite) {
	for _, n := range []int{1, 13, 40007} {
		h := tensor.AdamWStep{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-6, WeightDecay: 0.1, Step: 3}
		p, g, m, v := s.numbers(n, 1), s.numbers(n, 1), s.numbers(n, 0.1), s.numbers(n, 0.1)
		for i := range v {
			v[i] *= v[i]
			v[i] = float64(float32(v[i]))
		}
		pp, pg, pm, pv := s.put(p, n), s.put(g, n), s.put(m, n), s.put(v, n)
		s.k.AdamW(pp.Tensor, pg.Tensor, pm.Tensor, pv.Tensor, h)
		bias1, bias2 := 1-math.Pow(h.Beta1, 3), 1-math.Pow(h.Beta2, 3)
		for i := range p {
			m[i] = h.Beta1*m[i] + (1-h.Beta1)*g[i]
			v[i] = h.Beta2*v[i] + (1-h.Beta2)*g[i]*g[i]
			p[i] = p[i]*(1-h.LR*h.WeightDecay) - h.LR*(m[i]/bias1)/(math.Sqrt(v[i]/bias2)+h.Eps)
		}
		s.check(golden.Sums, "parameters of adamw", pp, p)
		s.check(golden.Sums, "first moments of adamw", pm, m)
		s.check(golden.Sums, "second moments of adamw", pv, v)
		s.check(golden.Exact, "gradients of adamw", pg, g)
	}
}
