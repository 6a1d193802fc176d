package tensor

import "github.com/tenon-ml/tenon/asm"

func (c *CPU) swiGLU(dst, gate, up *Tensor) {
	o := operands{z: dst.F32(), x: gate.F32(), y: up.F32()}
	c.spread(len(o.z), chunk, o, func(o operands, lo, hi int) { asm.SwiGLU(o.z[lo:hi], o.x[lo:hi], o.y[lo:hi]) })
}

func (c *CPU) swiGLUGrad(dgate, dup, dz, gate, up *Tensor) {
	dg, du, z, g, u := dgate.F32(), dup.F32(), dz.F32(), gate.F32(), up.F32()
	c.ranges(len(dg), chunk, func(lo, hi int) {
		asm.SwiGLUGrad(dg[lo:hi], du[lo:hi], z[lo:hi], g[lo:hi], u[lo:hi])
	})
}
