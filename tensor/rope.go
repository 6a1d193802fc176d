package tensor

import "github.com/tenon-ml/tenon/asm"

func (c *CPU) rope(dst, x, cos, sin *Tensor, inverse bool) {
	n, token := x.Dim(-1), x.Dim(-2)*x.Dim(-1)
	o := operands{z: dst.F32(), x: x.F32(), y: cos.F32(), w: sin.F32(), n: n, token: token, inverse: inverse}
	c.spread(x.Elems()/token, rowsAtOnce(token), o, func(o operands, lo, hi int) {
		half := o.n / 2
		for t := lo; t < hi; t++ {
			row := t * half % len(o.y)
			cos, sin := o.y[row:][:half], o.w[row:][:half]
			for i := t * o.token; i < (t+1)*o.token; i += o.n {
				asm.RoPERow(o.z[i:i+o.n], o.x[i:i+o.n], cos, sin, o.inverse)
			}
		}
	})
}
