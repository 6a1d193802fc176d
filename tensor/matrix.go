package tensor

import "github.com/tenon-ml/tenon/asm"

// matrix is an operand of gemm: element (i, j) lies at i*rs + j*cs. With dt ==
// F32 the elements are f32 and one of rs, cs is 1. Otherwise raw is a row-major
// matrix of dt whose rows are whole blocks, read as it stands (cs == 1) or
// transposed (rs == 1), and the other stride is its row length in elements; of
// Panels f32 are the panels; in NF4 and FP4 its first element is number at of those that raw holds.
type matrix struct {
	f32    []float32
	raw    []byte
	quant  *Quant // of NF4 and FP4
	at     int
	dt     DType
	rs, cs int
}

func (x matrix) transposed() matrix {
	x.rs, x.cs = x.cs, x.rs
	return x
}

// inPlace reports whether x is read where it lies as fast as packed: rows of F32, unless
// they lie multiples of 4 KiB apart, where they all meet in the same sets of a cache.
func (x *matrix) inPlace() bool { return x.dt == F32 && x.cs == 1 && x.rs%1024 != 0 }

// block returns the length of the blocks that x can be cut between.
func (x *matrix) block() int {
	if x.quant != nil {
		return 1
	}
	n, _ := x.dt.Block()
	return n
}

// aheadRows is how many rows ahead decode asks for what it will read.
const aheadRows = 16

// decode writes rows r0 to r0+rows and columns c0 to c0+cols of the stored
// matrix to dst, row-major. c0 and cols are whole blocks.
func (x *matrix) decode(dst []float32, r0, rows, c0, cols int) {
	ld := x.rs
	if x.cs != 1 {
		ld = x.cs
	}
	if x.quant != nil {
		for r := range rows {
			at := x.at + (r0+r)*ld + c0
			x.ahead((at+aheadRows*ld)/2, cols/2)
			x.quant.decode(dst[r*cols:][:cols], x.raw, at, false)
		}
		return
	}
	if x.dt == Panels {
		unpack(dst, x.f32, ld, r0, rows, c0, cols)
		return
	}
	if cols == ld && c0 == 0 {
		x.dt.Decode(dst[:rows*cols], x.raw[x.dt.Bytes(r0*ld):])
		return
	}
	for r := range rows {
		at := (r0+r)*ld + c0
		x.ahead(x.dt.Bytes(at+aheadRows*ld), x.dt.Bytes(cols))
		x.dt.Decode(dst[r*cols:][:cols], x.raw[x.dt.Bytes(at):])
	}
}

// ahead asks for n bytes from number at on, if x has them. Rows are far apart: the
// machine does not see what comes next.
func (x *matrix) ahead(at, n int) {
	if at+n <= len(x.raw) {
		asm.Prefetch(x.raw[at:][:n])
	}
}
