package tensor

import (
	"math"

	"github.com/tenon-ml/tenon/asm"
)

func (c *CPU) adamW(p, g, m, v *Tensor, h AdamWStep) {
	ps, gs, ms, vs := p.F32(), g.F32(), m.F32(), v.F32()
	bias1 := 1 - math.Pow(h.Beta1, float64(h.Step))
	bias2 := 1 - math.Pow(h.Beta2, float64(h.Step))
	if len(ps) <= chunk { // most of LoRA's: no closure
		asm.AdamW(ps, gs, ms, vs, h.LR, h.Beta1, h.Beta2, h.Eps, h.WeightDecay, bias1, bias2)
		return
	}
	c.ranges(len(ps), chunk, func(lo, hi int) {
		asm.AdamW(ps[lo:hi], gs[lo:hi], ms[lo:hi], vs[lo:hi], h.LR, h.Beta1, h.Beta2, h.Eps, h.WeightDecay, bias1, bias2)
	})
}
