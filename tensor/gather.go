package tensor

import "github.com/tenon-ml/tenon/asm"

func (c *CPU) gather(dst, src *Tensor, ids []int32) {
	n := src.Dim(-1)
	switch {
	case src.dt == F64:
		d, s := dst.F64(), src.F64()
		for i, id := range ids {
			copy(d[i*n:(i+1)*n], s[int(id)*n:])
		}
	case src.dt == F32:
		d, s := dst.F32(), src.F32()
		for i, id := range ids {
			copy(d[i*n:(i+1)*n], s[int(id)*n:])
		}
	default:
		d := dst.F32()
		for i, id := range ids {
			src.decode(d[i*n:(i+1)*n], int(id)*n, false)
		}
	}
}

func (c *CPU) scatterAdd(dst, src *Tensor, ids []int32) {
	n := src.Dim(-1)
	if dst.dt == F64 {
		d, s := dst.F64(), src.F64()
		for i, id := range ids {
			row := d[int(id)*n:][:n]
			for j, v := range s[i*n : (i+1)*n] {
				row[j] += v
			}
		}
		return
	}
	// Columns are split among the workers, so that the order of additions to an
	// element is that of ids.
	d, s := dst.F32(), src.F32()
	c.ranges(n, 64, func(lo, hi int) {
		for i, id := range ids {
			row := d[int(id)*n:][lo:hi]
			asm.Add(row, row, s[i*n:][lo:hi])
		}
	})
}
