package tensor

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"unsafe"
)

// CPU is the device that every machine has. Its memory is mapped outside Go's
// heap and kept in a pool by size class; its kernels run on a pool of workers.
// It may be used by several goroutines at once.
type CPU struct {
	workers *Workers
	kernels Kernels
	mem     memory
	few     idle[fewCall]

	products idle[fewProducts]
}

// NewCPU returns a CPU device that computes with the given number of threads, or
// with as many as Go may use if threads is 0. Results do not depend on it.
func NewCPU(threads int) *CPU {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	c := &CPU{workers: NewWorkers(threads)}
	c.kernels = c.table()
	return c
}

// Compute is the arithmetic of matrix products.
type Compute uint8

const (
	// ComputeF32 multiplies in F32.
	ComputeF32 Compute = iota

	// ComputeBF16 rounds both operands of a product to BF16, to nearest even, and sums
	// in F32: BF16's 8 bits of precision, twice the speed where the CPU has AVX512_BF16
	// (VDPBF16PS, which takes denormals as zero and rounds after each product) and none
	// elsewhere. So are those within attention of more than 8 queries. Products to which
	// it brings nothing stay F32: with an extent below 16, or of up to 24 rows that do
	// not lie transposed.
	ComputeBF16

	// ComputeInt16 multiplies 4-bit and Q8_0 weights by up to 8 rows in 16-bit integers.
	ComputeInt16
)

var computes = [...]string{ComputeF32: "f32", ComputeBF16: "bf16", ComputeInt16: "int16"}

// String returns the name by which the command line knows it.
func (c Compute) String() string { return computes[c] }

// ParseCompute returns the arithmetic of that name: f32, bf16 or int16.
func ParseCompute(name string) (Compute, bool) {
	i := slices.Index(computes[:], name)
	return Compute(max(i, 0)), i >= 0
}

// SetCompute chooses the arithmetic of matrix products; it is ComputeF32 until then.
// It is called before the device is used.
func (c *CPU) SetCompute(t Compute) { c.workers.compute = t }

// Compute returns the arithmetic of matrix products.
func (c *CPU) Compute() Compute { return c.workers.compute }

// Name returns "cpu".
func (c *CPU) Name() string { return "cpu" }

// Threads returns the number of threads that the device computes with.
func (c *CPU) Threads() int { return c.workers.N() }

// Kernels returns the kernel table.
func (c *CPU) Kernels() *Kernels { return &c.kernels }

// Sync returns at once: kernels have finished when they return.
func (c *CPU) Sync() error { return nil }

// Alloc returns memory from the pool, or from the system if the pool has none.
// Its contents are unspecified.
func (c *CPU) Alloc(dt DType, n int) (Buffer, error) { return c.mem.get(dt.Bytes(n)) }

// Free gives memory back to the pool.
func (c *CPU) Free(b Buffer) {
	if b := b.(*cpuBuffer); b.release != nil {
		b.release()
	} else {
		c.mem.put(b)
	}
}

// Foreign returns a tensor over memory that is not the device's, such as a mapped
// file's. When its last owner lets go, release is called.
func (c *CPU) Foreign(dt DType, b []byte, release func() error, shape ...int) *Tensor {
	if want := dt.Bytes(Shape(shape).Elems()); len(b) != want {
		panic(&ShapeError{Op: fmt.Sprintf("make from %d bytes of %v", len(b), dt), Shapes: []Shape{shape}, Want: fmt.Sprintf("%d bytes", want)})
	}
	buf := &cpuBuffer{b: b, n: len(b), release: func() {
		if err := release(); err != nil {
			panic(&DeviceError{c.Name(), err})
		}
	}}
	return &Tensor{dev: c, store: newStorage(c, buf), dt: dt, shape: slices.Clone(Shape(shape))}
}

// CopyIn copies src to the beginning of dst.
func (c *CPU) CopyIn(dst Buffer, src []byte) error {
	if len(src) > dst.Bytes() {
		return fmt.Errorf("%d bytes do not fit a buffer of %d", len(src), dst.Bytes())
	}
	copy(dst.(*cpuBuffer).b, src) // nothing, if the device is a dry one
	return nil
}

// CopyOut copies the beginning of src to dst.
func (c *CPU) CopyOut(dst []byte, src Buffer) error {
	if len(dst) > src.Bytes() {
		return fmt.Errorf("%d bytes wanted of a buffer of %d", len(dst), src.Bytes())
	}
	copy(dst, src.(*cpuBuffer).b)
	return nil
}

// MemoryStats returns the bytes mapped from the system so far, and how many of
// them are in use now and were at most.
func (c *CPU) MemoryStats() (mapped, inUse, peak int) {
	c.mem.mu.Lock()
	defer c.mem.mu.Unlock()
	return c.mem.mapped, c.mem.inUse, c.mem.peak
}

// Touched returns how many bytes of the mapped memory buffers have reached so far: the
// system keeps that much resident, up to the rest of pages.
func (c *CPU) Touched() int {
	c.mem.mu.Lock()
	defer c.mem.mu.Unlock()
	return c.mem.touched
}

// Close stops the workers and returns the pool's idle memory to the system.
func (c *CPU) Close() error {
	c.workers.Close()
	return c.mem.close()
}

// Trim returns the pool's idle memory to the system.
func (c *CPU) Trim() error { return c.mem.trim() }

type cpuBuffer struct {
	b       []byte // the class's size; the first n bytes are used
	n       int
	class   int
	touched int // bytes that were used at most

	release func() // of memory that is not the pool's; nil: it is
}

func (b *cpuBuffer) Bytes() int { return b.n }

const (
	smallest = 256
	slab     = 16 << 20 // memory mapped at once for buffers smaller than a huge page, which so lie on huge pages too
	hugePage = 2 << 20
)

// memory is a pool of mapped memory. A size class is a power of two or one of
// the three steps to the next one, so at most a fifth of a new buffer is unused, and
// of a large one never touched, so that it costs no page.
type memory struct {
	mu                  sync.Mutex
	free                [4 * 64][]*cpuBuffer // by number of the class
	slabs               [][]byte
	rest                []byte // of the last slab
	mapped, inUse, peak int
	touched             int

	// dry says that large buffers are counted and have no memory.
	dry bool
}

func sizeClass(n int) int {
	if n <= smallest {
		return smallest
	}
	step := 1 << (bits.Len(uint(n-1)) - 3)
	return (n + step - 1) &^ (step - 1)
}

// classNumber counts the classes.
func classNumber(class int) int {
	n := bits.Len(uint(class - 1))
	return 4*n + (class-1)>>(n-3)&3
}

func (m *memory) get(n int) (*cpuBuffer, error) {
	if n < 0 || int64(n) > 1<<46 {
		return nil, fmt.Errorf("cannot allocate %d bytes", n)
	}
	class := sizeClass(n)
	m.mu.Lock()
	defer m.mu.Unlock()
	buf := m.idle(class)
	switch {
	case buf != nil:
	case class < hugePage:
		if len(m.rest) < class {
			b, err := mapMemory(slab)
			if err != nil {
				return nil, fmt.Errorf("cannot allocate %d bytes: %w", slab, err)
			}
			m.mapped += slab
			m.slabs, m.rest = append(m.slabs, b), b
		}
		buf = &cpuBuffer{b: m.rest[:class:class], class: class}
		m.rest = m.rest[class:]
	case m.dry:
		m.mapped += class
		buf = &cpuBuffer{class: class}
	default:
		b, err := mapMemory(class)
		if err != nil {
			return nil, fmt.Errorf("cannot allocate %d bytes: %w", class, err)
		}
		m.mapped += class
		buf = &cpuBuffer{b: b, class: class}
	}
	buf.n = n
	m.touched += max(0, n-buf.touched)
	buf.touched = max(n, buf.touched)
	m.inUse += class
	m.peak = max(m.peak, m.inUse)
	return buf, nil
}

// idle takes a buffer of a class, or of a larger one up to its double, from the pool:
// where sizes vary from step to step, memory is used again instead of added to.
func (m *memory) idle(class int) *cpuBuffer {
	for c := class; c <= 2*class; c = sizeClass(c + 1) {
		list := &m.free[classNumber(c)]
		if n := len(*list); n > 0 {
			b := (*list)[n-1]
			*list = (*list)[:n-1]
			return b
		}
	}
	return nil
}

func (m *memory) put(b *cpuBuffer) {
	m.mu.Lock()
	list := &m.free[classNumber(b.class)]
	*list = append(*list, b)
	m.inUse -= sizeClass(b.n)
	m.mu.Unlock()
}

// close gives all memory back, if nothing is in use: what is stays its owner's.
func (m *memory) close() error {
	err := m.trim()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inUse > 0 {
		return err
	}
	for _, b := range m.slabs {
		err = errors.Join(err, unmapMemory(b))
		m.mapped -= slab
	}
	m.slabs, m.rest = nil, nil
	clear(m.free[:])
	return err
}

// trim unmaps the idle buffers that were mapped on their own.
func (m *memory) trim() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, list := range m.free {
		if len(list) == 0 || list[0].class < hugePage {
			continue
		}
		for _, b := range list {
			if !m.dry {
				if err := unmapMemory(b.b); err != nil {
					return err
				}
			}
			m.mapped -= b.class
			m.touched -= b.touched
		}
		m.free[i] = nil
	}
	return nil
}

// cpuBytes returns the tensor's own bytes if they have a Go address: a large tensor of
// a dry CPU has none.
func (t *Tensor) cpuBytes() ([]byte, bool) {
	b, ok := t.store.buf.(*cpuBuffer)
	if !ok || b.b == nil {
		return nil, false
	}
	lo, hi := t.byteRange()
	return b.b[lo:hi], true
}

// elements returns the elements of a CPU tensor, from its first one to the end
// of its buffer: a strided view may reach beyond its own number of elements.
func elements[T float32 | float64](t *Tensor) []T {
	b := t.store.buf.(*cpuBuffer)
	var v T
	size := int(unsafe.Sizeof(v))
	lo, hi := t.off*size, b.n
	if lo >= hi {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b.b[lo])), (hi-lo)/size)
}

// F32 returns the memory of an F32 tensor on the CPU itself, not a copy. It is
// for kernels and for those who fill a tensor that they have just made.
func (t *Tensor) F32() []float32 {
	if t.dt != F32 {
		Bad("look at the memory of a "+t.dt.String()+" tensor", "F32", t)
	}
	return elements[float32](t)[:t.Elems():t.Elems()]
}

// F64 is F32 for F64 tensors.
func (t *Tensor) F64() []float64 {
	if t.dt != F64 {
		Bad("look at the memory of a "+t.dt.String()+" tensor", "F64", t)
	}
	return elements[float64](t)[:t.Elems():t.Elems()]
}

// Bytes returns the memory of a tensor on the CPU itself, not a copy.
func (t *Tensor) Bytes() []byte {
	b, ok := t.cpuBytes()
	if !ok {
		Bad("look at the memory of a tensor on "+t.dev.Name(), "a tensor on the CPU", t)
	}
	return b
}

// MakeStored returns a tensor of type dt whose bytes fill has filled, owned by the
// caller: little-endian elements, or blocks. On the CPU it is filled in place.
func MakeStored(dev Device, dt DType, shape Shape, fill func(dst []byte) error) (*Tensor, error) {
	var t *Tensor
	err := Try(func() error {
		t = New(dev, dt, shape...)
		if b, ok := t.cpuBytes(); ok {
			return fill(b)
		}
		data := make([]byte, dt.Bytes(shape.Elems()))
		if err := fill(data); err != nil {
			return err
		}
		return dev.CopyIn(t.store.buf, data)
	})
	if err != nil && t != nil {
		t.Release()
		t = nil
	}
	return t, err
}

// Make returns an F32 tensor that fill has filled, owned by the caller. On the
// CPU it is filled in place.
func Make(dev Device, shape Shape, fill func(dst []float32) error) (*Tensor, error) {
	var t *Tensor
	err := Try(func() error {
		t = New(dev, F32, shape...)
		return t.Write(fill)
	})
	if err != nil && t != nil {
		t.Release()
		t = nil
	}
	return t, err
}

// Write overwrites an F32 tensor that is no view with what fill sets dst to. On the
// CPU it is filled in place.
func (t *Tensor) Write(fill func(dst []float32) error) error {
	if _, ok := t.cpuBytes(); ok {
		return fill(t.F32())
	}
	data := make([]float32, t.Elems())
	if err := fill(data); err != nil {
		return err
	}
	t.Set(data)
	return nil
}
