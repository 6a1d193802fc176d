package tensor

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/tenon-ml/tenon/asm"
)

// Quant is what a tensor in NF4 or FP4 has besides its codes. The codes are
// packed as bitsandbytes does, over the flat tensor in row-major order: element i is in
// the high nibble of byte i/2 if i is even, else in the low one, and blocks
// go over the ends of rows. A value is, each operation rounded to F32,
//
//	Table[code] * Absmax[i/Block]
//
// or, where the scales are quantised too (double quantisation), with b = i/Block,
//
//	Table[code] * (Map[Absmax[b]] * Nested[b/256] + Offset)
type Quant struct {
	Block  int           // elements that share a scale: a power of two, 32 to 4096
	Table  [16]float32   // values of the codes
	Absmax *Tensor       // the scales: F32 [blocks], or U8 [blocks]
	Nested *Tensor       // F32 [⌈blocks/256⌉]; nil if Absmax is F32
	Map    *[256]float32 // values of the codes in Absmax
	Offset float32

	// What a CPU computes with: absmax and nested are the tensors' memory.
	book   *asm.Codebook
	absmax []float32
	codes  []byte
	nested []float32
	values *asm.ByteMap // Map
	elems  int          // of the whole tensor
}

// nestedBlock is the number of scales that share one of their own.
const nestedBlock = 256

// QuantOptions says how Quantize encodes.
type QuantOptions struct {
	DType  DType // NF4, FP4 or Q8_0, for which the rest has no meaning
	Block  int   // elements that share a scale: a power of two, 32 to 4096; usually 64. 0 is an error
	Double bool  // quantise the scales too

	// SearchAbsmax chooses scales by squared error; else they are each block's largest
	// magnitude. The error of normal weights is 7 % less (RMS). That is not always a better
	// model: SmolLM2's loss on 7,000 tokens of text is 3.957, in NF4 4.175, with scales
	// chosen so 4.209.
	SearchAbsmax bool
}

// Quantized reports whether elements of the type are 4-bit codes whose tensor has a
// Quant beside them.
func (d DType) Quantized() bool { return d == NF4 || d == FP4 }

// Quant returns what a tensor in NF4 or FP4 has besides its codes, and nil for
// other tensors. It belongs to the tensor's memory, and a view's is that of the
// whole: the view's first element is the one at Buffer's offset.
func (t *Tensor) Quant() *Quant {
	if t.store == nil {
		return nil
	}
	return t.store.quant
}

// NewQuant returns a tensor of type dt, NF4 or FP4, that holds a copy of the codes,
// owned by the caller, and takes over q's tensors. After an error they are still the caller's.
func NewQuant(dev Device, dt DType, shape Shape, codes []byte, q Quant) (*Tensor, error) {
	if err := q.check(dt, shape, len(codes)); err != nil {
		return nil, err
	}
	var t *Tensor
	err := Try(func() error {
		t = allocate(dev, dt, shape)
		return dev.CopyIn(t.store.buf, codes)
	})
	if err != nil {
		if t != nil {
			t.Release()
		}
		return nil, err
	}
	q.attach(t)
	return t, nil
}

// attach makes q the tensor's.
func (q *Quant) attach(t *Tensor) {
	q.book = asm.NewCodebook(q.Table)
	if b, ok := q.Absmax.cpuBytes(); ok {
		if q.Nested == nil {
			q.absmax = q.Absmax.F32()
		} else {
			q.codes, q.nested, q.values = b, q.Nested.F32(), asm.NewByteMap(q.Map)
		}
	}
	q.elems = t.Elems()
	t.store.quant = q
}

func (q *Quant) check(dt DType, shape Shape, codes int) error {
	if !dt.Quantized() {
		return fmt.Errorf("codes of %s, want NF4 or FP4", dt)
	}
	if err := checkBlock(q.Block); err != nil {
		return err
	}
	if !shape.fits() {
		return fmt.Errorf("shape %v is larger than memory", shape)
	}
	n := shape.Elems()
	if want := dt.Bytes(n); codes != want {
		return fmt.Errorf("%d bytes of codes for shape %v, want %d", codes, shape, want)
	}
	if q.Absmax == nil {
		return errors.New("no absmax")
	}
	blocks, scales := ceil(n, q.Block), F32
	if q.Nested != nil {
		scales = U8
		if q.Map == nil {
			return errors.New("a nested absmax without its map")
		}
		if want := ceil(blocks, nestedBlock); q.Nested.dt != F32 || q.Nested.Elems() != want {
			return fmt.Errorf("nested absmax of %d %s, want %d F32", q.Nested.Elems(), q.Nested.dt, want)
		}
	}
	if q.Absmax.dt != scales || q.Absmax.Elems() != blocks {
		return fmt.Errorf("absmax of %d %s, want %d %s", q.Absmax.Elems(), q.Absmax.dt, blocks, scales)
	}
	return nil
}

// release releases the tensors that q owns.
func (q *Quant) release() {
	for _, t := range []*Tensor{q.Absmax, q.Nested} {
		if t != nil {
			t.Release()
		}
	}
}

// scales returns n of the scales as F32 from number b on, in buf if they have
// to be decoded.
func (q *Quant) scales(buf []float32, b, n int) []float32 {
	if q.absmax != nil {
		return q.absmax[b : b+n]
	}
	buf = buf[:n]
	for i := 0; i < n; {
		group := (b + i) / nestedBlock
		codes := q.codes[b+i : min(b+n, (group+1)*nestedBlock)]
		asm.DecodeBytes(buf[i:][:len(codes)], codes, q.values, q.nested[group], q.Offset)
		i += len(codes)
	}
	asm.Prefetch(q.codes[b+n : min(b+2*n, len(q.codes))]) // what is asked for next
	return buf
}

// scaleRows writes the scales of rows of n elements, ld apart, from element at on, to
// dst: one for every unit elements, which has no smaller block within.
func (q *Quant) scaleRows(dst []float32, at, ld, rows, n, unit int) {
	shift := bits.TrailingZeros(uint(q.Block))
	for r := range rows {
		row, i := dst[r*(n/unit):][:n/unit], at+r*ld
		for u := range row {
			b := i >> shift
			if q.absmax != nil {
				row[u] = q.absmax[b]
			} else {
				row[u] = float32(q.Map[q.codes[b]]*q.nested[b/nestedBlock]) + q.Offset
			}
			i += unit
		}
	}
}

// pack is asm.Pack for rows of n elements, ld apart, from element at on, or with along for
// their transpose. It reports whether it could: rows are cut into units that lie within a
// block each. buf is room for scales.
func (q *Quant) pack(panels []float32, codes []byte, at, ld, rows, n int, along bool, buf *[]float32) bool {
	unit := min(q.Block, (at|ld|n)&-(at|ld|n))
	if unit < 32 || !asm.HasPackNF4() {
		return false
	}
	lds, scales := ld/q.Block, q.absmax
	if scales != nil && unit == q.Block {
		scales = scales[at/q.Block:]
	} else {
		lds = n / unit
		scales = floats(buf, rows*lds)
		q.scaleRows(scales, at, ld, rows, n, unit)
	}
	if along {
		asm.PackNF4T(panels, codes[at/2:], ld, scales, lds, unit, n, rows, q.book)
	} else {
		asm.PackNF4(panels, codes[at/2:], ld, scales, lds, unit, rows, n, q.book)
	}
	return true
}

// decode writes elements at to at+len(dst) of a tensor on the CPU, whose codes
// these are, to dst; with stream, past the caches.
func (q *Quant) decode(dst []float32, codes []byte, at int, stream bool) {
	if stream {
		defer asm.StreamFence()
	}
	var buf [64]float32
	if at%2 != 0 && len(dst) > 0 {
		dst[0] = q.book.Values[codes[at/2]&15] * q.scales(buf[:], at/q.Block, 1)[0]
		dst, at = dst[1:], at+1
	}
	for len(dst) > 0 {
		// The rest of a block, or several whole ones.
		n, blocks := q.Block-at%q.Block, 1
		if n == q.Block {
			blocks = min(len(buf), ceil(len(dst), q.Block))
			n *= blocks
		}
		n = min(n, len(dst))
		// A call through a variable would move buf to the heap.
		if scales := q.scales(buf[:], at/q.Block, blocks); stream {
			asm.StreamNF4(dst[:n], codes[at/2:], scales, q.Block, q.book)
		} else {
			asm.DecodeNF4(dst[:n], codes[at/2:], scales, q.Block, q.book)
		}
		dst, at = dst[n:], at+n
	}
}

// decode writes elements i to i+len(dst) of a tensor on the CPU, of any stored
// type, to dst; both are whole blocks of GGUF's types. With stream the result is too
// long for the caches.
func (t *Tensor) decode(dst []float32, i int, stream bool) {
	b := t.store.buf.(*cpuBuffer).b
	if q := t.store.quant; q != nil {
		q.decode(dst, b, t.off+i, stream)
		return
	}
	if t.dt == Panels {
		k := t.shape[len(t.shape)-1]
		for len(dst) > 0 {
			n := min(len(dst), k-i%k)
			unpack(dst[:n], t.panels(), k, i/k, 1, i%k, n)
			dst, i = dst[n:], i+n
		}
		return
	}
	t.dt.Decode(dst, b[t.dt.Bytes(t.off+i):])
}

// cloneQuant is Clone for a tensor in NF4 or FP4. Of a view, what is around it is
// copied too: blocks go over the ends of rows.
func (t *Tensor) cloneQuant() *Tensor {
	whole := *t
	whole.off, whole.shape = 0, Shape{t.store.quant.elems}
	q := *t.store.quant
	q.Absmax = q.Absmax.Clone()
	if q.Nested != nil {
		q.Nested = q.Nested.Clone()
	}
	c, err := NewQuant(t.dev, t.dt, whole.shape, whole.Raw(), q)
	if err != nil {
		q.release()
		panic(&DeviceError{t.dev.Name(), err})
	}
	c.off, c.shape = t.off, slices.Clone(t.shape)
	return c
}
