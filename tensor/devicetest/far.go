package devicetest

import (
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/tenon-ml/tenon/tensor"
)

// Far is a device as a graphics card is one: its buffers are handles without a
// Go address, and it has the mandatory kernels alone, in plain Go. What runs on
// it keeps the door to other devices open. It is for tests.
type Far struct {
	kernels tensor.Kernels
	mu      sync.Mutex
	memory  map[handle][]uint64 // words, so that any element type is aligned
	last    handle
}

// handle names a buffer; the memory is known to the device alone.
type handle struct{ id, bytes int }

func (h handle) Bytes() int { return h.bytes }

// NewFar returns an empty far device.
func NewFar() *Far {
	f := &Far{memory: map[handle][]uint64{}}
	f.kernels = tensor.Kernels{
		Fill: f.fill, Unary: f.unary, Binary: f.binary, Reduce: f.reduce, Copy: f.copy,
		Gather: f.gather, ScatterAdd: f.scatterAdd, MatMul: f.matMul,
	}
	return f
}

// Name returns "far".
func (f *Far) Name() string { return "far" }

// Alloc makes a buffer. Its contents are NaN, so that a result that leans on
// them shows.
func (f *Far) Alloc(dt tensor.DType, n int) (tensor.Buffer, error) {
	if n < 0 {
		return nil, fmt.Errorf("cannot allocate %d elements", n)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = handle{f.last.id + 1, dt.Bytes(n)}
	words := make([]uint64, (f.last.bytes+7)/8)
	for i := range words {
		words[i] = math.MaxUint64
	}
	f.memory[f.last] = words
	return f.last, nil
}

// Free forgets a buffer. Freeing what is no buffer panics.
func (f *Far) Free(b tensor.Buffer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.memory[b.(handle)]; !ok {
		panic(fmt.Sprintf("far: freed buffer %v, which does not exist", b))
	}
	delete(f.memory, b.(handle))
}

// Live returns the number of buffers that exist.
func (f *Far) Live() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.memory)
}

// CopyIn copies src to the beginning of dst.
func (f *Far) CopyIn(dst tensor.Buffer, src []byte) error {
	if len(src) > dst.Bytes() {
		return fmt.Errorf("%d bytes do not fit a buffer of %d", len(src), dst.Bytes())
	}
	copy(f.bytes(dst), src)
	return nil
}

// CopyOut copies the beginning of src to dst.
func (f *Far) CopyOut(dst []byte, src tensor.Buffer) error {
	if len(dst) > src.Bytes() {
		return fmt.Errorf("%d bytes wanted of a buffer of %d", len(dst), src.Bytes())
	}
	copy(dst, f.bytes(src))
	return nil
}

// Sync returns at once.
func (f *Far) Sync() error { return nil }

// Kernels returns the mandatory kernels.
func (f *Far) Kernels() *tensor.Kernels { return &f.kernels }

func (f *Far) bytes(b tensor.Buffer) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := b.(handle)
	words, ok := f.memory[h]
	if !ok {
		panic(fmt.Sprintf("far: buffer %v was freed", h))
	}
	if h.bytes == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), h.bytes)
}

// raw returns the bytes of a tensor from its first element to its buffer's end.
func (f *Far) raw(t *tensor.Tensor) []byte {
	b, off := t.Buffer()
	return f.bytes(b)[t.DType().Bytes(off):]
}

func elements[T float32 | float64](f *Far, t *tensor.Tensor) []T {
	b := f.raw(t)
	var v T
	size := int(unsafe.Sizeof(v))
	if size != t.DType().Bytes(1) {
		panic(fmt.Sprintf("far: a tensor of %v, want elements of %d bytes", t.DType(), size))
	}
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), len(b)/size)
}

// decoded returns n elements of t from its first one; stored types are decoded.
func decoded[T float32 | float64](f *Far, t *tensor.Tensor, n int) []T {
	if t.DType() == tensor.F32 || t.DType() == tensor.F64 {
		return elements[T](f, t)[:n]
	}
	d := make([]float32, n)
	if q := t.Quant(); q != nil {
		f.decodeQuant(d, t, q)
	} else {
		t.DType().Decode(d, f.raw(t))
	}
	out := make([]T, n)
	for i, v := range d {
		out[i] = T(v)
	}
	return out
}

// decodeQuant writes elements of t from its first one, by Quant's definition.
func (f *Far) decodeQuant(dst []float32, t *tensor.Tensor, q *tensor.Quant) {
	b, off := t.Buffer()
	codes, absmax := f.bytes(b), f.raw(q.Absmax)
	for i := range dst {
		at := off + i
		code := codes[at/2] >> 4
		if at%2 == 1 {
			code = codes[at/2] & 15
		}
		var scale float32
		if q.Nested == nil {
			scale = elements[float32](f, q.Absmax)[at/q.Block]
		} else {
			block := at / q.Block
			scale = float32(q.Map[absmax[block]]*elements[float32](f, q.Nested)[block/256]) + q.Offset
		}
		dst[i] = q.Table[code] * scale
	}
}

// by calls the version of a kernel for t's element type.
func by(t *tensor.Tensor, f32, f64 func()) {
	switch t.DType() {
	case tensor.F32:
		f32()
	case tensor.F64:
		f64()
	default:
		panic(fmt.Sprintf("far: cannot compute in %v", t.DType()))
	}
}

func (f *Far) fill(dst *tensor.Tensor, v float64) {
	by(dst, func() { fill[float32](f, dst, v) }, func() { fill[float64](f, dst, v) })
}

func fill[T float32 | float64](f *Far, dst *tensor.Tensor, v float64) {
	d := elements[T](f, dst)
	for i := range dst.Elems() {
		d[i] = T(v)
	}
}

func (f *Far) unary(op tensor.UnaryOp, dst, x *tensor.Tensor) {
	by(dst, func() { unary[float32](f, op, dst, x) }, func() { unary[float64](f, op, dst, x) })
}

func unary[T float32 | float64](f *Far, op tensor.UnaryOp, dst, x *tensor.Tensor) {
	d, s := elements[T](f, dst), elements[T](f, x)
	for i := range dst.Elems() {
		d[i] = T(unaryOf(op, float64(s[i])))
	}
}

// unaryOf is the definition of the element-wise functions of one argument.
func unaryOf(op tensor.UnaryOp, v float64) float64 {
	switch op {
	case tensor.OpNeg:
		return -v
	case tensor.OpExp:
		return math.Exp(v)
	case tensor.OpLog:
		return math.Log(v)
	case tensor.OpSqrt:
		return math.Sqrt(v)
	case tensor.OpRsqrt:
		return 1 / math.Sqrt(v)
	case tensor.OpRecip:
		return 1 / v
	case tensor.OpSigmoid:
		return 1 / (1 + math.Exp(-v))
	case tensor.OpSiLU:
		return v / (1 + math.Exp(-v))
	}
	panic(fmt.Sprintf("devicetest: no function %d", op))
}

func (f *Far) binary(op tensor.BinaryOp, dst, x, y *tensor.Tensor) {
	by(dst, func() { binaryAs[float32](f, op, dst, x, y) }, func() { binaryAs[float64](f, op, dst, x, y) })
}

func binaryAs[T float32 | float64](f *Far, op tensor.BinaryOp, dst, x, y *tensor.Tensor) {
	d, xs, ys := elements[T](f, dst), elements[T](f, x), elements[T](f, y)
	for i := range dst.Elems() {
		a, b := xs[source(dst.Shape(), x.Shape(), i)], ys[source(dst.Shape(), y.Shape(), i)]
		d[i] = T(binaryOf(op, float64(a), float64(b)))
	}
}

// binaryOf is the definition of the element-wise functions of two arguments.
// Rounding their F64 value to F32 gives the F32 operation's own.
func binaryOf(op tensor.BinaryOp, a, b float64) float64 {
	switch op {
	case tensor.OpAdd:
		return a + b
	case tensor.OpSub:
		return a - b
	case tensor.OpMul:
		return a * b
	case tensor.OpDiv:
		return a / b
	}
	panic(fmt.Sprintf("devicetest: no function %d", op))
}

// source returns which element of an array of shape x element i of an array of
// the given shape takes after broadcasting.
func source(shape, x tensor.Shape, i int) int {
	at, stride := 0, 1
	for a := 1; a <= len(x); a++ {
		n := shape[len(shape)-a]
		if x[len(x)-a] != 1 {
			at += i % n * stride
		}
		stride *= x[len(x)-a]
		i /= n
	}
	return at
}

func (f *Far) reduce(op tensor.ReduceOp, dst, x *tensor.Tensor) {
	by(dst, func() { reduce[float32](f, op, dst, x) }, func() { reduce[float64](f, op, dst, x) })
}

func reduce[T float32 | float64](f *Far, op tensor.ReduceOp, dst, x *tensor.Tensor) {
	d, s, n := elements[T](f, dst), elements[T](f, x), x.Dim(-1)
	for r := range dst.Elems() {
		d[r] = T(reduceOf(op, toF64(s[r*n:(r+1)*n])))
	}
}

// reduceOf is the definition of the ways to fold an axis.
func reduceOf(op tensor.ReduceOp, x []float64) float64 {
	var sum float64
	top := math.Inf(-1)
	for _, v := range x {
		sum += v
		top = math.Max(top, v)
	}
	if op == tensor.OpMax {
		return top
	}
	return sum
}

func toF64[T float32 | float64](x []T) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// strided calls f with the two offsets of every element of an array that lies
// strided in two places.
func strided(shape tensor.Shape, as, bs []int, f func(a, b int)) {
	for i := range shape.Elems() {
		a, b := 0, 0
		for j, axis := i, len(shape)-1; axis >= 0; axis-- {
			a, b = a+j%shape[axis]*as[axis], b+j%shape[axis]*bs[axis]
			j /= shape[axis]
		}
		f(a, b)
	}
}

func (f *Far) copy(dst *tensor.Tensor, ds []int, src *tensor.Tensor, ss []int, shape tensor.Shape) {
	switch dt, st := dst.DType(), src.DType(); {
	case dt.Quantized():
		panic("far: cannot copy to " + dt.String())
	case dt == tensor.F32 && st == tensor.F32:
		copyTo[float32, float32](f, dst, ds, src, ss, shape)
	case dt == tensor.F64 && st == tensor.F64:
		copyTo[float64, float64](f, dst, ds, src, ss, shape)
	case dt == tensor.F32 && st == tensor.F64:
		copyTo[float32, float64](f, dst, ds, src, ss, shape)
	case dt == tensor.F64 && st == tensor.F32:
		copyTo[float64, float32](f, dst, ds, src, ss, shape)
	case dt == st: // a stored type as it is, whole
		n := dt.Bytes(dst.Elems())
		copy(f.raw(dst)[:n], f.raw(src)[:n])
	default:
		s := decoded[float32](f, src, src.Elems())
		d := elements[float32](f, dst)
		strided(shape, ds, ss, func(a, b int) { d[a] = s[b] })
	}
}

func copyTo[D, S float32 | float64](f *Far, dst *tensor.Tensor, ds []int, src *tensor.Tensor, ss []int, shape tensor.Shape) {
	d, s := elements[D](f, dst), elements[S](f, src)
	strided(shape, ds, ss, func(a, b int) { d[a] = D(s[b]) })
}

func (f *Far) gather(dst, src *tensor.Tensor, ids []int32) {
	by(dst, func() { gather[float32](f, dst, src, ids) }, func() { gather[float64](f, dst, src, ids) })
}

func gather[T float32 | float64](f *Far, dst, src *tensor.Tensor, ids []int32) {
	n := src.Dim(-1)
	d, s := elements[T](f, dst), decoded[T](f, src, src.Elems())
	for i, id := range ids {
		copy(d[i*n:(i+1)*n], s[int(id)*n:])
	}
}

func (f *Far) scatterAdd(dst, src *tensor.Tensor, ids []int32) {
	by(dst, func() { scatterAdd[float32](f, dst, src, ids) }, func() { scatterAdd[float64](f, dst, src, ids) })
}

func scatterAdd[T float32 | float64](f *Far, dst, src *tensor.Tensor, ids []int32) {
	n := src.Dim(-1)
	d, s := elements[T](f, dst), elements[T](f, src)
	for i, id := range ids {
		for j := range n {
			d[int(id)*n+j] += s[i*n+j]
		}
	}
}

func (f *Far) matMul(dst, x, y *tensor.Tensor, tx, ty bool, alpha float64, accumulate bool) {
	by(dst, func() { matMul[float32](f, dst, x, y, tx, ty, alpha, accumulate) },
		func() { matMul[float64](f, dst, x, y, tx, ty, alpha, accumulate) })
}

func matMul[T float32 | float64](f *Far, dst, x, y *tensor.Tensor, tx, ty bool, alpha float64, accumulate bool) {
	d, xs, ys := elements[T](f, dst), elements[T](f, x), decoded[T](f, y, y.Elems())
	m, n := dst.Dim(-2), dst.Dim(-1)
	if m*n == 0 {
		return
	}
	k := x.Elems() / (dst.Elems() / n) // the leading axes and M are the same
	for i := range dst.Elems() {
		b, r, c := i/(m*n), i/n%m, i%n
		var s float64
		for l := range k {
			xi, yi := b*m*k+r*k+l, b*k*n+l*n+c
			if tx {
				xi = b*m*k + l*m + r
			}
			if ty {
				yi = b*k*n + c*k + l
			}
			s += float64(xs[xi]) * float64(ys[yi])
		}
		s *= alpha
		if accumulate {
			s += float64(d[i])
		}
		d[i] = T(s)
	}
}
