package tensor

import (
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/tenon-ml/tenon/asm"
)

// How gemm cuts its work. Nothing here decides how an element is summed: the
// pieces of the inner dimension come from runPacked's depth, that is from the
// shape and the types.
const (
	gemmRows   = 112     // rows of c in a task, about
	gemmCols   = 2048    // columns of b that are packed at once: whole blocks of every type
	groupCols  = 64      // columns of c in a task at least, if there are as many
	groupMost  = 256     // and at most, so that they stay in the L2 cache
	packFloats = 1 << 20 // of a and of b that are packed at once, about
	packCols   = 64      // columns of b in a packing task: whole panels, whole blocks of 32
	packRows   = 32      // rows of a in a packing task, about
	directRows = 24      // up to here, rows of b are read where they lie, whatever the matrix: packing costs more
	thinCols   = 64      // up to here, a is read where it lies, whatever the matrix
	swapCols   = 16      // up to here, columns of c are computed as rows; no more than PackRows' tiles
	stripRows  = 512     // up to here, a task packs its columns of b itself, and of F32 always
	stripPart  = 2048    // for so many rows of a at a time
	narrowCols = 32      // columns that it packs where there are few
	shortInner = 128     // inner dimensions up to which 2 KiB is no distance for b's rows where they lie
	leastBF16  = 16      // extents from which on products are computed in BF16
	skinnyRows = 8       // up to here, rows of a transposed b are streamed, not packed
	serialWork = 1 << 17
	decodeLen  = 16 << 10 // floats that a skinny task decodes at a time
	scalesLen  = 2 << 10  // and scales of 4-bit codes, which stay in the L1 cache

	streamBytes = 512 << 10 // of b that a skinny task reads at most
	streamLeast = 16 << 10  // and at least
	skinnyLen   = 2048      // results of a skinny task
)

// gemm computes c = alpha·a·b (+ c) for a [m, k], b [k, n] and a row-major c
// with rows ldc apart. The result is the same for every number of workers. Both
// are packed once, b into panels and a into tiles, which all workers share; a
// stored type other than F32 is decoded on the way. With few rows and a transposed
// b (the product of a decoded token), b is read once, row by row. See ComputeBF16
// for what is rounded.
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
	g := w.takeGemm(c, ldc, a, b, m, n, k, alpha, accumulate)
	defer w.giveGemm(g)
	g.bf16 = w.compute == ComputeBF16 && g.rounds()
	if g.swaps() {
		g.a, g.b, g.m, g.n, g.swapped = b.transposed(), a.transposed(), n, m, true
	}
	g.serial = w.n == 1 || m*n*k < serialWork
	if g.skinny() {
		g.run(w, g.startSkinny(&cutter{g.b.dt.Bytes(g.n * g.k), w.n}, nil), g.stream)
	} else {
		inPlace := (g.a.inPlace() || g.a.dt == F32 && g.m <= thinCols) && !g.bf16
		g.direct = g.readsB(inPlace)
		g.frozen = g.b.dt == Panels && g.b.rs == 1 && g.b.cs != 1 && !g.bf16
		g.tiled = g.a.dt != F32 || g.bf16 || !g.direct && !inPlace && g.n > thinCols
		g.runPacked(w)
	}
}

// readsB reports whether b is read where it lies: for few rows of a, and, with tiles that
// fetch b's next rows, for more that are read where they lie too, if b's do not meet in the
// same sets of a cache and little of a panel is unused.
func (g *gemmCall) readsB(inPlace bool) bool {
	b := &g.b
	if g.bf16 || g.a.dt != F32 || b.dt != F32 || b.cs != 1 {
		return false
	}
	if g.m <= directRows {
		return true
	}
	apart := b.inPlace() && (g.k > shortInner || b.rs%512 != 0)
	return inPlace && asm.WideTiles() && apart && (g.n%asm.TileCols == 0 || g.n >= groupMost)
}

// swaps reports whether to compute cᵀ = bᵀ·aᵀ, since few columns would not fill a
// tile: dzᵀ·h, whose dz is then read where it lies, and x·Aᵀ, whose rows are streamed.
func (g *gemmCall) swaps() bool {
	if g.n > swapCols || g.m < 4*swapCols || g.a.dt != F32 || g.b.dt != F32 {
		return false
	}
	return g.a.cs != 1 || g.n <= skinnyRows && g.b.cs != 1
}

// rounds reports whether the product is computed in BF16 where that is asked for: a
// few rows of a decoded token are not, nor is what would not fill a vector.
func (g *gemmCall) rounds() bool {
	return min(g.m, g.n, g.k) >= leastBF16 && (g.m > directRows || g.a.cs != 1)
}

// put writes cᵀ, in rows of n elements, to n rows of c from row i on.
func (g *gemmCall) put(i int, t []float32, n, worker int) {
	c, cols := g.c[i*g.ldc:], g.m
	if g.ldc == cols && !g.accumulate && g.alpha == 1 {
		asm.PackRows(c[:n*cols], t, n, 1, cols, n, cols)
		return
	}
	rows := floats(&g.edge[worker], n*cols)
	asm.PackRows(rows, t, n, 1, cols, n, cols)
	for r := range n {
		row := c[r*g.ldc:][:cols]
		for j, v := range rows[r*cols:][:cols] {
			v *= g.alpha
			if g.accumulate {
				v += row[j]
			}
			row[j] = v
		}
	}
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
	swapped    bool // this is cᵀ = bᵀ·aᵀ, n columns of m elements
	direct     bool // b is not packed
	frozen     bool // b is packed already
	bf16       bool // operands are rounded to BF16
	tiled      bool // a is packed
	strips     bool // b is packed by those who multiply it
	int16      bool // skinny: in integers, where there is a kernel

	depth, height int // of the pieces of the inner dimension, of the tiles of a

	// What is in progress: columns j0 to j0+nn, inner indices l0 to l0+ll, which
	// are several pieces, and rows i0 to i0+mm.
	j0, nn, l0, ll, i0, mm int
	rowBlocks, rows        int // row blocks of the task grid and their rows
	groups, width          int // groups of columns and their columns
	bTasks, aTasks         int // packing tasks of a group of b, and of a
	bCols, aRows           int // of a packing task: packCols and packRows, or more for long blocks

	aDone atomic.Int32   // packing tasks that are done
	bDone []atomic.Int32 // and of each group

	packed   []byte         // mapped memory of panels and tiles
	panels   []float32      // of b, packed: piece after piece
	tiles    []float32      // of a, packed: piece after piece; another call's, if that shares them
	own      []float32      // for tiles of few columns
	local    [][]float32    // of each worker: decoded or packed blocks
	edge     [][]float32    // of each worker: the last panel where b is not packed
	strip    [][]float32    // of each worker: the columns of b that it multiplies
	x        []float32      // skinny: a with its rows contiguous
	starts   []int          // skinny: the rows of b with which tasks begin, and their number
	split    []float32      // skinny, NF4 where it lies: the same as asm.SplitNF4 has it
	integers []asm.Vector16 // skinny, computing in integers: a rounded, here or by another call
	rounded  []asm.Vector16 // room for it

	then *gemmCall // what else is added to c, in the same strips; nil: nothing

	part, stream func(task, worker int) // the methods, bound once
}

func (w *Workers) takeGemm(c []float32, ldc int, a, b matrix, m, n, k int, alpha float32, accumulate bool) *gemmCall {
	g := w.gemms.take()
	if g == nil {
		g = &gemmCall{local: make([][]float32, w.n), edge: make([][]float32, w.n), strip: make([][]float32, w.n)}
		g.part, g.stream = g.partTask, g.streamTask
	}
	g.c, g.ldc, g.a, g.b, g.m, g.n, g.k, g.alpha, g.accumulate = c, ldc, a, b, m, n, k, alpha, accumulate
	g.int16 = w.compute == ComputeInt16
	g.swapped, g.strips = false, false
	return g
}

func (w *Workers) giveGemm(g *gemmCall) {
	if g.then != nil {
		w.giveGemm(g.then)
	}
	g.c, g.a, g.b, g.tiles, g.then = nil, matrix{}, matrix{}, nil, nil
	if w.closed.Load() {
		g.close()
		return
	}
	w.gemms.give(g)
}

// floats returns n floats in *s, which it replaces if it is too short.
func floats(s *[]float32, n int) []float32 {
	if cap(*s) < n {
		*s = make([]float32, n)
	}
	return (*s)[:n]
}

// room makes room for panels and tiles of so many floats. They lie on huge pages: the
// micro-kernel reads both from beginning to end, and on small ones would miss the TLB
// and lose the prefetcher at each.
func (g *gemmCall) room(panels, tiles int) {
	n := whole(4*(panels+tiles), hugePage, 1)
	if len(g.packed) < n {
		g.close()
		b, err := mapMemory(n)
		if err != nil {
			panic(&DeviceError{"cpu", err})
		}
		g.packed = b
	}
	if n > 0 {
		both := unsafe.Slice((*float32)(unsafe.Pointer(&g.packed[0])), panels+tiles)
		g.panels, g.tiles = both[:panels:panels], both[panels:]
	}
}

// close gives the mapped memory back.
func (g *gemmCall) close() {
	if g.packed == nil {
		return
	}
	if err := unmapMemory(g.packed); err != nil {
		panic(&DeviceError{"cpu", err})
	}
	g.packed, g.panels, g.tiles = nil, nil, nil
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

// runPacked multiplies part by part: tasks that pack, and a grid of tasks over rows
// and groups of columns that multiply.
func (g *gemmCall) runPacked(w *Workers) {
	g.cut()
	cols := min(g.n, gemmCols)
	inner := min(g.k, max(1, packFloats/(cols*g.depth))*g.depth)
	if g.frozen || g.direct {
		cols, inner = g.n, g.k
	}
	rows := min(g.m, ceil(packFloats/inner, g.aRows)*g.aRows)
	if g.strips = g.inStrips(w.n); g.strips {
		rows = min(g.m, stripPart)
		cols, inner = g.n, min(g.k, max(1, packFloats/(rows*g.depth))*g.depth)
	}
	panels, tiles := 0, 0
	if !g.direct && !g.frozen && !g.strips {
		panels = asm.PanelsLen(g.words(inner), cols)
	}
	if g.tiled {
		tiles = g.words(inner) * rows
	}
	g.room(panels, tiles)
	for g.j0 = 0; g.j0 < g.n; g.j0 += cols {
		g.nn = min(cols, g.n-g.j0)
		for g.l0 = 0; g.l0 < g.k; g.l0 += inner {
			g.ll = min(inner, g.k-g.l0)
			for g.i0 = 0; g.i0 < g.m; g.i0 += rows {
				g.mm = min(rows, g.m-g.i0)
				g.grid(w.n)
				pieces := ceil(g.ll, g.depth)
				g.aTasks, g.bTasks = 0, 0
				if g.tiled {
					g.aTasks = pieces * ceil(g.mm, g.aRows)
				}
				if !g.direct && !g.frozen && !g.strips && g.i0 == 0 {
					g.bTasks = pieces * ceil(g.width, g.bCols)
				}
				g.aDone.Store(0)
				if len(g.bDone) < g.groups {
					g.bDone = make([]atomic.Int32, g.groups)
				}
				for i := range g.groups {
					g.bDone[i].Store(0)
				}
				g.run(w, g.aTasks+g.bTasks+g.groups*(g.bTasks+g.rowBlocks), g.part)
			}
		}
	}
}

// cut sets the length of pieces, the height of tiles and the size of packing tasks.
func (g *gemmCall) cut() {
	g.depth, g.height = asm.Depth(g.k), asm.TileRows(g.m)
	if g.bf16 {
		g.depth = asm.DepthBF16(g.k)
	}
	if block := max(g.a.block(), g.b.block()); block > 64 {
		g.depth = max(1, g.depth/block) * block
	}
	// A block is decoded whole, so tasks that cut stored rows cut between blocks.
	g.bCols, g.aRows = packCols, ceil(packRows, g.height)*g.height
	if g.b.cs == 1 {
		g.bCols = whole(packCols, asm.TileCols, g.b.block())
	}
	if block := g.a.block(); g.a.cs != 1 && block > 1 {
		g.height = 4
		g.aRows = block
	}
}

// inStrips reports whether a task is to have all rows of some columns, which it packs
// itself piece by piece: panels for all would go to memory and back, and with few rows
// that takes as long as multiplying them.
func (g *gemmCall) inStrips(threads int) bool {
	if g.direct || g.frozen || g.swapped && !g.bf16 || g.m > stripRows && (g.bf16 || g.b.dt != F32) {
		return false
	}
	if g.narrow(threads) {
		return g.n > 2*g.bCols
	}
	return g.n >= 8*threads*g.bCols
}

// narrow makes strips narrow where there would be few, of F32 or in BF16, and reports
// whether.
func (g *gemmCall) narrow(threads int) bool {
	if !g.bf16 && (g.b.dt != F32 || threads == 1) || g.n >= 8*threads*g.bCols || g.b.block() > narrowCols {
		return false
	}
	g.bCols = narrowCols
	return true
}

// grid cuts the part in progress into enough tasks that the last one does not keep
// the others waiting.
func (g *gemmCall) grid(threads int) {
	want := 12 * threads
	if g.strips {
		g.rowBlocks, g.rows, g.width = 1, g.mm, max(1, min(groupMost, g.nn/want)/g.bCols)*g.bCols
		if strips := ceil(g.nn, g.width); strips < 2*threads && g.bf16 && !g.swapped { // packed by several
			g.rows = ceil(ceil(g.mm, ceil(2*threads, strips)), g.height) * g.height
			g.rowBlocks = ceil(g.mm, g.rows)
		}
		g.groups = ceil(g.nn, g.width)
		return
	}
	most := ceil(g.nn, groupCols)
	g.rowBlocks = max(ceil(g.mm, gemmRows), min(ceil(want, most), ceil(g.mm, g.height)))
	if g.swapped {
		g.rowBlocks = 1 // see put
	}
	g.rows = ceil(ceil(g.mm, g.rowBlocks), g.height) * g.height
	g.rowBlocks = ceil(g.mm, g.rows)
	groups := max(ceil(g.nn, groupMost), min(most, ceil(want, g.rowBlocks)))
	g.width = whole(ceil(g.nn, groups), 2*asm.TileCols, g.bCols)
	g.groups = ceil(g.nn, g.width)
}

// partTask is a task of the part in progress. They are claimed in this order: the packing
// of a and of b's first group of columns, and then for each group the packing of the
// next one and the multiplying of its own. What multiplies waits for those who are
// packing what it reads, but seldom: while one thread reads memory, another multiplies.
func (g *gemmCall) partTask(task, worker int) {
	if task < g.aTasks {
		defer g.aDone.Add(1) // even if it panics: others wait
		tasks := ceil(g.mm, g.aRows)
		l := task / tasks * g.depth
		g.packRows(task%tasks*g.aRows, l, min(g.depth, g.ll-l), worker)
		return
	}
	if task -= g.aTasks; task < g.bTasks {
		g.packGroup(0, task, worker)
		return
	}
	task -= g.bTasks
	group, task := task/(g.bTasks+g.rowBlocks), task%(g.bTasks+g.rowBlocks)
	if task < g.bTasks {
		g.packGroup(group+1, task, worker)
		return
	}
	for i := 1; int(g.aDone.Load()) < g.aTasks || int(g.bDone[group].Load()) < g.bTasks; i++ {
		if i%256 == 0 {
			runtime.Gosched()
		}
		if i%(1<<16) == 0 { // longer than packing takes: both are on one CPU
			time.Sleep(time.Microsecond)
		}
	}
	g.multiplyTask((task-g.bTasks)*g.rows, group*g.width, worker)
}

// packGroup packs some columns of a group, of one piece.
func (g *gemmCall) packGroup(group, task, worker int) {
	if group == g.groups {
		return
	}
	defer g.bDone[group].Add(1)
	tasks := ceil(g.width, g.bCols)
	l := task / tasks * g.depth
	if j := group*g.width + task%tasks*g.bCols; j < g.nn {
		kk := min(g.depth, g.ll-l)
		g.packColumns(g.panels[asm.PanelsLen(g.words(l), g.nn)+j*g.words(kk):], j, min(g.bCols, g.nn-j), l, kk, worker)
	}
}

// packColumns packs columns j to j+nn of the piece that begins with l.
func (g *gemmCall) packColumns(panels []float32, j, nn, l, kk, worker int) {
	b := &g.b
	along := b.rs == 1 && b.cs != 1
	if q := b.quant; q != nil && !g.bf16 {
		r0, rows, c0, cols := g.l0+l, kk, g.j0+j, nn
		if along {
			r0, rows, c0, cols = c0, cols, r0, rows
		}
		ld := max(b.rs, b.cs)
		if q.pack(panels[:asm.PanelsLen(kk, nn)], b.raw, b.at+r0*ld+c0, ld, rows, cols, along, &g.local[worker]) {
			return
		}
	}
	if (b.dt == BF16 || b.dt == F16) && !along && !g.bf16 && asm.HasPackHalf() {
		asm.PackHalf(panels[:asm.PanelsLen(kk, nn)], b.raw[2*((g.l0+l)*b.rs+g.j0+j):], b.rs, kk, nn, b.dt == F16)
		return
	}
	if b.dt == Panels && !along && !g.bf16 {
		asm.Repack(panels[:asm.PanelsLen(kk, nn)], b.f32[(g.l0+l)*b.rs+(g.j0+j)*asm.TileCols:], asm.TileCols*b.rs, kk, nn)
		return
	}
	most := nn
	if along { // a panel at a time: the decoded rows stay in the L1 cache
		most = asm.TileCols
	}
	for i := 0; i < nn; i += most {
		cols := min(most, nn-i)
		src, ld, paired := g.operand(b, along, g.l0+l, kk, g.j0+j+i, cols, worker)
		rs, cs := ld, 1
		if along {
			rs, cs = 1, ld
		}
		dst := panels[i*g.words(kk):][:asm.PanelsLen(g.words(kk), cols)]
		if g.bf16 && !paired {
			asm.PackBF16(dst, src, rs, cs, kk, cols)
		} else {
			asm.Pack(dst, src, rs, cs, g.words(kk), cols)
		}
	}
}

func (g *gemmCall) packRows(i, l, kk, worker int) {
	a, mm := &g.a, min(g.aRows, g.mm-i)
	along := a.cs == 1
	src, ld, paired := g.operand(a, along, g.l0+l, kk, g.i0+i, mm, worker)
	rs, cs := 1, ld
	if along {
		rs, cs = ld, 1
	}
	dst := g.tiles[g.words(l)*g.mm+i*g.words(kk):][:mm*g.words(kk)]
	if g.bf16 && !paired {
		asm.PackRowsBF16(dst, src, rs, cs, mm, kk, g.height)
	} else {
		asm.PackRows(dst, src, rs, cs, mm, g.words(kk), g.height)
	}
}

// words returns the floats that l inner indices take in what is packed.
func (g *gemmCall) words(l int) int {
	if g.bf16 {
		return asm.WordsBF16(l)
	}
	return l
}

// operand returns inner indices l to l+kk of rows or columns o to o+n of an operand, ready
// to be packed: decoded, or in pairs of BF16 already. With along, neighbours along the
// inner dimension are neighbours in memory and rows of it are o's; otherwise o's are and
// its rows the inner dimension's. ld is what rows are apart.
func (g *gemmCall) operand(x *matrix, along bool, l, kk, o, n, worker int) (src []float32, ld int, paired bool) {
	r0, rows, c0, cols := l, kk, o, n
	if along {
		r0, rows, c0, cols = o, n, l, kk
	}
	if x.dt == F32 {
		ld = max(x.rs, x.cs)
		return x.f32[r0*ld+c0:], ld, false
	}
	if x.dt == BF16 && g.bf16 && asm.HasBF16() && along && kk%2 == 0 { // pairs as they are
		ld = kk / 2
		src = floats(&g.local[worker], rows*ld)
		for r := range rows {
			copy(bytesOf(src[r*ld:][:ld]), x.raw[2*((r0+r)*max(x.rs, x.cs)+c0):])
		}
		return src, ld, true
	}
	src = floats(&g.local[worker], rows*cols)
	x.decode(src, r0, rows, c0, cols)
	return src, cols, false
}

// piece returns the panels from column j on of the piece that begins with l, and how
// many elements they are apart.
func (g *gemmCall) piece(j, l, kk int) (panels []float32, stride int) {
	switch {
	case g.frozen:
		return g.b.f32[(g.j0+j)*g.k+(g.l0+l)*asm.TileCols:], asm.TileCols * g.k
	case g.direct:
		return nil, 0
	}
	return g.panels[asm.PanelsLen(g.words(l), g.nn)+j*g.words(kk):], asm.TileCols * g.words(kk)
}

// multiplyTask multiplies a block of rows with a group of columns, piece by piece.
func (g *gemmCall) multiplyTask(i, j, worker int) {
	mm, nn := min(g.rows, g.mm-i), min(g.width, g.nn-j)
	if g.swapped {
		t := floats(&g.local[worker], mm*nn)
		g.multiplyPieces(t, nn, i, j, mm, nn, 1, false, worker)
		g.put(j, t, nn, worker)
		return
	}
	c := g.c[(g.i0+i)*g.ldc+g.j0+j:]
	g.multiplyPieces(c, g.ldc, i, j, mm, nn, g.alpha, g.accumulate, worker)
	if t := g.then; t != nil {
		t.multiplyPieces(c, g.ldc, i, j, mm, nn, t.alpha, true, worker)
	}
}

// multiplyPieces writes the product of rows i to i+mm and columns j to j+nn to c.
func (g *gemmCall) multiplyPieces(c []float32, ldc, i, j, mm, nn int, alpha float32, accumulate bool, worker int) {
	for l := 0; l < g.ll; l += g.depth {
		kk := min(g.depth, g.ll-l)
		add := accumulate || g.l0+l > 0
		if g.strips {
			g.multiplyStrip(c, ldc, i, j, mm, nn, l, kk, alpha, add, worker)
			continue
		}
		panels, stride := g.piece(j, l, kk)
		if !g.direct {
			g.multiplyPanels(c, ldc, i, l, panels, stride, mm, nn, kk, alpha, add)
			continue
		}
		a := &g.a
		rows := a.f32[(g.i0+i)*a.rs+(g.l0+l)*a.cs:]
		b := g.b.f32[(g.l0+l)*g.b.rs+g.j0+j:]
		whole := nn &^ (asm.TileCols - 1)
		asm.GemmRows(c, ldc, rows, a.rs, a.cs, b, g.b.rs, mm, whole, kk, alpha, add)
		if rest := nn - whole; rest > 0 {
			panel := floats(&g.edge[worker], kk*asm.TileCols)
			asm.Pack(panel, b[whole:], g.b.rs, 1, kk, rest)
			asm.GemmPanels(c[whole:], ldc, rows, a.rs, a.cs, panel, len(panel), mm, rest, kk, alpha, add)
		}
	}
}

// multiplyStrip packs columns j to j+nn of the piece that begins with l and multiplies
// rows i to i+mm with them.
func (g *gemmCall) multiplyStrip(c []float32, ldc, i, j, mm, nn, l, kk int, alpha float32, accumulate bool, worker int) {
	words := g.words(kk)
	panels := floats(&g.strip[worker], asm.PanelsLen(words, g.bCols))
	for o := 0; o < nn; o += g.bCols {
		cols := min(g.bCols, nn-o)
		g.packColumns(panels, j+o, cols, l, kk, worker)
		g.multiplyPanels(c[o:], ldc, i, l, panels, asm.TileCols*words, mm, cols, kk, alpha, accumulate)
	}
}

// multiplyPanels multiplies rows i to i+mm with panels of the piece that begins with l.
func (g *gemmCall) multiplyPanels(c []float32, ldc, i, l int, panels []float32, stride, mm, nn, kk int, alpha float32, accumulate bool) {
	if !g.tiled {
		a := &g.a
		asm.GemmPanels(c, ldc, a.f32[(g.i0+i)*a.rs+(g.l0+l)*a.cs:], a.rs, a.cs, panels, stride, mm, nn, kk, alpha, accumulate)
		return
	}
	tiles := g.tiles[g.words(l)*g.mm+i*g.words(kk):]
	if g.bf16 {
		asm.GemmTilesBF16(c, ldc, tiles, g.height, panels, stride, mm, nn, g.words(kk), alpha, accumulate)
	} else {
		asm.GemmTiles(c, ldc, tiles, g.height, panels, stride, mm, nn, kk, alpha, accumulate)
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
