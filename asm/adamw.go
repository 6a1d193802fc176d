package asm

import "math"

// AdamW is one step of AdamW with decoupled weight decay on p, given the
// gradient g and the moments m and v; bias1 = 1-beta1^t and bias2 = 1-beta2^t.
//
//	for i := range p {
//		p[i] *= 1 - lr*weightDecay
//		m[i] += (1 - beta1) * (g[i] - m[i])
//		v[i] = v[i]*beta2 + (1-beta2)*g[i]*g[i]
//		p[i] -= lr / bias1 * m[i] / (sqrt(v[i])/sqrt(bias2) + eps)
//	}
//
// The arithmetic is that of PyTorch on a CPU (torch/optim/adam.py,
// single-tensor form): scalars are computed in float64 and rounded to float32
// once, the additions to m and v are fused, that to p is not, and m is
// interpolated from the nearer end. The square root is correctly rounded, while
// that of a PyTorch built with MKL is at times one ulp off.
func AdamW(p, g, m, v []float32, lr, beta1, beta2, eps, weightDecay, bias1, bias2 float64) {
	g, m, v = g[:len(p)], m[:len(p)], v[:len(p)]
	decay, w1 := float32(1-lr*weightDecay), float32(1-beta1)
	b2, w2 := float32(beta2), float32(1-beta2)
	root, e, step := float32(math.Sqrt(bias2)), float32(eps), float32(-(lr / bias1))
	if useVec && w1 < 0.5 {
		i := 0
		for end := len(p) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			adamwVec(p[i:j], g[i:j], m[i:j], v[i:j], decay, w1, b2, w2, root, e, step)
			i = j
		}
		if i < len(p) {
			tp, tg, tm, tv := pad(p[i:]), pad(g[i:]), pad(m[i:]), pad(v[i:])
			adamwVec(tp[:], tg[:], tm[:], tv[:], decay, w1, b2, w2, root, e, step)
			copy(p[i:], tp[:])
			copy(m[i:], tm[:])
			copy(v[i:], tv[:])
		}
		return
	}
	for i := range p {
		var mi float32
		if w1 < 0.5 {
			mi = fma(w1, g[i]-m[i], m[i])
		} else {
			mi = fma(w1-1, g[i]-m[i], g[i])
		}
		vi := fma(float32(w2*g[i]), g[i], float32(v[i]*b2))
		m[i], v[i] = mi, vi
		denom := float32(float32(math.Sqrt(float64(vi)))/root) + e
		p[i] = float32(p[i]*decay) + float32(step*mi)/denom
	}
}

// fma returns x*y + z rounded once but for the rare double rounding of a
// float64 sum that lies on a float32 tie.
func fma(x, y, z float32) float32 { return float32(float64(x)*float64(y) + float64(z)) }
