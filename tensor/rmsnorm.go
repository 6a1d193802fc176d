package tensor

import "github.com/tenon-ml/tenon/asm"

func (c *CPU) rmsNorm(dst, rstd, x, w *Tensor, eps float64) {
	o := operands{z: dst.F32(), y: rstd.F32(), x: x.F32(), w: w.F32(), n: x.Dim(-1), a: float32(eps)}
	c.spread(len(o.y), rowsAtOnce(o.n), o, func(o operands, lo, hi int) {
		for i := lo; i < hi; i++ {
			o.y[i] = asm.RMSNormRow(o.z[i*o.n:(i+1)*o.n], o.x[i*o.n:(i+1)*o.n], o.w, o.a)
		}
	})
}

func (c *CPU) rmsNormGrad(dx, dw, dz, x, w, rstd *Tensor) {
	n := x.Dim(-1)
	r, s, g, z := rstd.F32(), x.F32(), w.F32(), dz.F32()
	if dx != nil {
		d := dx.F32()
		c.rows(len(r), n, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				asm.RMSNormGradRow(d[i*n:(i+1)*n], z[i*n:(i+1)*n], s[i*n:(i+1)*n], g, r[i], false)
			}
		})
	}
	if dw != nil {
		// Columns are split among the workers: rows are added in order.
		d := dw.F32()
		c.ranges(n, 64, func(lo, hi int) {
			for i, a := range r {
				asm.MulAddScaled(d[lo:hi], z[i*n:][lo:hi], s[i*n:][lo:hi], a)
			}
		})
	}
}
