package asm

import "math"

// AdamW is one step of AdamW with decoupled weight decay on p, given the
// gradient g and the moments m and v; bias1 = 1-beta1^t and bias2 = 1-beta2^t.
// The arithmetic is PyTorch's in F32 (torch/optim/adam.py, single-tensor form):
// scalars are computed in float64 and rounded to float32 once.
//
//	for i := range p {
//		p[i] *= 1 - lr*weightDecay
//		m[i] += (1 - beta1) * (g[i] - m[i])
//		v[i] = v[i]*beta2 + (1-beta2)*g[i]*g[i]
//		p[i] -= lr / bias1 * m[i] / (sqrt(v[i])/sqrt(bias2) + eps)
//	}
func AdamW(p, g, m, v []float32, lr, beta1, beta2, eps, weightDecay, bias1, bias2 float64) {
	g, m, v = g[:len(p)], m[:len(p)], v[:len(p)]
	decay, w1 := float32(1-lr*weightDecay), float32(1-beta1)
	b2, w2 := float32(beta2), float32(1-beta2)
	root, e, step := float32(math.Sqrt(bias2)), float32(eps), float32(-(lr / bias1))
	for i := range p {
		mi := m[i] + float32(w1*(g[i]-m[i]))
		vi := float32(v[i]*b2) + float32(float32(w2*g[i])*g[i])
		m[i], v[i] = mi, vi
		denom := float32(math.Sqrt(float64(vi)))/root + e
		p[i] = float32(p[i]*decay) + float32(step*mi)/denom
	}
}
