package tensor

// Product is z = alpha·x·yᵀ, added to what z holds if it is one of those that
// accumulate. x is [M, K], y [N, K] of any type that can be decoded, z [M, N].
type Product struct {
	Z, X, Y    *Tensor
	Alpha      float64
	Accumulate bool
}

// fewProducts are the products of a few rows that workers do in one go, kept for the
// next time so that a warm call allocates nothing.
type fewProducts struct {
	calls []*gemmCall
	first []int                  // task of each call
	run   func(task, worker int) // the method, bound once
}

func (c *CPU) takeProducts() *fewProducts {
	if f := c.products.take(); f != nil {
		return f
	}
	f := new(fewProducts)
	f.run = f.task
	return f
}

func (c *CPU) giveProducts(f *fewProducts) {
	for _, g := range f.calls {
		c.workers.giveGemm(g)
	}
	clear(f.calls)
	f.calls, f.first = f.calls[:0], f.first[:0]
	c.products.give(f)
}

func (f *fewProducts) task(task, worker int) {
	i := len(f.first) - 1
	for task < f.first[i] {
		i--
	}
	g := f.calls[i]
	if task -= f.first[i]; g.strips {
		g.multiplyTask(task%g.rowBlocks*g.rows, task/g.rowBlocks*g.width, worker)
	} else {
		g.streamTask(task, worker)
	}
}

// matMulTs computes products that do not depend on each other. Those of a few rows
// share one run of the workers: a wait for the last of them costs as much as a small
// product.
func (c *CPU) matMulTs(ps []Product) {
	f := c.takeProducts()
	defer c.giveProducts(f)
	bytes, work := 0, 0
	for i := range ps {
		p := &ps[i]
		m, n, k := p.X.Dim(0), p.Y.Dim(0), p.X.Dim(1)
		if m > skinnyRows || k < 2 || p.Y.dt == Panels {
			c.matMul(p.Z, p.X, p.Y, false, true, p.Alpha, p.Accumulate)
			continue
		}
		g := c.workers.takeGemm(p.Z.F32(), n, p.X.matrix(0, m, k, false), p.Y.matrix(0, k, n, true), m, n, k, float32(p.Alpha), p.Accumulate)
		f.calls = append(f.calls, g)
		bytes += p.Y.dt.Bytes(n * k)
		work += m * n * k
	}
	cut := cutter{bytes, c.workers.n}
	tasks := 0
	var before *gemmCall
	for _, g := range f.calls {
		f.first = append(f.first, tasks)
		tasks += g.startSkinny(&cut, before)
		before = g
	}
	if work < serialWork {
		alone(tasks, f.run)
	} else {
		c.workers.Run(tasks, f.run)
	}
}
