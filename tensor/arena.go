package tensor

import (
	"slices"
	"sync/atomic"
)

// storage is a device's buffer with its number of owners. It is given back when
// the last owner lets go: nothing waits for the garbage collector.
type storage struct {
	dev   Device
	buf   Buffer
	refs  atomic.Int32
	quant *Quant // of NF4 and FP4
}

func newStorage(dev Device, buf Buffer) *storage {
	s := &storage{dev: dev, buf: buf}
	s.refs.Store(1)
	return s
}

func (s *storage) retain() { s.refs.Add(1) }

// release ends one ownership and reports whether it was the last one.
func (s *storage) release() bool {
	n := s.refs.Add(-1)
	if n < 0 {
		panic("tensor: released more often than retained")
	}
	if n > 0 {
		return false
	}
	s.dev.Free(s.buf)
	s.buf = nil
	if s.quant != nil {
		s.quant.release()
		s.quant = nil
	}
	return true
}

// Arena owns the tensors of one computation, such as a training step or a
// request. The result of an operation belongs to the arena of its operands;
// tensors without an arena (weights, gradients) belong to whoever made them and
// are released by hand. An Arena is used by one goroutine at a time.
type Arena struct {
	dev  Device
	live []*storage

	// Where objects are recycled, those in use come first in tensors.
	recycle, keep bool
	tensors       []*Tensor
	used          int
	idle          []*storage
}

// NewArena returns an empty arena on a device.
func NewArena(dev Device) *Arena { return &Arena{dev: dev} }

// Device returns the device that the arena's tensors live on.
func (a *Arena) Device() Device { return a.dev }

// Recycle lets the arena use a Tensor's Go object again, not only its memory, when
// its scope ends: then a computation that was done before allocates nothing. What
// is retained or detached has an object of its own. It has no effect in an arena
// that keeps objects.
func (a *Arena) Recycle() { a.recycle = !a.keep }

// KeepObjects makes the arena leave objects to the garbage collector, for good: for
// computations that look at a tensor's shape after its memory has gone.
func (a *Arena) KeepObjects() { a.recycle, a.keep = false, true }

// object returns a Tensor to be filled in.
func (a *Arena) object() *Tensor {
	if a == nil || !a.recycle {
		return new(Tensor)
	}
	if a.used == len(a.tensors) {
		a.tensors = append(a.tensors, new(Tensor))
	}
	a.used++
	return a.tensors[a.used-1]
}

// storage returns the owner of a buffer.
func (a *Arena) storage(buf Buffer) *storage {
	n := len(a.idle)
	if n == 0 {
		return newStorage(a.dev, buf)
	}
	s := a.idle[n-1]
	a.idle = a.idle[:n-1]
	s.buf = buf
	s.refs.Store(1)
	return s
}

// New returns a tensor of unspecified contents, owned by the innermost scope.
func (a *Arena) New(dt DType, shape ...int) *Tensor {
	notQuantised(dt, shape)
	t := a.object()
	*t = Tensor{dev: a.dev, store: a.storage(buffer(a.dev, dt, shape)), dt: dt, shape: append(t.shape[:0], shape...)}
	a.own(t)
	return t
}

// FromF32 returns a tensor in the arena with the given values.
func (a *Arena) FromF32(data []float32, shape ...int) *Tensor {
	t := a.New(F32, shape...)
	t.Set(data)
	return t
}

// Adopt makes the innermost scope the owner of a tensor that was the caller's, and
// returns it as one of the arena's.
func (a *Arena) Adopt(t *Tensor) *Tensor {
	v := t.In(a)
	a.own(v)
	return v
}

func (a *Arena) own(t *Tensor) {
	t.arena = a
	a.live = append(a.live, t.store)
}

// Mark is the beginning of a scope.
type Mark struct{ live, used int }

// Begin begins a scope, which End ends.
func (a *Arena) Begin() Mark { return Mark{len(a.live), a.used} }

// End releases everything that was made in the arena since m but what is to be
// kept (nil tensors are allowed), which passes to the enclosing scope. What
// somebody retained, such as a gradient, lives on until it is released.
func (a *Arena) End(m Mark, keep ...*Tensor) {
	for _, s := range a.live[m.live:] {
		if slices.ContainsFunc(keep, func(t *Tensor) bool { return t != nil && t.store == s }) {
			a.live[m.live] = s
			m.live++
		} else if s.release() && a.recycle {
			a.idle = append(a.idle, s)
		}
	}
	clear(a.live[m.live:])
	a.live = a.live[:m.live]
	if !a.recycle {
		return
	}
	for i := m.used; i < a.used; i++ {
		if slices.Contains(keep, a.tensors[i]) {
			a.tensors[i], a.tensors[m.used] = a.tensors[m.used], a.tensors[i]
			m.used++
		}
	}
	a.used = m.used
}

// Scope runs f between Begin and End and keeps what f returns.
func (a *Arena) Scope(f func() []*Tensor) []*Tensor {
	m := a.Begin()
	out := f()
	a.End(m, out...)
	return out
}

// Close releases everything that the arena owns.
func (a *Arena) Close() { a.End(Mark{}) }
