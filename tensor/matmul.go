package tensor

func (c *CPU) matMul(dst, x, y *Tensor, tx, ty bool, alpha float64, accumulate bool) {
	nd := len(dst.shape)
	m, n := dst.shape[nd-2], dst.shape[nd-1]
	k := x.shape[nd-1]
	if tx {
		k = x.shape[nd-2]
	}
	batch := Shape(dst.shape[:nd-2]).Elems()
	if m*n == 0 {
		return
	}
	for i := range batch {
		if dst.dt == F64 {
			ars, acs := matStrides(m, k, tx)
			brs, bcs := matStrides(k, n, ty)
			gemm64(c.workers, dst.F64()[i*m*n:], n, x.F64()[i*m*k:], ars, acs, y.F64()[i*k*n:], brs, bcs, m, n, k, alpha, accumulate)
			continue
		}
		a := x.matrix(i, m, k, tx)
		b := y.matrix(i, k, n, ty)
		gemm(c.workers, dst.F32()[i*m*n:(i+1)*m*n], n, a, b, m, n, k, float32(alpha), accumulate)
	}
}

// matStrides returns the row and column strides of a rows×cols operand that is
// stored contiguously, transposed if t.
func matStrides(rows, cols int, t bool) (rs, cs int) {
	if t {
		return 1, rows
	}
	return cols, 1
}

// matrix returns batch entry i of t as gemm's operand.
func (t *Tensor) matrix(i, rows, cols int, transposed bool) matrix {
	m := matrix{dt: t.dt}
	m.rs, m.cs = matStrides(rows, cols, transposed)
	n := rows * cols
	switch {
	case t.dt == F32:
		m.f32 = t.F32()[i*n : (i+1)*n]
	case t.dt == Panels:
		m.f32 = t.panels()[i*n : (i+1)*n]
	case t.Quant() != nil:
		m.quant, m.raw, m.at = t.Quant(), t.store.buf.(*cpuBuffer).b, t.off+i*n
	default:
		m.raw = t.Bytes()[t.dt.Bytes(i*n):t.dt.Bytes((i+1)*n)]
	}
	return m
}
