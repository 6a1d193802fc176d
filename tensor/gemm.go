package tensor

// matrix is an operand of gemm: element (i, j) lies at i*rs + j*cs. With dt ==
// F32 the elements are f32 and one of rs, cs is 1. Otherwise raw is a row-major
// matrix of dt whose rows are whole blocks, read as it stands (cs == 1) or
// transposed (rs == 1), and the other stride is its row length in elements.
type matrix struct {
	f32    []float32
	raw    []byte
	dt     DType
	rs, cs int
}

// gemm computes c = alpha·a·b (+ c) for a [m, k], b [k, n] and a row-major c
// with rows ldc apart.
func gemm(w *Workers, c []float32, ldc int, a, b matrix, m, n, k int, alpha float32, accumulate bool) {
	at := func(x matrix, i, j int) float32 {
		if x.dt == F32 {
			return x.f32[i*x.rs+j*x.cs]
		}
		row, col, ld := i, j, x.rs
		if x.cs != 1 {
			row, col, ld = j, i, x.cs
		}
		var buf [32]float32
		block, _ := x.dt.Block()
		col += row * ld
		x.dt.Decode(buf[:block], x.raw[x.dt.Bytes(col/block*block):])
		return buf[col%block]
	}
	for i := range m {
		for j := range n {
			var s float32
			for l := range k {
				s += at(a, i, l) * at(b, l, j)
			}
			if accumulate {
				c[i*ldc+j] += alpha * s
			} else {
				c[i*ldc+j] = alpha * s
			}
		}
	}
}

// gemm64 is gemm in F64: c = alpha·a·b (+ c), a and b strided by (rs, cs).
func gemm64(w *Workers, c []float64, ldc int, a []float64, ars, acs int, b []float64, brs, bcs int, m, n, k int, alpha float64, accumulate bool) {
	w.Run(m, func(i, _ int) {
		row := c[i*ldc:][:n]
		if !accumulate {
			clear(row)
		}
		for l := range k {
			f := alpha * a[i*ars+l*acs]
			for j := range row {
				row[j] += f * b[l*brs+j*bcs]
			}
		}
	})
}
