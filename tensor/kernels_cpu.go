package tensor

// chunk is the number of elements that one task of an element-wise kernel
// handles: enough that handing it out costs nothing, few enough that the data of
// two operands stay in the second-level cache.
const chunk = 1 << 14

// table returns the CPU's kernels. One op is one file: its CPU kernel is in the
// file of its name.
func (c *CPU) table() Kernels {
	return Kernels{
		Fill:       c.fill,
		Unary:      c.unary,
		Binary:     c.binary,
		Reduce:     c.reduce,
		Copy:       c.copyStrided,
		Gather:     c.gather,
		ScatterAdd: c.scatterAdd,
		MatMul:     c.matMul,

		Encode:        c.encode,
		MatMulTs:      c.matMulTs,
		Affine:        c.affine,
		AffineGrad:    c.affineGrad,
		RMSNorm:       c.rmsNorm,
		RMSNormGrad:   c.rmsNormGrad,
		RoPE:          c.rope,
		SwiGLU:        c.swiGLU,
		SwiGLUGrad:    c.swiGLUGrad,
		Attention:     c.attention,
		AttentionGrad: c.attentionGrad,
		CrossEntropy:  c.crossEntropy,
		Dropout:       c.dropout,
		AdamW:         c.adamW,
		AdamW8bit:     c.adamW8bit,
	}
}

// ranges runs f over 0 ≤ i < n in pieces of the given size, on all workers.
// Pieces depend on n and size alone.
func (c *CPU) ranges(n, size int, f func(lo, hi int)) {
	if n <= size {
		if n > 0 {
			f(0, n)
		}
		return
	}
	c.workers.Run((n+size-1)/size, func(task, _ int) {
		f(task*size, min((task+1)*size, n))
	})
}

// operands is what a kernel over ranges computes on. Passing it to a function that
// captures nothing makes no closure, which would be an allocation for each call.
type operands struct {
	z, x, y, w []float32
	n, token   int // lengths of rows
	a          float32
	inverse    bool
	op         BinaryOp
}

// spread is ranges for the kernels that a decoded token is made of.
func (c *CPU) spread(n, size int, o operands, f func(o operands, lo, hi int)) {
	if n <= size {
		if n > 0 {
			f(o, 0, n)
		}
		return
	}
	c.workers.Run((n+size-1)/size, func(task, _ int) {
		f(o, task*size, min((task+1)*size, n))
	})
}

// rowsAtOnce returns the rows of cols elements that one task handles.
func rowsAtOnce(cols int) int { return max(1, chunk/max(cols, 1)) }

// rows runs f over the rows of an array whose rows have cols elements.
func (c *CPU) rows(n, cols int, f func(lo, hi int)) {
	c.ranges(n, rowsAtOnce(cols), f)
}
