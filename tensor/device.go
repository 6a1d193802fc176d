package tensor

// Buffer is memory of a device. Only its device can look inside: on some
// devices it is a handle without a Go address.
type Buffer interface {
	Bytes() int // size
}

// Device stores tensors and computes on them.
type Device interface {
	Name() string // "cpu", "cuda:0"
	Alloc(dt DType, n int) (Buffer, error)
	CopyIn(dst Buffer, src []byte) error
	CopyOut(dst []byte, src Buffer) error
	Free(Buffer)
	Sync() error
	Kernels() *Kernels
}

// Kernels is what a device can compute, over contiguous tensors of its own,
// with results in memory that the caller allocated. Shapes have been checked.
//
// The first group is mandatory, in F32 and F64 (MatMul's right side and the
// sources of Gather and Copy may have any type that can be decoded). The others
// may be nil and serve F32 alone: package autograd has a composite of mandatory
// kernels for each, which is its definition, its fallback and its oracle.
type Kernels struct {
	// Fill sets every element to v.
	Fill func(dst *Tensor, v float64)
	// Unary computes dst[i] = op(x[i]).
	Unary func(op UnaryOp, dst, x *Tensor)
	// Binary computes dst[i] = x[i] op y[i]; x and y are broadcast to dst's shape.
	Binary func(op BinaryOp, dst, x, y *Tensor)
	// Reduce folds the last axis of x: dst[r] = op over x[r, :].
	Reduce func(op ReduceOp, dst, x *Tensor)
	// Copy copies an array of the given shape between strided places of dst and
	// src (strides in elements, 0 repeats), converting src's type to dst's.
	Copy func(dst *Tensor, dstStride []int, src *Tensor, srcStride []int, shape Shape)
	// Gather computes dst[i, :] = src[ids[i], :].
	Gather func(dst, src *Tensor, ids []int32)
	// ScatterAdd computes dst[ids[i], :] += src[i, :], i in rising order.
	ScatterAdd func(dst, src *Tensor, ids []int32)
	// MatMul computes dst = alpha·op(x)·op(y), added to dst if accumulate.
	// x is [.., M, K] ([.., K, M] if tx), y [.., K, N] ([.., N, K] if ty); both
	// have the same leading axes.
	MatMul func(dst, x, y *Tensor, tx, ty bool, alpha float64, accumulate bool)

	// Encode stores the elements of src, in order, as dst's type, which may be F32.
	Encode func(dst, src *Tensor)
	// Affine sets h = x·aᵀ [N, R] for x [N, in] and the inner halves a [R, in] of the
	// low-rank terms, and z = x·wᵀ + scale·h[:, at:at+r]·bᵀ of each term. h and a are
	// nil if no term is low-rank.
	Affine func(z []*Tensor, h, x, a *Tensor, terms []AffineTerm)
	// AffineGrad sets what is not nil of
	//
	//	u[:, at:at+r] = scale·dz·b    dx = Σ dz·w + u·a    da = uᵀ·x    db = scale·dzᵀ·h[:, at:at+r]
	//
	// u, which dx and da need if any term is low-rank, is zero in the columns of no term.
	AffineGrad func(dx, da *Tensor, db []*Tensor, u *Tensor, dz []*Tensor, h, x, a *Tensor, terms []AffineTerm)
	// MatMulTs computes products that do not depend on each other.
	MatMulTs func(ps []Product)
	// RMSNorm computes dst[r] = x[r]·rstd[r]·w, rstd[r] = 1/√(mean(x[r]²)+eps).
	RMSNorm func(dst, rstd, x, w *Tensor, eps float64)
	// RMSNormGrad sets dx and adds to dw; either may be nil.
	RMSNormGrad func(dx, dw, dz, x, w, rstd *Tensor)
	// RoPE turns each head of x [N, H, D] by the angles whose cosines and sines
	// are in row n mod len(rows) of cos and sin [rows, D/2]; inverse turns back.
	RoPE func(dst, x, cos, sin *Tensor, inverse bool)
	// SwiGLU computes dst = silu(gate)·up.
	SwiGLU func(dst, gate, up *Tensor)
	// SwiGLUGrad sets dgate and dup.
	SwiGLUGrad func(dgate, dup, dz, gate, up *Tensor)
	// Attention sets dst [B, Tq, H, D] and lse [B, H, Tq], see AttentionShape.
	Attention func(dst, lse, q, k, v *Tensor, s AttentionShape)
	// AttentionGrad sets dq, dk and dv from dst = z of the forward pass.
	AttentionGrad func(dq, dk, dv, dz, z, lse, q, k, v *Tensor, s AttentionShape)
	// CrossEntropy turns logits [N, V] into their gradient in place and sets
	// loss[n]; rows whose label is -100 get loss 0 and gradient 0. With grad
	// false the logits are left as they are. See autograd.CrossEntropy.
	CrossEntropy func(loss, logits *Tensor, labels []int32, scale float64, grad bool)
	// Dropout computes dst[i] = x[i]·keep(i)/(1-p), see autograd.Dropout.
	Dropout func(dst, x *Tensor, p float64, key uint64)
	// AdamW takes one step of PyTorch's AdamW in place.
	AdamW func(p, g, m, v *Tensor, h AdamWStep)
	// AdamW8bit is AdamW whose moments are decoded from 8 bits before the step and
	// encoded after it, each element by the nearest code.
	AdamW8bit func(p, g *Tensor, m, v Moment8, h AdamWStep)
}

// AttentionShape describes causal grouped-query attention. Queries are
// [B, Tq, H, D], keys and values [B, Tk, KV, D], or those of a cache, [B, KV, Room, D] of any
// type that can be decoded. Query head h uses key head h / (H/KV). Visible tells which keys a query sees.
type AttentionShape struct {
	B, Tq, Tk, H, KV, D int
	Room                int     // keys that a head has room for in a cache; 0: no cache
	Scale               float32 // of q·k, usually 1/√D
	Window              int     // of the last keys; 0: all
	Starts              []int32 // [B·Tq], the first key that a query may see, rising along a row; nil: 0
}

// Visible returns the keys first ≤ j < end that query t of row b sees: those up to
// its own, Tk-Tq+t, of which it sees the last Window, from Starts on.
func (s *AttentionShape) Visible(b, t int) (first, end int) {
	end = s.Tk - s.Tq + t + 1
	if s.Window > 0 {
		first = max(0, end-s.Window)
	}
	if s.Starts != nil {
		first = max(first, int(s.Starts[b*s.Tq+t]))
	}
	return first, end
}

// AdamWStep holds the numbers of one AdamW step: Step counts from 1.
type AdamWStep struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	Step                               int
}

// UnaryOp names an element-wise function of one argument.
type UnaryOp uint8

// The element-wise functions of one argument.
const (
	OpNeg UnaryOp = iota
	OpExp
	OpLog
	OpSqrt
	OpRsqrt
	OpRecip
	OpSigmoid
	OpSiLU
)

// BinaryOp names an element-wise function of two arguments.
type BinaryOp uint8

// The element-wise functions of two arguments.
const (
	OpAdd BinaryOp = iota
	OpSub
	OpMul
	OpDiv
)

// ReduceOp names a way to fold an axis.
type ReduceOp uint8

// The ways to fold an axis.
const (
	OpSum ReduceOp = iota
	OpMax
)
