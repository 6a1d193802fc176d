package tensor

import "github.com/tenon-ml/tenon/asm"

func (c *CPU) swiGLU(dst, gate, up *Tensor) {
	d, g, u := dst.F32(), gate.F32(), up.F32()
	c.ranges(len(d), chunk, func(lo, hi int) { asm.SwiGLU(d[lo:hi], g[lo:hi], u[lo:hi]) })
}

func (c *CPU) swiGLUGrad(dgate, dup, dz, gate, up *Tensor) {
	dg, du, z, g, u := dgate.F32(), dup.F32(), dz.F32(), gate.F32(), up.F32()
	c.ranges(len(dg), chunk, func(lo, hi int) {
		asm.SwiGLUGrad(dg[lo:hi], du[lo:hi], z[lo:hi], g[lo:hi], u[lo:hi])
	})
}
