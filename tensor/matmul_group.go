package tensor

// group are products with one left side a [m, k]. In BF16 it is rounded and packed
// once for all of them, and those that do not depend on each other share a run of the
// workers.
type group struct {
	c    *CPU
	a    matrix
	m, k int
	left *gemmCall // that has packed a; nil: each product packs it itself
}

// groupTerm is c = a·b (+ c), times alpha, for the group's a and b [k, n]; then
// c += alpha2·a2·b2, if there is such a pair, with a2 [m, k2].
type groupTerm struct {
	c          []float32
	ldc        int
	b          matrix
	n          int
	alpha      float32
	accumulate bool

	a2, b2 matrix
	k2     int
	alpha2 float32
}

// group begins a group of products; done ends it.
func (c *CPU) group(a matrix, m, k int) group {
	p, w := group{c, a, m, k, nil}, c.workers
	if w.compute != ComputeBF16 || a.dt != F32 || a.cs != 1 || m <= directRows || m > stripRows || k < leastBF16 || m*k > packFloats {
		return p
	}
	p.left = w.takeGemm(nil, 0, a, matrix{}, m, 0, k, 1, false)
	p.left.serial = w.n == 1
	p.left.whole16()
	p.left.room(0, p.left.leftTasks())
	p.left.run(w, p.left.aTasks, p.left.part)
	return p
}

func (p *group) done() {
	if p.left != nil {
		p.c.workers.giveGemm(p.left)
	}
}

// whole16 prepares a product in BF16, all of it at once.
func (g *gemmCall) whole16() {
	g.bf16, g.tiled = true, true
	g.cut()
	g.j0, g.l0, g.i0, g.nn, g.ll, g.mm = 0, 0, 0, g.n, g.k, g.m
}

// leftTasks sets the tasks that pack a, and returns the floats that it takes.
func (g *gemmCall) leftTasks() (words int) {
	g.bTasks, g.aTasks = 0, ceil(g.k, g.depth)*ceil(g.m, g.aRows)
	return g.m * g.words(g.k)
}

// multiply computes terms that do not depend on each other.
func (p *group) multiply(terms ...groupTerm) {
	f := p.c.takeProducts()
	defer p.c.giveProducts(f)
	tasks := 0
	for i := range terms {
		t := &terms[i]
		if g := p.call(t); g != nil {
			f.calls, f.first = append(f.calls, g), append(f.first, tasks)
			g.grid(p.c.workers.n)
			tasks += g.groups * g.rowBlocks
			continue
		}
		gemm(p.c.workers, t.c, t.ldc, p.a, t.b, p.m, t.n, p.k, t.alpha, t.accumulate)
		if t.k2 > 0 {
			gemm(p.c.workers, t.c, t.ldc, t.a2, t.b2, p.m, t.n, t.k2, t.alpha2, true)
		}
	}
	if tasks > 0 {
		p.c.workers.Run(tasks, f.run)
	}
}

// call returns a term as a product in strips with the group's tiles, or nil if it
// cannot be one.
func (p *group) call(t *groupTerm) *gemmCall {
	w := p.c.workers
	if p.left == nil || t.n < leastBF16 || t.k2 > 0 && t.k2 < leastBF16 {
		return nil
	}
	g := w.takeGemm(t.c, t.ldc, p.a, t.b, p.m, t.n, p.k, t.alpha, t.accumulate)
	if g.strip16(w.n); g.depth != p.left.depth {
		w.giveGemm(g)
		return nil
	}
	g.tiles = p.left.tiles
	if t.k2 > 0 {
		s := w.takeGemm(t.c, t.ldc, t.a2, t.b2, p.m, t.n, t.k2, t.alpha2, true)
		g.then = s
		s.strip16(w.n)
		s.tiles = floats(&s.own, s.leftTasks())
		for task := range s.aTasks {
			s.partTask(task, 0)
		}
		s.bCols = g.bCols
	}
	return g
}

// strip16 prepares a product in BF16 in strips.
func (g *gemmCall) strip16(threads int) {
	g.strips, g.direct, g.frozen = true, false, false
	g.whole16()
	g.narrow(threads)
}
