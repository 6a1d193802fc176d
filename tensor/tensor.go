package tensor

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/tenon-ml/tenon/asm"
)

// Tensor is a contiguous n-dimensional array on a device, or a contiguous part
// of one. Operations never change their operands; they make new tensors in the
// operands' Arena.
type Tensor struct {
	dev   Device
	store *storage // nil: shape only
	off   int      // first element within the storage
	dt    DType
	shape Shape
	arena *Arena
}

// New returns a tensor of unspecified contents that belongs to the caller, who
// releases it. Running out of device memory panics (see Try).
func New(dev Device, dt DType, shape ...int) *Tensor { return alloc(dev, dt, shape) }

// Meta returns a tensor that has a type and a shape but no contents.
func Meta(dt DType, shape ...int) *Tensor { return &Tensor{dt: dt, shape: slices.Clone(shape)} }

// FromF32 returns a tensor holding a copy of data, owned by the caller.
func FromF32(dev Device, data []float32, shape ...int) *Tensor {
	return fromBytes(dev, F32, bytesOf(data), shape)
}

// FromF64 returns a tensor holding a copy of data, owned by the caller.
func FromF64(dev Device, data []float64, shape ...int) *Tensor {
	return fromBytes(dev, F64, bytesOf(data), shape)
}

// FromBytes returns a tensor holding a copy of data, little-endian elements (or
// blocks) of type dt, owned by the caller.
func FromBytes(dev Device, dt DType, data []byte, shape ...int) *Tensor {
	return fromBytes(dev, dt, data, shape)
}

func fromBytes(dev Device, dt DType, data []byte, shape Shape) *Tensor {
	if want := dt.Bytes(shape.Elems()); len(data) != want {
		panic(&ShapeError{Op: fmt.Sprintf("make from %d bytes of %v", len(data), dt), Shapes: []Shape{slices.Clone(shape)}, Want: fmt.Sprintf("%d bytes", want)})
	}
	t := alloc(dev, dt, shape)
	if err := dev.CopyIn(t.store.buf, data); err != nil {
		panic(&DeviceError{dev.Name(), err})
	}
	return t
}

// DeviceError is the panic value of a device that failed, such as one out of
// memory.
type DeviceError struct {
	Device string
	Err    error
}

func (e *DeviceError) Error() string { return e.Device + ": " + e.Err.Error() }
func (e *DeviceError) Unwrap() error { return e.Err }

// Try runs f and returns, as an error, a ShapeError or DeviceError that it
// panicked with; other panics pass.
func Try(f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *ShapeError:
			err = p
		case *DeviceError:
			err = p
		default:
			panic(p)
		}
	}()
	return f()
}

func alloc(dev Device, dt DType, shape Shape) *Tensor {
	notQuantised(dt, shape)
	return allocate(dev, dt, shape)
}

func notQuantised(dt DType, shape Shape) {
	if dt.Quantized() {
		Bad("make a tensor of "+dt.String(), "NewQuant or Quantize", Meta(dt, shape...))
	}
}

func allocate(dev Device, dt DType, shape Shape) *Tensor {
	return &Tensor{dev: dev, store: newStorage(dev, buffer(dev, dt, shape)), dt: dt, shape: slices.Clone(shape)}
}

// buffer returns device memory for a tensor.
func buffer(dev Device, dt DType, shape Shape) Buffer {
	if !shape.fits() {
		panic(&DeviceError{dev.Name(), fmt.Errorf("a tensor of shape %v is larger than memory", slices.Clone(shape))})
	}
	buf, err := dev.Alloc(dt, shape.Elems())
	if err != nil {
		panic(&DeviceError{dev.Name(), err})
	}
	return buf
}

// result allocates an operation's result where its operands live.
func result(dt DType, shape Shape, in ...*Tensor) *Tensor {
	var arena *Arena
	dev := in[0].dev
	for _, t := range in {
		if t == nil {
			continue
		}
		if t.dev != dev {
			panic(&ShapeError{Op: "operation across devices", Want: "one device"})
		}
		if arena == nil {
			arena = t.arena
		}
	}
	if arena != nil {
		return arena.New(dt, shape...)
	}
	return alloc(dev, dt, shape)
}

// Result allocates a tensor of unspecified contents for the result of an
// operation on the given operands: on their device, in their arena.
func Result(dt DType, shape Shape, in ...*Tensor) *Tensor { return result(dt, shape, in...) }

// Device returns the device that the tensor lives on, nil for a Meta tensor.
func (t *Tensor) Device() Device { return t.dev }

// Arena returns the arena that the tensor belongs to, nil if it is its maker's.
func (t *Tensor) Arena() *Arena { return t.arena }

// DType returns the element type.
func (t *Tensor) DType() DType { return t.dt }

// Shape returns the extents; the caller does not change them.
func (t *Tensor) Shape() Shape { return t.shape }

// Dim returns the extent of axis i; negative i counts from the last axis.
func (t *Tensor) Dim(i int) int {
	if i < 0 {
		i += len(t.shape)
	}
	return t.shape[i]
}

// Elems returns the number of elements.
func (t *Tensor) Elems() int { return t.shape.Elems() }

// Rows returns the number of rows: the product of all axes but the last.
func (t *Tensor) Rows() int {
	if len(t.shape) == 0 {
		return 1
	}
	return t.shape[:len(t.shape)-1].Elems()
}

// Buffer returns the device memory, and the place in it, in elements, of the
// tensor's first element. It is meant for kernels.
func (t *Tensor) Buffer() (Buffer, int) { return t.store.buf, t.off }

// IsMeta reports whether the tensor has a shape but no contents.
func (t *Tensor) IsMeta() bool { return t.store == nil }

// Retain makes the caller, who goes on with the tensor that is returned, one more
// owner of the tensor's memory.
func (t *Tensor) Retain() *Tensor {
	t.store.retain()
	if t.arena != nil && t.arena.recycle {
		v := *t
		v.shape = slices.Clone(t.shape)
		return &v
	}
	return t
}

// Release ends one ownership: of New's caller, or one made by Retain.
func (t *Tensor) Release() { t.store.release() }

// Exclusive reports whether the memory has one owner only: it may be changed in place.
func (t *Tensor) Exclusive() bool { return t.store.refs.Load() == 1 }

// Detached returns the tensor without its arena: the caller has retained it, and
// results of operations on it will belong to their callers.
func (t *Tensor) Detached() *Tensor {
	return t.view(nil, t.shape)
}

// In returns a view of the tensor whose operations' results belong to arena a.
func (t *Tensor) In(a *Arena) *Tensor { return t.view(a, t.shape) }

// view returns a view of t in arena a with other extents.
func (t *Tensor) view(a *Arena, shape Shape) *Tensor {
	v := a.object()
	extents := append(v.shape[:0], shape...)
	*v = *t
	v.arena, v.shape = a, extents
	return v
}

// Reshape returns a view with other extents and as many elements.
func (t *Tensor) Reshape(shape ...int) *Tensor {
	if Shape(shape).Elems() != t.Elems() {
		panic(&ShapeError{Op: "reshape", Shapes: []Shape{t.shape, slices.Clone(shape)}, Want: "equal numbers of elements"})
	}
	return t.view(t.arena, shape)
}

// Rows2D returns a view of t as a matrix of Rows() rows.
func (t *Tensor) Rows2D() *Tensor {
	if len(t.shape) == 2 {
		return t
	}
	return t.Reshape(t.Rows(), t.Dim(-1))
}

// Slice returns a view of the entries lo ≤ i < hi of the first axis.
func (t *Tensor) Slice(lo, hi int) *Tensor {
	if len(t.shape) == 0 || lo < 0 || hi < lo || hi > t.shape[0] {
		panic(&ShapeError{Op: fmt.Sprintf("slice %d:%d", lo, hi), Shapes: []Shape{t.shape}, Want: "a range of the first axis"})
	}
	v := t.view(t.arena, t.shape)
	v.shape[0] = hi - lo
	v.off += lo * t.shape[1:].Elems()
	return v
}

// F32s returns a copy of the elements as float32, whatever the stored type.
func (t *Tensor) F32s() []float32 {
	dst := make([]float32, t.Elems())
	t.CopyTo(dst)
	return dst
}

// CopyTo copies the elements to dst as float32.
func (t *Tensor) CopyTo(dst []float32) {
	if len(dst) != t.Elems() {
		Bad("copy out", fmt.Sprintf("%d elements", len(dst)), t)
	}
	raw, here := t.cpuBytes()
	switch {
	case here && t.dt == F32:
		copy(bytesOf(dst), raw)
	case t.dt == F32:
		copy(bytesOf(dst), t.Raw())
	case here:
		t.decode(dst, 0, false)
	case t.Quant() != nil:
		c := alloc(t.dev, F32, t.shape)
		defer c.Release()
		c.CopyFrom(t)
		copy(bytesOf(dst), c.Raw())
	default:
		t.dt.Decode(dst, t.Raw())
	}
}

// Read calls f with the elements of an F32 tensor, which f does not change or keep.
// On the CPU they are not copied.
func (t *Tensor) Read(f func(x []float32)) {
	if _, ok := t.cpuBytes(); ok {
		f(t.F32())
		return
	}
	f(t.F32s())
}

// F64s returns a copy of the elements of an F32 or F64 tensor as float64.
func (t *Tensor) F64s() []float64 {
	dst := make([]float64, t.Elems())
	if t.dt == F64 {
		copy(bytesOf(dst), t.Raw())
		return dst
	}
	for i, v := range t.F32s() {
		dst[i] = float64(v)
	}
	return dst
}

// byteRange returns where the tensor's bytes lie in its buffer. A byte at either
// end of a view in NF4 or FP4 may be shared with what is around it.
func (t *Tensor) byteRange() (lo, hi int) {
	if t.dt.Quantized() {
		return t.off / 2, (t.off + t.Elems() + 1) / 2
	}
	lo = t.dt.Bytes(t.off)
	return lo, lo + t.dt.Bytes(t.Elems())
}

// Raw returns a copy of the stored bytes, of NF4 and FP4 those of the codes.
func (t *Tensor) Raw() []byte {
	if err := t.dev.Sync(); err != nil {
		panic(&DeviceError{t.dev.Name(), err})
	}
	if b, ok := t.cpuBytes(); ok {
		return slices.Clone(b)
	}
	if t.dt.Quantized() {
		all := make([]byte, t.store.buf.Bytes())
		if err := t.dev.CopyOut(all, t.store.buf); err != nil {
			panic(&DeviceError{t.dev.Name(), err})
		}
		lo, hi := t.byteRange()
		return all[lo:hi]
	}
	src := t
	if t.off != 0 || t.store.buf.Bytes() != t.dt.Bytes(t.Elems()) {
		src = t.Clone() // buffers are copied out from their beginning
		defer src.Release()
	}
	out := make([]byte, t.dt.Bytes(t.Elems()))
	if err := t.dev.CopyOut(out, src.store.buf); err != nil {
		panic(&DeviceError{t.dev.Name(), err})
	}
	return out
}

// Item returns the value of a tensor of one element.
func (t *Tensor) Item() float64 {
	if t.Elems() != 1 {
		Bad("item", "one element", t)
	}
	return t.F64s()[0]
}

// Clone returns a copy that belongs to the caller.
func (t *Tensor) Clone() *Tensor {
	if t.Quant() != nil {
		return t.cloneQuant()
	}
	c := alloc(t.dev, t.dt, t.shape)
	st := t.shape.strides()
	t.dev.Kernels().Copy(c, st, t, st, t.shape)
	return c
}

// To returns a copy of t with element type dt (F32 or F64), in t's arena.
func (t *Tensor) To(dt DType) *Tensor {
	z := result(dt, t.shape, t)
	st := t.shape.strides()
	t.dev.Kernels().Copy(z, st, t, st, t.shape)
	return z
}

// Set overwrites an F32 tensor that is no view with data.
func (t *Tensor) Set(data []float32) {
	if t.dt != F32 || t.off != 0 || len(data) != t.Elems() {
		Bad("set", "an F32 tensor of as many elements, not a view", t)
	}
	if err := t.dev.CopyIn(t.store.buf, bytesOf(data)); err != nil {
		panic(&DeviceError{t.dev.Name(), err})
	}
}

// SetRaw overwrites a tensor that is no view with stored bytes.
func (t *Tensor) SetRaw(data []byte) error {
	if want := t.dt.Bytes(t.Elems()); len(data) != want || t.off != 0 {
		return fmt.Errorf("%d bytes, want %d for a tensor that is no view", len(data), want)
	}
	return t.dev.CopyIn(t.store.buf, data)
}

// Finite reports whether no value is NaN or infinite.
func Finite(x []float32) bool {
	if sum := asm.Sum(x); sum-sum == 0 {
		return true // no term was not
	}
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// ArgMax returns the place of the first of the largest elements of x, which is not
// empty and has no NaN.
func ArgMax(x []float32) int { return slices.Index(x, asm.Max(x)) }

func bytesOf[T float32 | float64 | int32](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(s[0])))
}
