package asm

// AttentionGrad turns scores into probabilities and the gradient of those into
// that of the scores:
//
//	for i := range p {
//		p[i] = exp(p[i] - lse[i])
//		ds[i] = p[i] * (ds[i] - delta[i])
//	}
func AttentionGrad(p, ds, lse, delta []float32) {
	n := len(p)
	ds, lse, delta = ds[:n], lse[:n], delta[:n]
	if useVec {
		i := 0
		for end := n &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			attentionGradVec(p[i:j], ds[i:j], lse[i:j], delta[i:j])
			i = j
		}
		if i < n {
			tp, td, tl, tt := pad(p[i:]), pad(ds[i:]), pad(lse[i:]), pad(delta[i:])
			attentionGradVec(tp[:], td[:], tl[:], tt[:])
			copy(p[i:], tp[:])
			copy(ds[i:], td[:])
		}
		return
	}
	for i := range p {
		p[i] = exp(p[i] - lse[i])
		ds[i] = p[i] * (ds[i] - delta[i])
	}
}
