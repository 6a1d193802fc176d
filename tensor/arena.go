package tensor

import "sync/atomic"

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

func (s *storage) release() {
	switch n := s.refs.Add(-1); {
	case n == 0:
		s.dev.Free(s.buf)
		s.buf = nil
		if s.quant != nil {
			s.quant.release()
		}
	case n < 0:
		panic("tensor: released more often than retained")
	}
}

// Arena owns the tensors of one computation, such as a training step or a
// request. The result of an operation belongs to the arena of its operands;
// tensors without an arena (weights, gradients) belong to whoever made them and
// are released by hand. An Arena is used by one goroutine at a time.
type Arena struct {
	dev  Device
	live []*storage
}

// NewArena returns an empty arena on a device.
func NewArena(dev Device) *Arena { return &Arena{dev: dev} }

// Device returns the device that the arena's tensors live on.
func (a *Arena) Device() Device { return a.dev }

// New returns a tensor of unspecified contents, owned by the innermost scope.
func (a *Arena) New(dt DType, shape ...int) *Tensor {
	t := alloc(a.dev, dt, shape)
	a.own(t)
	return t
}

// FromF32 returns a tensor in the arena with the given values.
func (a *Arena) FromF32(data []float32, shape ...int) *Tensor {
	t := FromF32(a.dev, data, shape...)
	a.own(t)
	return t
}

// Adopt makes the innermost scope the owner of a tensor that was the caller's, and
// returns it as one of the arena's.
func (a *Arena) Adopt(t *Tensor) *Tensor {
	v := *t
	a.own(&v)
	return &v
}

func (a *Arena) own(t *Tensor) {
	t.arena = a
	a.live = append(a.live, t.store)
}

// Scope runs f and releases everything that was made in the arena meanwhile but
// what f returns (nil tensors are allowed), which passes to the enclosing scope.
// What somebody retained, such as a gradient, lives on until it is released.
func (a *Arena) Scope(f func() []*Tensor) []*Tensor {
	mark := len(a.live)
	out := f()
	kept := mark
	for _, s := range a.live[mark:] {
		keep := false
		for _, t := range out {
			keep = keep || t != nil && t.store == s
		}
		if keep {
			a.live[kept] = s
			kept++
		} else {
			s.release()
		}
	}
	clear(a.live[kept:])
	a.live = a.live[:kept]
	return out
}

// Close releases everything that the arena owns.
func (a *Arena) Close() {
	for _, s := range a.live {
		s.release()
	}
	clear(a.live)
	a.live = a.live[:0]
}
