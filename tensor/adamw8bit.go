package tensor

import (
	"fmt"
	"math"
)

// Moment8 is one of AdamW's moments in 8 bits: an element is Map()[code] times the
// scale of its block of 256 elements, the largest magnitude in it.
type Moment8 struct {
	Codes  *Tensor // U8, of the parameter's shape
	Absmax *Tensor // F32 [⌈elements/256⌉]
	Signed bool    // the first moment has signs, the second none
}

// MomentBlock is the number of elements that share a scale, as in bitsandbytes.
const MomentBlock = 256

// NewMoment8 returns a moment of zeros for a parameter of that shape.
func NewMoment8(dev Device, shape Shape, signed bool) (Moment8, error) {
	m := Moment8{Signed: signed}
	var err error
	m.Codes, err = MakeStored(dev, U8, shape, func(dst []byte) error {
		clear(dst)
		return nil
	})
	if err == nil {
		m.Absmax, err = Make(dev, Shape{ceil(shape.Elems(), MomentBlock)}, func(dst []float32) error {
			clear(dst)
			return nil
		})
	}
	if err != nil && m.Codes != nil {
		m.Codes.Release()
	}
	return m, err
}

// Release releases the moment's memory.
func (m Moment8) Release() {
	m.Codes.Release()
	m.Absmax.Release()
}

// Map returns the values of the codes: bitsandbytes' dynamic maps.
func (m Moment8) Map() *[256]float32 { return m.encoder().values }

func (m Moment8) encoder() *encoder8 {
	if m.Signed {
		return signed8
	}
	return unsigned8
}

// F32s returns the elements.
func (m Moment8) F32s() []float32 {
	x := make([]float32, m.Codes.Elems())
	m.encoder().decode(x, m.Codes.Raw(), m.Absmax.F32s())
	return x
}

// Set makes the elements the nearest ones to x.
func (m Moment8) Set(x []float32) {
	codes, absmax := make([]byte, len(x)), make([]float32, ceil(len(x), MomentBlock))
	m.encoder().encode(codes, absmax, x)
	if m.Codes.SetRaw(codes) != nil {
		Bad("set a moment", fmt.Sprintf("%d elements", len(x)), m.Codes)
	}
	m.Absmax.Set(absmax)
}

// encoder8 finds the code of the value that is nearest.
type encoder8 struct {
	values *[256]float32
	// bounds are the midpoints between values, exact; the last is +Inf. The code of v
	// is the number of bounds below it, so the lower one on a tie.
	bounds [256]float64
	// first is, by the leading bits of a float32, the number of bounds below all that
	// begin so. Few bounds are left to pass.
	first [2 * cells8]uint8
}

const (
	cellBits = 6                                   // of the mantissa
	least8   = (127 - 24) << 23                    // 2⁻²⁴, below half of the smallest value
	cells8   = (127<<23-least8)>>(23-cellBits) + 1 // magnitudes from there to 1
)

// The maps of the moments have the bits that bitsandbytes' have where PyTorch computes
// with AVX2; elsewhere some values are an ulp off.
var (
	signed8   = newEncoder8(newDynamicMap(true, linspaceAVX2))
	unsigned8 = newEncoder8(newDynamicMap(false, linspaceAVX2))
)

// linspaceAVX2 is linspace but for pairs of eight numbers, of which each is the first one
// and a multiple of the step.
func linspaceAVX2(j, n int) float32 {
	if j >= (n+1)&^15 {
		return linspace(j, n)
	}
	step := (1 - float32(0.1)) / float32(n)
	return linspace(j&^7, n) + float32(step*float32(j&7))
}

func newEncoder8(values *[256]float32) *encoder8 {
	e := &encoder8{values: values}
	for i := range 255 {
		e.bounds[i] = (float64(values[i]) + float64(values[i+1])) / 2
	}
	e.bounds[255] = math.Inf(1)
	const slack = 1e-6 // v is rounded when its cell is sought
	for cell := range cells8 {
		lo := float64(math.Float32frombits(uint32(cell)<<(23-cellBits) + least8))
		hi := float64(math.Float32frombits(uint32(cell+1)<<(23-cellBits) + least8))
		if cell == 0 {
			lo = 0
		}
		for n := &e.first[cell]; e.bounds[*n] < lo*(1-slack); *n++ {
		}
		for n := &e.first[cells8+cell]; e.bounds[*n] < -hi*(1+slack); *n++ {
		}
	}
	return e
}

// encode writes the codes and the scales of whole blocks, or of those at the end of a
// moment: of each element the exact nearest.
func (e *encoder8) encode(codes []byte, absmax []float32, x []float32) {
	for b := range absmax {
		lo, hi := b*MomentBlock, min((b+1)*MomentBlock, len(x))
		scale := absMax(x[lo:hi])
		absmax[b] = scale
		inv := 1 / scale
		if !(inv <= math.MaxFloat32) { // of a scale of 0, or too small to have a reciprocal
			inv = 0
			if scale > 0 {
				e.encodeTiny(codes[lo:hi], x[lo:hi], scale)
				continue
			}
		}
		s := float64(scale)
		for i, v := range x[lo:hi] {
			bits := math.Float32bits(v * inv)
			cell := min(max(int(bits&^(1<<31))-least8, 0)>>(23-cellBits), cells8-1)
			n := e.first[cell+int(bits>>31)*cells8]
			for e.bounds[n]*s < float64(v) { // exact: 25 and 24 bits
				n++
			}
			codes[lo+i] = n
		}
	}
}

// encodeTiny is encode of a block whose scale has no reciprocal in F32.
func (e *encoder8) encodeTiny(codes []byte, x []float32, scale float32) {
	for i, v := range x {
		codes[i] = nearest(e.values, v, scale)
	}
}

// decode writes the elements of blocks to dst.
func (e *encoder8) decode(dst []float32, codes []byte, absmax []float32) {
	for b, scale := range absmax {
		lo, hi := b*MomentBlock, min((b+1)*MomentBlock, len(dst))
		for i, c := range codes[lo:hi] {
			dst[lo+i] = e.values[c] * scale
		}
	}
}

// adamW8bit decodes the moments a few blocks at a time, takes the step of adamW, and
// encodes them again.
func (c *CPU) adamW8bit(p, g *Tensor, m, v Moment8, h AdamWStep) {
	const few = 8 * MomentBlock
	ps, gs := p.F32(), g.F32()
	ms, vs, ma, va := m.Codes.Bytes(), v.Codes.Bytes(), m.Absmax.F32(), v.Absmax.F32()
	c.ranges(len(ps), few, func(lo, hi int) {
		var mb, vb [few]float32
		n, first, end := hi-lo, lo/MomentBlock, ceil(hi, MomentBlock)
		signed8.decode(mb[:n], ms[lo:hi], ma[first:end])
		unsigned8.decode(vb[:n], vs[lo:hi], va[first:end])
		h.step(ps[lo:hi], gs[lo:hi], mb[:n], vb[:n])
		signed8.encode(ms[lo:hi], ma[first:end], mb[:n])
		unsigned8.encode(vs[lo:hi], va[first:end], vb[:n])
	})
}
