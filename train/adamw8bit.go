package train

import (
	"bytes"
	"errors"
	"io"

	"github.com/tenon-ml/tenon/tensor"
)

// smallest8bit is the number of elements from which a parameter's moments are in 8
// bits, as in bitsandbytes.
const smallest8bit = 4096

// NewAdamW8bit returns an AdamW that keeps its moments in 8 bits: dynamic codes, with a
// scale for each 256 elements (Dettmers et al., "8-bit Optimizers via Block-wise
// Quantization", 2021). Parameters of fewer than 4096 elements have them in F32.
//
// It is bitsandbytes' AdamW8bit as that is on the CPU, decay before the update, but that
// codes are the nearest ones: bitsandbytes finds them by a table there that is
// coarser than the codes are near 0.
func NewAdamW8bit(params []Param, weightDecay float64) (*AdamW, error) {
	o := newAdamW(params, weightDecay)
	for _, p := range params {
		t := p.Value.T
		if t.Elems() < smallest8bit {
			o.moments = append(o.moments, newMomentsF32(t, ".state1", ".state2"))
			continue
		}
		m, err := tensor.NewMoment8(t.Device(), t.Shape(), true)
		if err != nil {
			o.Release()
			return nil, err
		}
		v, err := tensor.NewMoment8(t.Device(), t.Shape(), false)
		if err != nil {
			m.Release()
			o.Release()
			return nil, err
		}
		o.moments = append(o.moments, &moments8{m, v})
	}
	for _, q := range []struct {
		name   string
		signed bool
	}{{"qmap1", true}, {"qmap2", false}} {
		values := tensor.Moment8{Signed: q.signed}.Map()
		data := make([]byte, 4*len(values))
		tensor.F32.Encode(data, values[:])
		o.shared = append(o.shared, part{
			name: q.name, dtype: tensor.F32, shape: tensor.Shape{len(values)},
			write: func(w io.Writer) error {
				_, err := w.Write(data)
				return err
			},
			read: func(got []byte) error {
				if !bytes.Equal(got, data) {
					return errors.New("has other values than this optimizer's codes")
				}
				return nil
			},
		})
	}
	return o, nil
}

// moments8 are moments in 8 bits.
type moments8 struct{ m, v tensor.Moment8 }

func (s *moments8) step(p, g *tensor.Tensor, h tensor.AdamWStep) {
	if k := p.Device().Kernels().AdamW8bit; k != nil {
		k(p, g, s.m, s.v, h)
	} else {
		adamW8bit(p, g, s.m, s.v, h)
	}
}

// adamW8bit is one step in mandatory operations and decoding and encoding on the host:
// its definition.
func adamW8bit(p, g *tensor.Tensor, m, v tensor.Moment8, h tensor.AdamWStep) {
	mt, vt := tensor.FromF32(p.Device(), m.F32s(), p.Shape()...), tensor.FromF32(p.Device(), v.F32s(), p.Shape()...)
	defer mt.Release()
	defer vt.Release()
	adamW(p, g, mt, vt, h)
	m.Set(mt.F32s())
	v.Set(vt.F32s())
}

func (s *moments8) parts() []part {
	return []part{
		tensorPart(".state1", s.m.Codes), tensorPart(".state2", s.v.Codes),
		tensorPart(".absmax1", s.m.Absmax), tensorPart(".absmax2", s.v.Absmax),
	}
}

func (s *moments8) release() {
	s.m.Release()
	s.v.Release()
}
