package tensor

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

func inUse(c *CPU) int {
	_, n, _ := c.MemoryStats()
	return n
}

// owned is what the model of TestArena knows of a tensor.
type owned struct {
	t      *Tensor
	value  float32
	owners int // retained by hand
	scope  int // depth of the scope that owns it; -1: none
}

// arenaModel drives an arena with random calls and knows what must be alive.
type arenaModel struct {
	t     *testing.T
	cpu   *CPU
	arena *Arena
	r     *Random
	all   []*owned
	depth int
	next  float32
	calls int
}

func (m *arenaModel) pick(n int) int { return int(m.r.Uint32() % uint32(n)) }

func (m *arenaModel) live() []*owned {
	return slices.DeleteFunc(slices.Clone(m.all), func(o *owned) bool { return o.owners == 0 && o.scope < 0 })
}

// check compares the model's tensors with the memory: their contents, and that
// nothing else is in use.
func (m *arenaModel) check() {
	m.t.Helper()
	used := 0
	for _, o := range m.live() {
		for i, v := range o.t.F32() {
			if v != o.value {
				m.t.Fatalf("after %d calls: element %d of a live tensor is %g, want %g: its memory was given away", m.calls, i, v, o.value)
			}
		}
		if want := int32(o.owners) + map[bool]int32{true: 1}[o.scope >= 0]; o.t.store.refs.Load() != want {
			m.t.Fatalf("after %d calls: a tensor has %d owners, want %d", m.calls, o.t.store.refs.Load(), want)
		}
		used += sizeClass(4 * o.t.Elems())
	}
	if n := inUse(m.cpu); n != used {
		m.t.Fatalf("after %d calls: %d bytes in use, want %d", m.calls, n, used)
	}
}

// step makes one random call.
func (m *arenaModel) step() {
	m.calls++
	live := m.live()
	switch k := m.pick(10); {
	case k < 4 || len(live) == 0: // a new tensor
		m.next++
		n := 1 + m.pick(400)
		m.all = append(m.all, &owned{t: m.arena.New(F32, n).Fill(float64(m.next)), value: m.next, scope: m.depth})
	case k == 4: // one without an arena
		m.next++
		m.all = append(m.all, &owned{t: New(m.cpu, F32, 1+m.pick(400)).Fill(float64(m.next)), value: m.next, owners: 1, scope: -1})
	case k == 5:
		o := live[m.pick(len(live))]
		o.t.Slice(0, 1).Retain() // a view's owner owns the whole
		o.owners++
	case k == 6:
		if o := live[m.pick(len(live))]; o.owners > 0 {
			o.t.Release()
			o.owners--
		}
	case k == 7:
		if o := live[m.pick(len(live))]; o.owners > 0 && o.scope < 0 { // one owner becomes the arena
			m.arena.Adopt(o.t)
			o.owners--
			o.scope = m.depth
		}
	default:
		if m.depth < 5 {
			m.scope()
		}
	}
	m.check()
}

// scope runs a scope of random calls that returns some of what is alive.
func (m *arenaModel) scope() {
	m.depth++
	var kept []*owned
	out := m.arena.Scope(func() []*Tensor {
		for range m.pick(12) {
			m.step()
		}
		out := []*Tensor{nil}
		for _, o := range m.live() {
			if m.pick(4) == 0 {
				kept = append(kept, o)
				out = append(out, o.t.Reshape(1, o.t.Elems())) // a view stands for the whole
			}
		}
		return out
	})
	if len(out) != len(kept)+1 {
		m.t.Fatalf("a scope returned %d tensors, its function %d", len(out), len(kept)+1)
	}
	for _, o := range m.all {
		switch {
		case o.scope == m.depth && slices.Contains(kept, o):
			o.scope--
		case o.scope == m.depth:
			o.scope = -1
		}
	}
	m.depth--
}

// TestArena makes random calls of scopes, owners and views and compares what is
// alive with a model.
func TestArena(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			cpu := NewCPU(1)
			defer cpu.Close()
			m := &arenaModel{t: t, cpu: cpu, arena: NewArena(cpu), r: NewRandom(seed, "arena")}
			for range 100 {
				m.step()
			}
			m.arena.Close()
			for _, o := range m.all {
				o.scope = -1
			}
			m.check()
			m.arena.Close() // nothing is left: the same again
			for _, o := range m.all {
				for ; o.owners > 0; o.owners-- {
					o.t.Release()
				}
			}
			m.check()
		})
	}
}

// TestRecycle: a scope that is run again allocates nothing, and what it keeps, what
// is retained and what is detached are not given away.
func TestRecycle(t *testing.T) {
	cpu := NewCPU(1)
	defer cpu.Close()
	arena := NewArena(cpu)
	arena.Recycle()
	var kept, retained, detached *Tensor
	fill := func(v float64) *Tensor { return arena.New(F32, 2, 3).Fill(v) }
	scope := func() {
		m := arena.Begin()
		fill(1)
		kept = fill(2).Reshape(3, 2)
		fill(3).Slice(0, 1).Reshape(3)
		arena.End(m, kept)
	}
	scope()
	if kept.F32()[5] != 2 || !kept.Shape().Equal(Shape{3, 2}) {
		t.Errorf("the kept tensor is %v %v", kept.Shape(), kept.F32())
	}
	arena.Close()
	if n := testing.AllocsPerRun(20, func() { scope(); arena.Close() }); n != 0 {
		t.Errorf("a warm scope allocates %v times", n)
	}
	arena.Scope(func() []*Tensor {
		x := fill(4)
		retained, detached = x.Slice(1, 2).Retain(), x.Retain().Detached()
		return nil
	})
	for range 3 {
		scope()
		fill(5)
	}
	if retained.F32()[2] != 4 || !retained.Shape().Equal(Shape{1, 3}) || detached.F32()[0] != 4 || !detached.Shape().Equal(Shape{2, 3}) {
		t.Errorf("retained: %v %v, detached: %v %v", retained.Shape(), retained.F32(), detached.Shape(), detached.F32())
	}
	retained.Release()
	detached.Release()
	arena.Close()
	if n := inUse(cpu); n != 0 {
		t.Errorf("%d bytes in use at the end", n)
	}
	arena.KeepObjects()
	arena.Recycle()
	x := fill(6)
	arena.Close()
	if y := fill(7); x == y {
		t.Error("an arena that keeps objects gives one out again")
	}
	arena.Close()
}

// TestResultsBelong says whose the result of an operation is.
func TestResultsBelong(t *testing.T) {
	cpu := NewCPU(1)
	defer cpu.Close()
	arena := NewArena(cpu)
	weight := FromF32(cpu, []float32{1, 2, 3}, 3)
	x := arena.FromF32([]float32{1, 1, 1}, 3)
	before := inUse(cpu)
	weight.Add(x)
	x.Add(weight)
	weight.In(arena).Scale(2)
	if n := inUse(cpu); n == before {
		t.Fatal("no memory was taken")
	}
	arena.Close()
	if n := inUse(cpu); n != 256 {
		t.Errorf("%d bytes in use after the arena, want the weight's 256", n)
	}
	y := weight.Unary(OpNeg) // without an arena: the caller's
	y.Release()
	weight.Release()
	if n := inUse(cpu); n != 0 {
		t.Errorf("%d bytes in use at the end", n)
	}
}

// TestPool gives memory out again, and only what was given back.
func TestPool(t *testing.T) {
	cpu := NewCPU(1)
	x := New(cpu, F32, 1<<20)
	mapped, _, peak := cpu.MemoryStats()
	if mapped < 4<<20 || peak < 4<<20 {
		t.Errorf("%d bytes mapped, peak %d, want at least %d", mapped, peak, 4<<20)
	}
	x.Release()
	y := New(cpu, F32, 1<<20)
	if again, _, _ := cpu.MemoryStats(); again != mapped {
		t.Errorf("%d bytes mapped, then %d: the pool was not used", mapped, again)
	}
	z := New(cpu, F32, 1<<20)
	y.Fill(1)
	z.Fill(2)
	if y.F32()[5] != 1 {
		t.Error("two tensors share memory")
	}
	y.Release()
	if err := cpu.Trim(); err != nil {
		t.Fatal(err)
	}
	if left, used, _ := cpu.MemoryStats(); left != mapped || used != 4<<20 {
		t.Errorf("after Trim: %d mapped, %d used, want %d and %d", left, used, mapped, 4<<20)
	}
	if z.F32()[7] != 2 {
		t.Error("Trim took memory in use")
	}
	z.Release()
	if err := cpu.Close(); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 1<<22; n += 1 + n/7 {
		c := sizeClass(n)
		if c < n || c > max(smallest, n+n/4+1) {
			t.Errorf("%d bytes are given %d", n, c)
		}
		if sizeClass(c) != c {
			t.Errorf("class %d is in class %d", c, sizeClass(c))
		}
	}
}

// TestTry turns the panics of mistakes and devices into errors, and no others.
func TestTry(t *testing.T) {
	cpu := NewCPU(1)
	defer cpu.Close()
	if err := Try(func() error { return nil }); err != nil {
		t.Error(err)
	}
	err := Try(func() error { New(cpu, F32, math.MaxInt>>20); return nil })
	if _, ok := err.(*DeviceError); !ok {
		t.Errorf("too much memory: %v, want a DeviceError", err)
	}
	err = Try(func() error { Meta(F32, 2, 3).Reshape(4); return nil })
	if _, ok := err.(*ShapeError); !ok {
		t.Errorf("a wrong shape: %v, want a ShapeError", err)
	} else if want := "tensor: reshape of [2, 3] and [4]: want equal numbers of elements"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("another panic was swallowed")
			}
		}()
		Try(func() error { panic("else") })
	}()
}
