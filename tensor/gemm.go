package tensor

import (
	"sync"

	"github.com/tenon-ml/tenon/asm"
)

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

// block returns the length of the blocks of x's type.
func (x *matrix) block() int { n, _ := x.dt.Block(); return n }

// decode writes rows r0 to r0+rows and columns c0 to c0+cols of the stored
// matrix to dst, row-major. c0 and cols are whole blocks.
func (x *matrix) decode(dst []float32, r0, rows, c0, cols int) {
	ld := x.rs
	if x.cs != 1 {
		ld = x.cs
	}
	for r := range rows {
		x.dt.Decode(dst[r*cols:][:cols], x.raw[x.dt.Bytes((r0+r)*ld+c0):])
	}
}

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

// runSkinny streams the rows of the transposed b.
func (g *gemmCall) runSkinny(w *Workers) {
	if g.a.cs != 1 {
		g.x = floats(&g.x, g.m*g.k)
		for i := range g.m {
			for l := range g.k {
				g.x[i*g.k+l] = g.a.f32[i*g.a.rs+l*g.a.cs]
			}
		}
		g.a = matrix{f32: g.x, dt: F32, rs: g.k, cs: 1}
	}
	// A task reads about 64 KiB of b, in whole groups of four rows, and there are
	// enough tasks that the last one does not keep the others waiting.
	g.width = min(streamBytes/g.b.dt.Bytes(g.k), skinnyLen/g.m, ceil(g.n, 8*w.n))
	g.width = max(4, g.width&^3)
	g.run(w, ceil(g.n, g.width), g.stream)
}

func (g *gemmCall) streamTask(task, worker int) {
	j := task * g.width
	nn := min(g.width, g.n-j)
	a, b := &g.a, &g.b
	c := g.c[j:]
	direct := g.alpha == 1 && !g.accumulate
	local := floats(&g.local[worker], skinnyLen+decodeLen)
	out, ldo := c, g.ldc
	if !direct {
		out, ldo = local[:g.m*nn], nn
	}
	if b.dt == F32 {
		asm.RowDotsMulti(out, ldo, b.f32[j*b.cs:], b.cs, nn, a.f32, a.rs, g.m, g.k)
	} else if g.m > 1 || !b.rowDots(out[:nn], a.f32[:g.k], j) {
		g.decodeDots(out, ldo, local[skinnyLen:], j, nn)
	}
	if direct {
		return
	}
	for i := range g.m {
		row, sums := c[i*g.ldc:][:nn], out[i*ldo:]
		if g.accumulate {
			asm.AddScaled(row, sums, g.alpha)
		} else {
			asm.Scale(row, sums, g.alpha)
		}
	}
}

// rowDots multiplies stored rows j to j+len(dst) by v without writing
// their decoded form, if there is a kernel for the type.
func (x *matrix) rowDots(dst, v []float32, j int) bool {
	rows := x.raw[x.dt.Bytes(j*x.cs):]
	switch x.dt {
	case BF16:
		asm.RowDotsBF16(dst, rows, x.cs, v)
	case Q8_0:
		asm.RowDotsQ8_0(dst, rows, x.cs, v)
	case Q4_0:
		asm.RowDotsQ4_0(dst, rows, x.cs, v)
	case Q4_1:
		asm.RowDotsQ4_1(dst, rows, x.cs, v)
	default:
		return false
	}
	return true
}

// decodeDots is RowDotsMulti on rows of another type, decoded four at a time
// into buf, in pieces if they are long.
func (g *gemmCall) decodeDots(out []float32, ldo int, buf []float32, j, nn int) {
	const piece = decodeLen / 4
	var part [skinnyRows * 4]float32
	for i := 0; i < nn; i += 4 {
		rows := min(4, nn-i)
		for l := 0; l < g.k; l += piece {
			kk := min(piece, g.k-l)
			g.b.decode(buf, j+i, rows, l, kk)
			asm.RowDotsMulti(part[:], 4, buf, kk, rows, g.a.f32[l:], g.a.rs, g.m, kk)
			for r := range g.m {
				for q := range rows {
					if l == 0 {
						out[r*ldo+i+q] = part[4*r+q]
					} else {
						out[r*ldo+i+q] += part[4*r+q]
					}
				}
			}
		}
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
