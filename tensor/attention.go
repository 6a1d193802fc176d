package tensor

import (
	"math"
	"sync"

	"github.com/tenon-ml/tenon/asm"
)

// Attention is computed in tiles, after Dao et al., "FlashAttention" (2022): a
// tile of scores lives in a worker's scratch, and no T×T matrix ever exists. The
// query heads that share a key head are stacked into one tile, so that a block
// of keys is packed once for all of them. Order and size of the tiles depend on
// the shape alone.
const (
	keyBlock = 64  // keys in a tile
	maxRows  = 512 // stacked query rows in a tile
)

// attnTask is what a worker needs for one tile of stacked query rows.
type attnTask struct {
	q, o            []float32 // [rows, D] a stacked copy and the accumulator
	s               []float32 // [rows, keyBlock]
	m, sum          []float32 // per row
	gemm, decoded   []float32
	g, block, heads int  // stacked heads, tokens of a block, heads of q
	bf16            bool // products are of operands rounded to BF16
}

// scratch keeps the memory of attention tasks between calls.
var attnScratch = sync.Pool{New: func() any { return new(attnTask) }}

// queryBlock returns the tokens of a query block: fewer where many heads share
// one key head.
func (s AttentionShape) queryBlock() int { return max(1, min(64, maxRows/(s.H/s.KV), s.Tq)) }

func newAttnTask(s AttentionShape, bf16 bool) *attnTask {
	t := attnScratch.Get().(*attnTask)
	t.fit(s)
	t.bf16 = bf16
	return t
}

// fit makes the scratch large enough.
func (t *attnTask) fit(s AttentionShape) {
	t.g, t.block, t.heads = s.H/s.KV, s.queryBlock(), s.H
	rows := t.g * t.block
	t.q, t.o, t.s = sized(t.q, rows*s.D), sized(t.o, rows*s.D), sized(t.s, rows*keyBlock)
	t.m, t.sum = sized(t.m, rows), sized(t.sum, rows)
	t.gemm = sized(t.gemm, asm.GemmScratch())
}

func (t *attnTask) done() { attnScratch.Put(t) }

// bytes returns the scratch that the task holds.
func (t *attnTask) bytes() int {
	n := 0
	for _, s := range [][]float32{t.q, t.o, t.s, t.m, t.sum, t.gemm, t.decoded} {
		n += 4 * cap(s)
	}
	return n
}

func sized(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

// stack copies the rows t0 ≤ t < t1 of the heads of key head kv, batch row b,
// from x [B, T, H, D] to dst [g·(t1-t0), D], times a.
func (t *attnTask) stack(dst, x []float32, s AttentionShape, b, kv, t0, t1 int, a float32) {
	n := t1 - t0
	for g := range t.g {
		for i := range n {
			src := x[((b*s.Tq+t0+i)*s.H+kv*t.g+g)*s.D:][:s.D]
			asm.Scale(dst[(g*n+i)*s.D:][:s.D], src, a)
		}
	}
}

// unstack is the inverse of stack: it writes src·a to x.
func (t *attnTask) unstack(x, src []float32, s AttentionShape, b, kv, t0, t1 int, a float32) {
	n := t1 - t0
	for g := range t.g {
		for i := range n {
			dst := x[((b*s.Tq+t0+i)*s.H+kv*t.g+g)*s.D:][:s.D]
			asm.Scale(dst, src[(g*n+i)*s.D:][:s.D], a)
		}
	}
}

// multiply computes c = a·b (+ c) for a [m, k] with rows lda apart.
func (t *attnTask) multiply(c []float32, ldc int, a []float32, lda int, b []float32, brs, bcs, m, n, k int, accumulate bool) {
	switch {
	case t.bf16:
		asm.GemmBF16(c, ldc, a, lda, 1, b, brs, bcs, m, n, k, 1, accumulate, t.gemm)
	case m <= skinnyRows && brs == 1 && !accumulate: // too few rows to be worth packing b
		asm.RowDotsMulti(c, ldc, b, bcs, n, a, lda, m, k)
	default:
		asm.Gemm(c, ldc, a, lda, 1, b, brs, bcs, m, n, k, 1, accumulate, t.gemm)
	}
}

// within returns which of the keys k0 ≤ j < k1 query t of row b sees, counted from
// k0: 0 ≤ lo ≤ j < hi ≤ k1-k0.
func (s *AttentionShape) within(b, t, k0, k1 int) (lo, hi int) {
	first, end := s.Visible(b, t)
	n := k1 - k0
	lo = min(max(first-k0, 0), n)
	return lo, min(max(end-k0, lo), n)
}

func (c *CPU) attention(dst, lse, q, k, v *Tensor, s AttentionShape) {
	if s.Tq <= fewQueries {
		c.attendFew(dst, lse, q, k, v, s)
	} else {
		c.attendMany(dst, lse, q, k, v, s)
	}
}

func (c *CPU) attendMany(dst, lse, q, k, v *Tensor, s AttentionShape) {
	z, l, qs := dst.F32(), lse.F32(), q.F32()
	ks, vs := s.keys(k), s.keys(v)
	bq := s.queryBlock()
	blocks := (s.Tq + bq - 1) / bq
	c.workers.Run(s.B*s.KV*blocks, func(task, _ int) {
		// The last blocks see most keys: they come first.
		t0 := (blocks - 1 - task%blocks) * bq
		b, kv := task/blocks/s.KV, task/blocks%s.KV
		t1 := min(t0+bq, s.Tq)
		n := t1 - t0
		t := newAttnTask(s, c.workers.compute == ComputeBF16)
		defer t.done()
		t.stack(t.q, qs, s, b, kv, t0, t1, s.Scale)
		t.attend(t.o, &ks, &vs, &s, b, kv, t0, t1, 0, s.Tk)
		for r := range t.g * n {
			row := t.o[r*s.D:][:s.D]
			asm.Scale(row, row, 1/t.sum[r])
			l[(b*s.H+kv*t.g+r/n)*s.Tq+t0+r%n] = t.m[r] + float32(math.Log(float64(t.sum[r])))
		}
		t.unstack(z, t.o, s, b, kv, t0, t1, 1)
	})
}

// attend sets, for the stacked rows of the queries t0 ≤ t < t1 and those of the
// keys from ≤ j < to that they see, t.m to the largest score, t.sum to
// Σ exp(score - m) and o to Σ exp(score - m)·v.
func (t *attnTask) attend(o []float32, k, v *matrix, s *AttentionShape, b, kv, t0, t1, from, to int) {
	n := t1 - t0
	rows := t.g * n
	o = o[:rows*s.D]
	clear(o)
	clear(t.sum[:rows])
	for i := range t.m[:rows] {
		t.m[i] = float32(math.Inf(-1))
	}
	first, _ := s.Visible(b, t0)
	_, end := s.Visible(b, t1-1)
	first, end = max(first, from), min(end, to)
	for k0 := first / keyBlock * keyBlock; k0 < end; k0 += keyBlock {
		k1 := min(k0+keyBlock, end)
		v.prefetch(s, b, kv, k0, k1)
		kb, ld := t.tile(k, s, b, kv, k0, k1)
		t.multiply(t.s, keyBlock, t.q, s.D, kb, 1, ld, rows, k1-k0, s.D, false)
		for r := range rows {
			row := t.s[r*keyBlock:][:k1-k0]
			lo, hi := s.within(b, t0+r%n, k0, k1)
			clear(row[:lo])
			clear(row[hi:])
			if row = row[lo:hi]; len(row) == 0 {
				continue
			}
			top := max(t.m[r], asm.Max(row))
			if top > t.m[r] {
				f := float32(math.Exp(float64(t.m[r] - top)))
				t.sum[r] *= f
				asm.Scale(o[r*s.D:][:s.D], o[r*s.D:][:s.D], f)
				t.m[r] = top
			}
			t.sum[r] += asm.ExpSubSum(row, row, top)
		}
		k.prefetch(s, b, kv, k1, min(k1+keyBlock, end))
		vb, ld := t.tile(v, s, b, kv, k0, k1)
		t.multiply(o, s.D, t.s, keyBlock, vb, ld, 1, rows, s.D, k1-k0, true)
	}
}

// keys returns keys or values as a matrix whose rows hold one key's, or one head's
// of one key in a cache.
func (s *AttentionShape) keys(x *Tensor) matrix {
	if s.Room > 0 {
		return x.matrix(0, s.B*s.KV*s.Room, s.D, false)
	}
	return x.matrix(0, s.B*s.Tk, s.KV*s.D, false)
}

// tile returns rows k0 to k1 of key head kv in the keys or values x, ld floats
// apart: where they lie, or decoded.
func (t *attnTask) tile(x *matrix, s *AttentionShape, b, kv, k0, k1 int) (rows []float32, ld int) {
	row, column := s.place(b, kv, k0)
	if x.dt == F32 {
		return x.f32[row*x.rs+column:], x.rs
	}
	t.decoded = sized(t.decoded, keyBlock*s.D)
	x.decode(t.decoded, row, k1-k0, column, s.D)
	return t.decoded, s.D
}

// place returns where key j of key head kv begins in what keys returns.
func (s *AttentionShape) place(b, kv, j int) (row, column int) {
	if s.Room > 0 {
		return (b*s.KV+kv)*s.Room + j, 0
	}
	return b*s.Tk + j, kv * s.D
}

// prefetch asks for rows k0 to k1 of key head kv in the keys or values x, if x is
// a cache.
func (x *matrix) prefetch(s *AttentionShape, b, kv, k0, k1 int) {
	if s.Room == 0 || k1 <= k0 {
		return
	}
	row, _ := s.place(b, kv, k0)
	if x.dt == F32 {
		asm.Prefetch(x.f32[row*s.D:][:(k1-k0)*s.D])
	} else {
		asm.Prefetch(x.raw[x.dt.Bytes(row*s.D):][:x.dt.Bytes((k1-k0)*s.D)])
	}
}
