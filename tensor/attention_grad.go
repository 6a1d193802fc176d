package tensor

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tenon-ml/tenon/asm"
)

// gradTask is the scratch of one block of queries in attentionGrad. Its rows are
// the block's queries, the heads that share a key head side by side: row i·g + h.
// Scores are computed transposed, a key a row, so that q and dz are packed once
// for all keys and keys are read where they lie.
type gradTask struct {
	q, dz      []float32 // [rows, D]
	qt, dzt    []float32 // the same transposed, as panels
	dq         []float32 // [rows, D], the sum so far
	p, ds      []float32 // [keyBlock, rows]
	lse, delta []float32 // a row
	gemm       []float32
}

// gradScratch keeps the memory of gradTasks between calls.
var gradScratch = sync.Pool{New: func() any { return new(gradTask) }}

func newGradTask(s *AttentionShape) *gradTask {
	t := gradScratch.Get().(*gradTask)
	rows := s.H / s.KV * s.queryBlock()
	for _, m := range []*[]float32{&t.q, &t.dz, &t.dq} {
		*m = sized(*m, rows*s.D)
	}
	for _, m := range []*[]float32{&t.qt, &t.dzt} {
		*m = sized(*m, asm.PanelsLen(s.D, rows))
	}
	t.p, t.ds = sized(t.p, keyBlock*rows), sized(t.ds, keyBlock*rows)
	t.lse, t.delta = sized(t.lse, rows), sized(t.delta, rows)
	t.gemm = sized(t.gemm, asm.GemmScratch())
	return t
}

func (t *gradTask) done() { gradScratch.Put(t) }

// bytes returns the scratch that the task holds.
func (t *gradTask) bytes() int {
	n := 0
	for _, s := range [][]float32{t.q, t.dz, t.qt, t.dzt, t.dq, t.p, t.ds, t.lse, t.delta, t.gemm} {
		n += 4 * cap(s)
	}
	return n
}

// attentionGrad computes, with p = exp(scale·q·kᵀ - lse),
//
//	dv = pᵀ·dz   dp = dz·vᵀ   ds = p·(dp - Σ dz·z)   dq = scale·ds·k   dk = scale·dsᵀ·q
//
// in one pass over the tiles. A task has a block of queries, and dq of them to
// itself; to dk and dv it adds behind the task of the next block, which is so far
// ahead that waiting is rare. So they are summed in one order whatever the number
// of workers, without a copy of them for each.
func (c *CPU) attentionGrad(dq, dk, dv, dz, z, lse, q, k, v *Tensor, s AttentionShape) {
	gk, gv := dk.F32(), dv.F32()
	c.ranges(len(gk), chunk, func(lo, hi int) {
		clear(gk[lo:hi])
		clear(gv[lo:hi])
	})
	g := &attentionGrad{AttentionShape: s, dq: dq.F32(), dk: gk, dv: gv, dz: dz.F32(), z: z.F32(), lse: lse.F32(), q: q.F32(), k: k.F32(), v: v.F32(), bf16: c.workers.compute == ComputeBF16}
	g.block = s.queryBlock()
	g.blocks = ceil(s.Tq, g.block)
	g.through = make([]atomic.Int64, s.B*s.KV*g.blocks)
	// The last blocks see most keys: they come first.
	c.workers.Run(len(g.through), func(task, _ int) {
		g.run(task%(s.B*s.KV)/s.KV, task%s.KV, g.blocks-1-task/(s.B*s.KV))
	})
}

// attentionGrad is one call.
type attentionGrad struct {
	AttentionShape
	dq, dk, dv, dz, z, lse, q, k, v []float32
	block, blocks                   int  // queries of a block, and their blocks
	bf16                            bool // products are of operands rounded to BF16

	// through is, for each batch row, key head and block, the key up to which the
	// block's task has added its part, or will not add any.
	through []atomic.Int64
}

// run adds what the queries of a block contribute.
func (g *attentionGrad) run(b, kv, block int) {
	through := g.through[(b*g.KV+kv)*g.blocks:][:g.blocks]
	defer through[block].Store(math.MaxInt64)
	t := newGradTask(&g.AttentionShape)
	defer t.done()
	t0 := block * g.block
	t1 := min(t0+g.block, g.Tq)
	heads, rows := g.H/g.KV, g.H/g.KV*(t1-t0)
	for r := range rows {
		i, h := t0+r/heads, kv*heads+r%heads
		at := ((b*g.Tq+i)*g.H + h) * g.D
		asm.Scale(t.q[r*g.D:][:g.D], g.q[at:], g.Scale)
		copy(t.dz[r*g.D:][:g.D], g.dz[at:])
		t.lse[r] = g.lse[(b*g.H+h)*g.Tq+i]
		t.delta[r] = asm.Dot(t.dz[r*g.D:][:g.D], g.z[at:])
	}
	pack, depth := asm.Pack, g.depth()
	if g.bf16 {
		pack = asm.PackBF16
	}
	for l := 0; l < g.D; l += depth {
		pack(t.qt[l*whole(rows, asm.TileCols, 1):], t.q[l:], 1, g.D, min(depth, g.D-l), rows)
		pack(t.dzt[l*whole(rows, asm.TileCols, 1):], t.dz[l:], 1, g.D, min(depth, g.D-l), rows)
	}
	clear(t.dq[:rows*g.D])

	first, seen := g.Visible(b, t0) // seen: keys that all queries up to their own see
	_, end := g.Visible(b, t1-1)
	for k0 := first; k0 < end; {
		// Where queries begin to see keys, smaller tiles have less that none sees.
		k1 := min(k0/keyBlock*keyBlock+keyBlock, end)
		if k1 > seen {
			k1 = min(k0/edgeBlock*edgeBlock+edgeBlock, end)
		}
		g.tile(t, b, kv, t0, t1, k0, k1, func() {
			for i := 1; block+1 < g.blocks && through[block+1].Load() < int64(k1); i++ {
				if i%64 == 0 {
					runtime.Gosched()
				}
			}
		})
		through[block].Store(int64(k1))
		k0 = k1
	}
	for r := range rows {
		i, h := t0+r/heads, kv*heads+r%heads
		asm.Scale(g.dq[((b*g.Tq+i)*g.H+h)*g.D:][:g.D], t.dq[r*g.D:], g.Scale)
	}
}

// edgeBlock is the number of keys in a tile that not all its queries see.
const edgeBlock = 32

// tile adds what the keys k0 ≤ j < k1 and the queries t0 ≤ t < t1 contribute;
// turn waits until it may add to dk and dv.
func (g *attentionGrad) tile(t *gradTask, b, kv, t0, t1, k0, k1 int, turn func()) {
	heads := g.H / g.KV
	rows := heads * (t1 - t0)
	// The queries that see key j are lo ≤ t < hi, both rising with j.
	before := g.Tk - g.Tq
	hi := t0
	see := func(j int) (int, int) {
		for lo := max(t0, j-before); ; hi++ {
			if hi = max(hi, lo); hi == t1 {
				return min(lo, t1), hi
			}
			if first, _ := g.Visible(b, hi); first > j {
				return lo, hi
			}
		}
	}
	lo, _ := see(k0)
	_, last := see(k1 - 1)
	c0 := (lo - t0) * heads / asm.TileCols * asm.TileCols // whole panels
	n := (last-t0)*heads - c0
	if n <= 0 {
		turn()
		return
	}
	ld, keys := g.KV*g.D, k1-k0
	at := ((b*g.Tk+k0)*g.KV + kv) * g.D
	depth := g.depth()
	for l := 0; l < g.D; l += depth {
		kk := min(depth, g.D-l)
		panels := l * whole(rows, asm.TileCols, 1)
		g.scores(t, t.p[c0:], rows, g.k[at+l:], ld, t.qt[panels:], c0, keys, n, kk, l > 0)
		g.scores(t, t.ds[c0:], rows, g.v[at+l:], ld, t.dzt[panels:], c0, keys, n, kk, l > 0)
	}
	hi = t0
	for j := k0; j < k1; j++ {
		p, ds := t.p[(j-k0)*rows+c0:][:n], t.ds[(j-k0)*rows+c0:][:n]
		lo, hi := see(j)
		from := min(max((lo-t0)*heads-c0, 0), n)
		to := max(from, min((hi-t0)*heads-c0, n))
		clear(p[:from])
		clear(p[to:])
		clear(ds[:from])
		clear(ds[to:])
		asm.AttentionGrad(p[from:to], ds[from:to], t.lse[c0+from:], t.delta[c0+from:])
	}
	multiply := asm.Gemm
	if g.bf16 {
		multiply = asm.GemmBF16
	}
	multiply(t.dq[c0*g.D:], g.D, t.ds[c0:], 1, rows, g.k[at:], ld, 1, n, g.D, keys, 1, true, t.gemm)
	turn()
	multiply(g.dv[at:], ld, t.p[c0:], rows, 1, t.dz[c0*g.D:], g.D, 1, keys, g.D, n, 1, true, t.gemm)
	multiply(g.dk[at:], ld, t.ds[c0:], rows, 1, t.q[c0*g.D:], g.D, 1, keys, g.D, n, 1, true, t.gemm)
}

// depth returns the length of the pieces of D, which are packed one after the other.
func (g *attentionGrad) depth() int {
	if g.bf16 {
		return asm.DepthBF16(g.D)
	}
	return asm.Depth(g.D)
}

// scores computes c = x·y (+ c) for kk columns of the keys x and y's columns c0 to
// c0+n in panels.
func (g *attentionGrad) scores(t *gradTask, c []float32, ldc int, x []float32, ld int, y []float32, c0, keys, n, kk int, accumulate bool) {
	if !g.bf16 {
		asm.GemmPanels(c, ldc, x, ld, 1, y[c0*kk:], kk*asm.TileCols, keys, n, kk, 1, accumulate)
		return
	}
	words, h := asm.WordsBF16(kk), asm.TileRows(keys)
	asm.PackRowsBF16(t.gemm, x, ld, 1, keys, kk, h)
	asm.GemmTilesBF16(c, ldc, t.gemm, h, y[c0*words:], words*asm.TileCols, keys, n, words, 1, accumulate)
}
