package train

import (
	"errors"
	"fmt"
	"io"

	"github.com/tenon-ml/tenon/internal/mapped"
	"github.com/tenon-ml/tenon/tensor"
)

// pageBytes is a multiple of the size of a page on every system.
const pageBytes = 1 << 16

// LeastPaged is the least memory in bytes that paged moments can do with: a page of each.
const LeastPaged = 2 * pageBytes

// NewPagedAdamW returns an AdamW whose moments, and nothing else, are in a mapped file
// in a folder. A parameter's are brought into memory for its step and taken out again
// after it, so many at a time that no more than limit bytes of them are there at once
// (at least LeastPaged). The results are those of NewAdamW, bit for bit. The file has no
// name: it is gone when the process is. A disk that has no room for it is an error.
func NewPagedAdamW(params []Param, weightDecay float64, dir string, limit int64) (*AdamW, error) {
	if limit < LeastPaged {
		return nil, fmt.Errorf("paged moments in %d bytes of memory, want at least %d", limit, LeastPaged)
	}
	o := newAdamW(params, weightDecay)
	var at int64
	place := func(n int) int64 { // of n elements in the file
		here := at
		at += (4*int64(n) + pageBytes - 1) &^ (pageBytes - 1)
		return here
	}
	// Halves of the limit, since m and v are there together.
	most := int(min(limit/2, 1<<30)&^(pageBytes-1)) / 4
	var all []*pagedMoments
	for _, p := range params {
		t := p.Value.T
		dev, ok := t.Device().(*tensor.CPU)
		if !ok {
			return nil, errors.New("paged moments are of parameters on the CPU")
		}
		s := &pagedMoments{dev: dev, shape: t.Shape(), m: place(t.Elems()), v: place(t.Elems()), most: most}
		all = append(all, s)
		o.moments = append(o.moments, s)
	}
	if at == 0 {
		return o, nil
	}
	var err error
	if o.file, err = mapped.NewScratch(dir, at); err != nil {
		return nil, err
	}
	for _, s := range all {
		s.file = o.file
	}
	return o, nil
}

// pagedMoments are a parameter's moments in the file, F32, each from a place on.
type pagedMoments struct {
	file  *mapped.Scratch
	dev   *tensor.CPU
	shape tensor.Shape
	m, v  int64
	most  int // elements of each that are mapped at once
}

func (s *pagedMoments) step(p, g *tensor.Tensor, h tensor.AdamWStep) {
	n := s.shape.Elems()
	p, g = p.Reshape(n), g.Reshape(n)
	for lo := 0; lo < n; lo += s.most {
		hi := min(lo+s.most, n)
		m, v := s.bring(s.m, lo, hi), s.bring(s.v, lo, hi)
		s.dev.Kernels().AdamW(p.Slice(lo, hi), g.Slice(lo, hi), m, v, h)
		m.Release()
		v.Release()
	}
}

// bring maps elements of a moment. They leave memory when the tensor is released.
func (s *pagedMoments) bring(at int64, lo, hi int) *tensor.Tensor {
	b, release, err := s.file.Window(at+4*int64(lo), 4*(hi-lo))
	if err != nil {
		panic(&tensor.DeviceError{Device: s.dev.Name(), Err: err})
	}
	return s.dev.Foreign(tensor.F32, b, release, hi-lo)
}

func (s *pagedMoments) parts() []part {
	one := func(name string, at int64) part {
		each := func(do func(lo int, b []byte) error) error {
			for lo := 0; lo < s.shape.Elems(); lo += s.most {
				b, release, err := s.file.Window(at+4*int64(lo), 4*(min(lo+s.most, s.shape.Elems())-lo))
				if err != nil {
					return err
				}
				if err := errors.Join(do(4*lo, b), release()); err != nil {
					return err
				}
			}
			return nil
		}
		return part{
			name: name, dtype: tensor.F32, shape: s.shape,
			write: func(w io.Writer) error {
				return each(func(_ int, b []byte) error {
					_, err := w.Write(b)
					return err
				})
			},
			read: func(data []byte) error {
				return each(func(lo int, b []byte) error {
					copy(b, data[lo:])
					return nil
				})
			},
		}
	}
	return []part{one(momentM, s.m), one(momentV, s.v)}
}

func (s *pagedMoments) release() {} // the file is the optimizer's
