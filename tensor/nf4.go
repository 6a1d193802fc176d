package tensor

import (
	"fmt"
	"math"
	"slices"
)

// NF4Values are the values of NF4's codes: quantiles of the normal distribution,
// scaled to ±1, with an exact zero (Dettmers et al., QLoRA, 2023).
var NF4Values = [16]float32{
	-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
	-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
	0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
}

// FP4Values are the values of FP4's codes, a sign, two bits of exponent and one of
// mantissa, as bitsandbytes scales them. They are not in rising order, and two are 0.
var FP4Values = [16]float32{
	0, 0.0625 / 12., 8 / 12., 1, 4 / 12., 6 / 12., 2 / 12., 3 / 12.,
	0, -0.0625 / 12., -8 / 12., -1, -4 / 12., -6 / 12., -2 / 12., -3 / 12.,
}

// An encoder turns scaled values into 4-bit codes: the nearest value's, the lower
// one's on a tie.
type encoder struct {
	// order are the codes by rising value, and bounds the midpoints between one and
	// the next: the code of v is order[number of bounds below v].
	order  [16]byte
	bounds [16]float32 // the last is +Inf
	// first holds, for each cell of width 1/encodeCells of [-1, 1], the number of
	// bounds below its beginning. No cell has two bounds within, but FP4's equal ones.
	first  [2*encodeCells + 1]byte
	values *[16]float32
}

var (
	nf4Encoder = newEncoder(&NF4Values, [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	// FP4's zeros are codes 0 and 8; what is above 0 gets the 8, as from bitsandbytes
	// on the CPU.
	fp4Encoder = newEncoder(&FP4Values, [16]byte{11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3})
)

// encodeCells is the number of cells that [0, 1] is cut into.
const encodeCells = 128

func newEncoder(values *[16]float32, order [16]byte) *encoder {
	e := &encoder{order: order, values: values}
	for i := range 15 {
		e.bounds[i] = (values[order[i]] + values[order[i+1]]) / 2
	}
	e.bounds[15] = float32(math.Inf(1))
	for cell := range e.first {
		from := float64(cell-encodeCells)/encodeCells - 1e-6 // v+1 is rounded
		for float64(e.bounds[e.first[cell]]) < from {
			e.first[cell]++
		}
	}
	return e
}

// code returns the code of v, -1 ≤ v ≤ 1 but for rounding.
func (e *encoder) code(v float32) byte {
	n := e.first[int((v+1)*encodeCells)]
	if e.bounds[n] < v {
		n++
	}
	if e.bounds[n] < v {
		n++
	}
	return e.order[n]
}

// tiny is what bitsandbytes raises a block's absmax to where it divides by it.
const tiny = 1e-38

// block encodes the elements of a whole block, which are multiplied by the
// reciprocal of the scale.
func (e *encoder) block(dst []byte, x []float32, absmax float32) {
	inv := 1 / max(absmax, tiny)
	for i := range dst {
		hi, lo := min(max(x[2*i]*inv, -1), 1), min(max(x[2*i+1]*inv, -1), 1)
		dst[i] = e.code(hi)<<4 | e.code(lo)
	}
}

// partial encodes the elements of a last block that is not whole: they are divided
// by the scale. An odd one's other nibble is the code of 0.
func (e *encoder) partial(dst []byte, x []float32, absmax float32) {
	for i := range dst {
		hi, lo := x[2*i]/absmax, float32(0)
		if 2*i+1 < len(x) {
			lo = x[2*i+1] / absmax
		}
		dst[i] = e.code(min(max(hi, -1), 1))<<4 | e.code(min(max(lo, -1), 1))
	}
}

// encode encodes a block, two elements a byte, and returns its scale, which is not
// finite where an element is not. A whole block of zeros has scale 0, a partial one
// 1e-38, as from bitsandbytes on the CPU.
func (e *encoder) encode(dst []byte, x []float32, block int, search bool) float32 {
	absmax := absMax(x)
	if absmax-absmax != 0 {
		return absmax
	}
	put := e.block
	if len(x) < block {
		put = e.partial
		absmax = max(absmax, tiny)
	}
	if search && absmax > tiny {
		absmax = e.search(dst, x, absmax, put)
	}
	put(dst, x, absmax)
	return absmax
}

// absMax returns the largest magnitude; it is NaN or Inf if an element is.
func absMax(x []float32) float32 {
	var top uint32
	for _, v := range x {
		top = max(top, math.Float32bits(v)&^(1<<31))
	}
	return math.Float32frombits(top)
}

// searchSteps is the number of scales that search tries, from absmax down in
// steps of a fortieth of it.
const searchSteps = 12

// search returns a scale for the block that has a small squared error: for each of a few
// scales it encodes the block, takes the scale that is best for these codes, and keeps the
// best of all.
func (e *encoder) search(dst []byte, x []float32, absmax float32, put func([]byte, []float32, float32)) float32 {
	best, least := absmax, math.Inf(1)
	try := func(scale float32) (next float32) {
		put(dst, x, scale)
		var xx, xt, tt float64
		for i, v := range x {
			code := dst[i/2] & 15
			if i%2 == 0 {
				code = dst[i/2] >> 4
			}
			t := float64(e.values[code])
			xx, xt, tt = xx+float64(v)*float64(v), xt+float64(v)*t, tt+t*t
		}
		s := float64(scale)
		if err := xx - 2*s*xt + s*s*tt; err < least {
			best, least = scale, err
		}
		return float32(xt / tt)
	}
	for i := range searchSteps {
		if next := try(absmax * (1 - float32(i)/40)); next > tiny {
			try(next)
		}
	}
	return best
}

// dynamicMap are the values of the 8-bit codes of double quantisation.
var dynamicMap = newDynamicMap(true, linspace)

// newDynamicMap returns the values of 8-bit codes: of each power of ten 10^(i-6), i from
// 0 to 6, the 2^i midpoints of 2^i+1 numbers evenly spaced from 0.1 to 1, with both
// signs, or 2^(i+1) without; 0 and 1 (Dettmers, 8-bit Approximations for Parallelism in
// Deep Learning, 2015). space returns number j of the n+1.
func newDynamicMap(signed bool, space func(j, n int) float32) *[256]float32 {
	var values []float32
	for i := range 7 {
		n := 1 << i
		if !signed {
			n *= 2
		}
		for j := range n {
			v := float32(math.Pow(10, float64(i-6))) * ((space(j, n) + space(j+1, n)) / 2)
			values = append(values, v)
			if signed {
				values = append(values, -v)
			}
		}
	}
	values = append(values, 0, 1)
	slices.Sort(values)
	return (*[256]float32)(values)
}

// linspace returns number j of n+1 evenly spaced from 0.1 to 1, as PyTorch's linspace,
// which rounds once, from the nearer end.
func linspace(j, n int) float32 {
	step := float64((1 - float32(0.1)) / float32(n))
	if j < (n+1)/2 {
		return float32(float64(float32(0.1)) + step*float64(j))
	}
	return float32(1 - step*float64(n-j))
}

// nearest returns the code of the value nearest to v·scale, the lower one on a tie.
func nearest(values *[256]float32, v, scale float32) byte {
	lo, hi := 0, 255
	for lo < hi {
		mid := (lo + hi) / 2
		if (float64(values[mid])+float64(values[mid+1]))/2*float64(scale) < float64(v) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return byte(lo)
}

// checkBlock reports a block length that bitsandbytes does not know.
func checkBlock(block int) error {
	if block < 32 || block > 4096 || block&(block-1) != 0 {
		return fmt.Errorf("blocks of %d elements, want a power of two from 32 to 4096", block)
	}
	return nil
}

// Quantize returns x encoded as o.DType, owned by the caller. NaN and Inf are errors.
//
// In NF4 and FP4 it has the codes and scales that bitsandbytes' quantize_4bit gives on
// the CPU. With double quantisation the 8-bit codes of the scales are the nearest ones,
// and the offset is the mean of the scales, rounded once, which bitsandbytes' are not
// always. With SearchAbsmax scales are chosen for a small squared error.
//
// In Q8_0 it has the blocks that ggml's reference gives; rows are whole blocks of 32.
func Quantize(dev Device, x []float32, shape Shape, o QuantOptions) (*Tensor, error) {
	if len(x) != shape.Elems() {
		Bad("quantise", fmt.Sprintf("%d elements", len(x)), Meta(F32, shape...))
	}
	switch o.DType {
	case NF4:
		return quantize4(dev, x, shape, o, nf4Encoder)
	case FP4:
		return quantize4(dev, x, shape, o, fp4Encoder)
	case Q8_0:
		return quantizeQ8_0(dev, x, shape)
	}
	return nil, fmt.Errorf("cannot quantise to %s, want NF4, FP4 or Q8_0", o.DType)
}

// notFinite is the error of a range of elements one of which is NaN or Inf.
func notFinite(lo, hi int) error {
	return fmt.Errorf("an element among %d to %d is NaN or Inf", lo, hi-1)
}

// pieces runs f over 0 ≤ i < n, on the workers of a CPU.
func pieces(dev Device, n, size int, f func(lo, hi int)) {
	if c, ok := dev.(*CPU); ok {
		c.ranges(n, max(1, size), f)
	} else {
		f(0, n)
	}
}

func quantize4(dev Device, x []float32, shape Shape, o QuantOptions, e *encoder) (*Tensor, error) {
	if err := checkBlock(o.Block); err != nil {
		return nil, err
	}
	blocks := ceil(len(x), o.Block)
	codes, absmax := make([]byte, ceil(len(x), 2)), make([]float32, blocks)
	pieces(dev, blocks, chunk/o.Block, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			from, to := b*o.Block, min((b+1)*o.Block, len(x))
			absmax[b] = e.encode(codes[from/2:(to+1)/2], x[from:to], o.Block, o.SearchAbsmax)
		}
	})
	for b, v := range absmax {
		if v-v != 0 {
			return nil, notFinite(b*o.Block, min((b+1)*o.Block, len(x)))
		}
	}
	q := Quant{Block: o.Block, Table: *e.values}
	err := Try(func() (err error) {
		if !o.Double {
			q.Absmax = FromF32(dev, absmax, blocks)
			return nil
		}
		var sum float64
		for _, v := range absmax {
			sum += float64(v)
		}
		if blocks > 0 {
			q.Offset = float32(sum / float64(blocks))
		}
		q.Map = dynamicMap
		codes, scales := make([]byte, blocks), make([]float32, ceil(blocks, nestedBlock))
		for i := range scales {
			group := absmax[i*nestedBlock : min((i+1)*nestedBlock, blocks)]
			for j := range group {
				group[j] -= q.Offset
			}
			scales[i] = absMax(group)
			for j, v := range group {
				if scales[i] > 0 {
					codes[i*nestedBlock+j] = nearest(q.Map, v, scales[i])
				}
			}
		}
		q.Absmax = FromBytes(dev, U8, codes, blocks)
		q.Nested = FromF32(dev, scales, len(scales))
		return nil
	})
	var t *Tensor
	if err == nil {
		t, err = NewQuant(dev, o.DType, shape, codes, q)
	}
	if err != nil {
		q.release()
	}
	return t, err
}
