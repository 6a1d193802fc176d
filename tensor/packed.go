package tensor

import "github.com/tenon-ml/tenon/asm"

// Pack returns the F32 matrix t [N, K] in panels (type Panels), the form in which
// MatMul's right side is multiplied: for a frozen weight that is packed once and
// not in each product, and held in no other form. Element (n, k) is number
//
//	n/16·16·K + k·16 + n%16
//
// of the panels. They take t's memory and its place: the caller, who is the one
// owner, uses the result instead of t. What cannot be packed is returned as it is: a
// matrix of another type or of one column, with rows that do not fill panels, on
// another device or with other owners, and on a CPU that computes in BF16.
//
// MatMul takes panels on its right side, fastest in x·Wᵀ; in x·W they are packed
// anew on the fly. Gather, Copy to F32, CopyTo and Clone read them, and Slice cuts
// between panels.
func (t *Tensor) Pack() *Tensor {
	c, ok := t.dev.(*CPU)
	if !ok || c.Compute() == ComputeBF16 || t.dt != F32 || len(t.shape) != 2 || t.shape[0]%asm.TileCols != 0 || t.shape[1] < 2 || t.arena != nil || !t.Exclusive() {
		return t
	}
	k := t.shape[1]
	data := t.F32()
	scratch := make([][]float32, c.Threads())
	c.workers.Run(t.shape[0]/asm.TileCols, func(task, worker int) {
		rows := floats(&scratch[worker], asm.TileCols*k)
		panel := data[task*asm.TileCols*k:][:len(rows)]
		copy(rows, panel)
		asm.Pack(panel, rows, 1, k, k, asm.TileCols)
	})
	p := *t
	p.dt = Panels
	return &p
}

// panels returns the elements of a tensor in panels, from its first to the end of
// its buffer.
func (t *Tensor) panels() []float32 {
	if t.off/t.shape[len(t.shape)-1]%asm.TileCols != 0 {
		Bad("read panels", "a slice that begins with a panel", t)
	}
	return elements[float32](t)
}

// unpack writes rows r0 to r0+rows and columns c0 to c0+cols of a matrix of
// panels whose rows have k elements to dst, row-major.
func unpack(dst, panels []float32, k, r0, rows, c0, cols int) {
	for r := range rows {
		i := r0 + r
		src := panels[i/asm.TileCols*asm.TileCols*k+c0*asm.TileCols+i%asm.TileCols:]
		row := dst[r*cols:][:cols]
		for c := range row {
			row[c] = src[c*asm.TileCols]
		}
	}
}
