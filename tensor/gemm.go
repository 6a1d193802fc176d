package tensor

import (
	"sync"

	"github.com/tenon-ml/tenon/asm"
)

// How gemm cuts its work. Nothing here decides how an element is summed: the
// pieces of the inner dimension come from runPacked's depth, that is from the
// shape and the types.
const (
	gemmRows   = 96   // rows of c in a task: whole tiles, whole blocks of 32
	gemmCols   = 2048 // columns of b that are packed at once: whole blocks of every type
	packCols   = 64   // columns of b in a packing task: whole panels, whole blocks of 32
	directRows = 24   // up to here, rows of b are read where they lie: packing costs more
	skinnyRows = 8    // up to here, rows of a transposed b are streamed, not packed
	serialWork = 1 << 17
	decodeLen  = 16 << 10 // floats that a skinny task decodes at a time

	streamBytes = 64 << 10 // of b that a skinny task reads
	skinnyLen   = 512      // results of a skinny task
)

// gemm computes c = alpha·a·b (+ c) for a [m, k], b [k, n] and a row-major c
// with rows ldc apart. The result is the same for every number of workers. b is
// packed once into panels that all workers share; a stored type other than F32
// is decoded on the way. With few rows and a transposed b (the product of a
// decoded token), b is read once, row by row.
func gemm(w *Workers, c []float32, ldc int, a, b matrix, m, n, k int, alpha float32, accumulate bool) {
	if m == 0 || n == 0 {
		return
	}
	if k == 0 {
		if !accumulate {
			for i := range m {
				clear(c[i*ldc:][:n])
			}
		}
		return
	}
	g := w.takeGemm()
	defer w.giveGemm(g)
	g.c, g.ldc, g.a, g.b, g.m, g.n, g.k, g.alpha, g.accumulate = c, ldc, a, b, m, n, k, alpha, accumulate
	g.serial = w.n == 1 || m*n*k < serialWork
	if m <= skinnyRows && b.rs == 1 && b.cs != 1 && a.dt == F32 {
		g.runSkinny(w)
	} else {
		g.direct = m <= directRows && b.dt == F32 && b.cs == 1
		g.runPacked(w)
	}
	g.c, g.a, g.b = nil, matrix{}, matrix{}
}

// gemmCall is one product in progress, kept for the next one so that a warm
// call allocates nothing.
type gemmCall struct {
	c          []float32
	ldc        int
	a, b       matrix
	m, n, k    int
	alpha      float32
	accumulate bool
	serial     bool
	direct     bool // b is not packed

	// The piece in progress: columns j0 to j0+nn, inner indices l0 to l0+kk.
	j0, nn, l0, kk int
	groups, width  int // column groups of a task grid and their columns
	rows, cols     int // of a task: gemmRows and packCols, or more for long blocks

	panels []float32   // nn columns of b, packed
	local  [][]float32 // of each worker: decoded or packed blocks
	edge   [][]float32 // of each worker: the last panel where b is not packed
	x      []float32   // skinny: a with its rows contiguous

	pack, multiply, stream func(task, worker int) // the methods, bound once
}

// gemmPool keeps the idle gemmCalls of a Workers.
type gemmPool struct {
	mu   sync.Mutex
	free []*gemmCall
}

func (w *Workers) takeGemm() *gemmCall {
	p := &w.gemms
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		g := p.free[n-1]
		p.free = p.free[:n-1]
		return g
	}
	g := &gemmCall{local: make([][]float32, w.n), edge: make([][]float32, w.n)}
	g.pack, g.multiply, g.stream = g.packTask, g.multiplyTask, g.streamTask
	return g
}

func (w *Workers) giveGemm(g *gemmCall) {
	p := &w.gemms
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, g)
}

// floats returns n floats in *s, which it replaces if it is too short.
func floats(s *[]float32, n int) []float32 {
	if cap(*s) < n {
		*s = make([]float32, n)
	}
	return (*s)[:n]
}

func (g *gemmCall) run(w *Workers, tasks int, f func(task, worker int)) {
	if g.serial {
		for task := range tasks {
			f(task, 0)
		}
		return
	}
	w.Run(tasks, f)
}

func ceil(x, y int) int { return (x + y - 1) / y }

// whole returns the least common multiple of x and y that is n or more.
func whole(n, x, y int) int {
	a, b := x, y
	for b != 0 {
		a, b = b, a%b
	}
	lcm := x / a * y
	return ceil(n, lcm) * lcm
}

// runPacked multiplies piece by piece: packing tasks, then a grid of tasks over
// rows and groups of columns.
func (g *gemmCall) runPacked(w *Workers) {
	depth := asm.Depth(g.k)
	if block := max(g.a.block(), g.b.block()); block > 32 {
		depth = max(1, depth/block) * block
	}
	// A block is decoded whole, so tasks that cut stored rows cut between blocks.
	g.rows, g.cols = gemmRows, packCols
	if g.a.cs != 1 {
		g.rows = whole(gemmRows, asm.TileRows, g.a.block())
	}
	if g.b.cs == 1 {
		g.cols = whole(packCols, asm.TileCols, g.b.block())
	}
	if !g.direct {
		g.panels = floats(&g.panels, asm.PanelsLen(depth, min(g.n, gemmCols)))
	}
	rowBlocks := ceil(g.m, g.rows)
	for g.j0 = 0; g.j0 < g.n; g.j0 += gemmCols {
		g.nn = min(gemmCols, g.n-g.j0)
		// Enough tasks that the last one does not keep the others waiting.
		g.groups = min(ceil(g.nn, 4*asm.TileCols), ceil(12*w.n, rowBlocks))
		g.width = ceil(ceil(g.nn, g.groups), asm.TileCols) * asm.TileCols
		g.groups = ceil(g.nn, g.width)
		for g.l0 = 0; g.l0 < g.k; g.l0 += depth {
			g.kk = min(depth, g.k-g.l0)
			if !g.direct {
				g.run(w, ceil(g.nn, g.cols), g.pack)
			}
			g.run(w, rowBlocks*g.groups, g.multiply)
		}
	}
}

// packTask packs columns j to j+cols of the piece.
func (g *gemmCall) packTask(task, worker int) {
	j := task * g.cols
	nn, kk := min(g.cols, g.nn-j), g.kk
	b, panels := &g.b, g.panels[j*kk:][:asm.PanelsLen(kk, nn)]
	switch {
	case b.dt == F32:
		asm.Pack(panels, b.f32[g.l0*b.rs+(g.j0+j)*b.cs:], b.rs, b.cs, kk, nn)
	case b.cs == 1:
		buf := floats(&g.local[worker], kk*nn)
		b.decode(buf, g.l0, kk, g.j0+j, nn)
		asm.Pack(panels, buf, nn, 1, kk, nn)
	default: // a panel at a time: the decoded rows stay in the L1 cache
		buf := floats(&g.local[worker], kk*asm.TileCols)
		for i := 0; i < nn; i += asm.TileCols {
			cols := min(asm.TileCols, nn-i)
			b.decode(buf, g.j0+j+i, cols, g.l0, kk)
			asm.Pack(panels[i*kk:], buf, 1, kk, kk, cols)
		}
	}
}

// multiplyTask multiplies a block of rows with a group of packed columns.
func (g *gemmCall) multiplyTask(task, worker int) {
	i, j := task/g.groups*g.rows, task%g.groups*g.width
	mm, nn, kk := min(g.rows, g.m-i), min(g.width, g.nn-j), g.kk
	a := &g.a
	rows, rs, cs := a.f32, a.rs, a.cs
	switch {
	case a.dt == F32:
		rows = rows[i*rs+g.l0*cs:]
	case cs == 1:
		rows, rs = floats(&g.local[worker], mm*kk), kk
		a.decode(rows, i, mm, g.l0, kk)
	default:
		rows, cs = floats(&g.local[worker], mm*kk), mm
		a.decode(rows, g.l0, kk, i, mm)
	}
	c, add := g.c[i*g.ldc+g.j0+j:], g.accumulate || g.l0 > 0
	if !g.direct {
		asm.GemmPanels(c, g.ldc, rows, rs, cs, g.panels[j*kk:], mm, nn, kk, g.alpha, add)
		return
	}
	b := g.b.f32[g.l0*g.b.rs+g.j0+j:]
	whole := nn &^ (asm.TileCols - 1)
	asm.GemmRows(c, g.ldc, rows, rs, cs, b, g.b.rs, mm, whole, kk, g.alpha, add)
	if rest := nn - whole; rest > 0 {
		panel := floats(&g.edge[worker], kk*asm.TileCols)
		asm.Pack(panel, b[whole:], g.b.rs, 1, kk, rest)
		asm.GemmPanels(c[whole:], g.ldc, rows, rs, cs, panel, mm, rest, kk, g.alpha, add)
	}
}

// gemm64 is gemm in F64: c = alpha·a·b (+ c), a and b strided by (rs, cs).
func gemm64(w *Workers, c []float64, ldc int, a []float64, ars, acs int, b []float64, brs, bcs int, m, n, k int, alpha float64, accumulate bool) {
	if n == 0 {
		return
	}
	const block = 64 // inner indices and columns at a time, so that b stays in the cache
	w.Run(m, func(i, _ int) {
		row := c[i*ldc:][:n]
		if !accumulate {
			clear(row)
		}
		for j0 := 0; j0 < n; j0 += block {
			part := row[j0:min(j0+block, n)]
			for l := range k {
				f := alpha * a[i*ars+l*acs]
				if bcs == 1 {
					for j, v := range b[l*brs+j0:][:len(part)] {
						part[j] += f * v
					}
					continue
				}
				for j := range part {
					part[j] += f * b[l*brs+(j0+j)*bcs]
				}
			}
		}
	})
}
