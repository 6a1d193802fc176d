package tensor

import (
	"math"

	"github.com/tenon-ml/tenon/asm"
)

func (c *CPU) adamW(p, g, m, v *Tensor, h AdamWStep) {
	ps, gs, ms, vs := p.F32(), g.F32(), m.F32(), v.F32()
	c.ranges(len(ps), chunk, func(lo, hi int) { h.step(ps[lo:hi], gs[lo:hi], ms[lo:hi], vs[lo:hi]) })
}

func (h *AdamWStep) step(p, g, m, v []float32) {
	bias1 := 1 - math.Pow(h.Beta1, float64(h.Step))
	bias2 := 1 - math.Pow(h.Beta2, float64(h.Step))
	asm.AdamW(p, g, m, v, h.LR, h.Beta1, h.Beta2, h.Eps, h.WeightDecay, bias1, bias2)
}
