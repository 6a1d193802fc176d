package tensor

import "github.com/tenon-ml/tenon/asm"

func (c *CPU) rope(dst, x, cos, sin *Tensor, inverse bool) {
	h, n := x.Dim(-2), x.Dim(-1)
	period, half := cos.Dim(0), n/2
	d, s, co, si := dst.F32(), x.F32(), cos.F32(), sin.F32()
	c.rows(x.Elems()/(h*n), h*n, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			cr, sr := co[t%period*half:][:half], si[t%period*half:][:half]
			for i := t * h * n; i < (t+1)*h*n; i += n {
				asm.RoPERow(d[i:i+n], s[i:i+n], cr, sr, inverse)
			}
		}
	})
}
