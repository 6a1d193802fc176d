package tensor

import "github.com/tenon-ml/tenon/asm"

func (c *CPU) reduce(op ReduceOp, dst, x *Tensor) {
	n := x.Dim(-1)
	if dst.dt == F64 {
		d, s := dst.F64(), x.F64()
		for r := range d {
			v := s[r*n]
			for _, e := range s[r*n+1 : (r+1)*n] {
				switch {
				case op == OpSum:
					v += e
				case e > v || e != e:
					v = e
				}
			}
			d[r] = v
		}
		return
	}
	d, s := dst.F32(), x.F32()
	c.rows(len(d), n, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			if op == OpSum {
				d[r] = asm.Sum(s[r*n : (r+1)*n])
			} else {
				d[r] = asm.Max(s[r*n : (r+1)*n])
			}
		}
	})
}
