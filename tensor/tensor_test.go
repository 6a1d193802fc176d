package tensor

import (
	"errors"
	"math"
	"slices"
	"testing"
)

func TestDTypes(t *testing.T) {
	for d := F32; d < numDTypes; d++ {
		if got, ok := ParseDType(d.String()); d.Quantized() == ok || ok && got != d {
			t.Errorf("%v is parsed as %v, %v", d, got, ok)
		}
		block, bytes := d.Block()
		if block < 1 || bytes < 1 || d.Bytes(6*block) != 6*bytes {
			t.Errorf("%v: blocks of %d elements and %d bytes, 6 of them %d bytes", d, block, bytes, d.Bytes(6*block))
		}
	}
	for _, name := range []string{"", "invalid", "f32", "Q9_9"} {
		if d, ok := ParseDType(name); ok {
			t.Errorf("%q is parsed as %v", name, d)
		}
	}
	if got := DType(200).String(); got != "DType(200)" {
		t.Errorf("an unknown type is called %q", got)
	}
}

// TestDecode decodes single values whose bytes are known.
func TestDecode(t *testing.T) {
	nibbles := make([]byte, 16)
	for i := range nibbles {
		nibbles[i] = byte(i) | byte(15-i)<<4
	}
	for _, c := range []struct {
		dt   DType
		raw  []byte
		want []float32
	}{
		{F32, []byte{0, 0, 0x80, 0xbf}, []float32{-1}},
		{F64, []byte{0, 0, 0, 0, 0, 0, 0xf8, 0x3f}, []float32{1.5}},
		{BF16, []byte{0x80, 0x3f, 0x49, 0xc0}, []float32{1, -3.140625}},
		{F16, []byte{0, 0x3c, 1, 0, 0xff, 0x7b, 0, 0xfc}, []float32{1, 0x1p-24, 65504, float32(math.Inf(-1))}},
		// d = 0.5; the low nibbles come first.
		{Q4_0, append([]byte{0, 0x38}, nibbles...), []float32{-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5,
			3.5, 3, 2.5, 2, 1.5, 1, 0.5, 0, -0.5, -1, -1.5, -2, -2.5, -3, -3.5, -4}},
		// d = 0.5, m = -2.
		{Q4_1, append([]byte{0, 0x38, 0, 0xc0}, nibbles...), []float32{-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5,
			5.5, 5, 4.5, 4, 3.5, 3, 2.5, 2, 1.5, 1, 0.5, 0, -0.5, -1, -1.5, -2}},
		{Q8_0, append([]byte{0, 0x38, 0x7f, 0x80}, make([]byte, 30)...), append([]float32{63.5, -64}, make([]float32, 30)...)},
	} {
		got := make([]float32, len(c.want))
		c.dt.Decode(got, c.raw)
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.dt, got, c.want)
		}
	}
}

func TestViews(t *testing.T) {
	cpu := NewCPU(1)
	defer cpu.Close()
	x := FromF32(cpu, []float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 3, 2, 2)
	defer x.Release()
	for _, c := range []struct {
		name  string
		got   *Tensor
		shape Shape
		want  []float32
	}{
		{"slice", x.Slice(1, 3), Shape{2, 2, 2}, []float32{4, 5, 6, 7, 8, 9, 10, 11}},
		{"slice of a slice", x.Slice(1, 3).Slice(1, 2), Shape{1, 2, 2}, []float32{8, 9, 10, 11}},
		{"nothing", x.Slice(3, 3), Shape{0, 2, 2}, nil},
		{"reshaped", x.Slice(2, 3).Reshape(4), Shape{4}, []float32{8, 9, 10, 11}},
		{"matrix", x.Slice(2, 3).Rows2D(), Shape{2, 2}, []float32{8, 9, 10, 11}},
	} {
		if !c.got.Shape().Equal(c.shape) || !slices.Equal(c.got.F32(), c.want) || !slices.Equal(c.got.F32s(), c.want) {
			t.Errorf("%s: %v %v, want %v %v", c.name, c.got.Shape(), c.got.F32s(), c.shape, c.want)
		}
	}
	if x.Dim(-1) != 2 || x.Dim(0) != 3 || x.Rows() != 6 || x.Elems() != 12 {
		t.Errorf("%v: dimensions %d, %d, %d rows, %d elements", x.Shape(), x.Dim(-1), x.Dim(0), x.Rows(), x.Elems())
	}
	scalar := FromF32(cpu, []float32{7})
	defer scalar.Release()
	if scalar.Elems() != 1 || scalar.Rows() != 1 || scalar.Item() != 7 {
		t.Errorf("a scalar has %d elements, %d rows, value %g", scalar.Elems(), scalar.Rows(), scalar.Item())
	}
	meta := Meta(BF16, 4, 5)
	if !meta.IsMeta() || meta.Elems() != 20 || meta.Device() != nil || x.IsMeta() {
		t.Error("a shape without contents is not recognised")
	}
	y := x.Slice(1, 2).Clone()
	defer y.Release()
	y.Fill(-1)
	if x.F32()[4] != 4 {
		t.Error("a clone shares memory")
	}
}

// TestSumTo undoes broadcasting.
func TestSumTo(t *testing.T) {
	cpu := NewCPU(1)
	defer cpu.Close()
	arena := NewArena(cpu)
	defer arena.Close()
	x := arena.FromF32([]float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 2, 3, 2)
	for _, c := range []struct {
		to   Shape
		want []float32
	}{
		{Shape{2, 3, 2}, x.F32s()},
		{Shape{2}, []float32{30, 36}},
		{Shape{3, 2}, []float32{6, 8, 10, 12, 14, 16}},
		{Shape{3, 1}, []float32{14, 22, 30}},
		{Shape{2, 1, 2}, []float32{6, 9, 24, 27}},
		{Shape{1}, []float32{66}},
		{Shape{}, []float32{66}},
		{Shape{1, 3, 1}, []float32{14, 22, 30}},
	} {
		got := x.SumTo(c.to)
		if !got.Shape().Equal(c.to) || !slices.Equal(got.F32s(), c.want) {
			t.Errorf("sum to %v: %v %v, want %v", c.to, got.Shape(), got.F32s(), c.want)
		}
	}
}

// TestMistakes panic with a ShapeError and leave memory as it was.
func TestMistakes(t *testing.T) {
	cpu, other := NewCPU(1), NewCPU(1)
	defer cpu.Close()
	defer other.Close()
	arena := NewArena(cpu)
	defer arena.Close()
	v := func(shape ...int) *Tensor { return arena.New(F32, shape...).Fill(1) }
	far := FromF32(other, []float32{1, 2}, 2)
	defer far.Release()
	half := FromBytes(cpu, BF16, make([]byte, 4), 2)
	defer half.Release()
	for name, f := range map[string]func(){
		"too few elements":      func() { FromF32(cpu, []float32{1}, 2) },
		"too many bytes":        func() { FromBytes(cpu, BF16, make([]byte, 5), 2) },
		"two devices":           func() { v(2).Add(far) },
		"slice":                 func() { v(2).Slice(1, 3) },
		"slice backwards":       func() { v(2).Slice(2, 1) },
		"slice of a scalar":     func() { v().Slice(0, 1) },
		"reshape":               func() { v(2).Reshape(3) },
		"item":                  func() { v(2).Item() },
		"copy to":               func() { v(2).CopyTo(make([]float32, 3)) },
		"copy from":             func() { v(2).CopyFrom(v(1, 2)) },
		"set":                   func() { v(2).Set(make([]float32, 3)) },
		"set a view":            func() { v(2).Slice(1, 2).Set(make([]float32, 1)) },
		"set of another type":   func() { half.Set(make([]float32, 2)) },
		"memory of a type":      func() { half.F32() },
		"F64 memory of F32":     func() { v(2).F64() },
		"arithmetic in BF16":    func() { half.Add(half) },
		"function in BF16":      func() { half.Unary(OpExp) },
		"to BF16":               func() { v(2).To(BF16) },
		"two types":             func() { v(2).Mul(v(2).To(F64)) },
		"in place, two types":   func() { v(2).AddInPlace(v(2).To(F64)) },
		"in place, larger":      func() { v(2).AddInPlace(v(2, 2)) },
		"reduce a scalar":       func() { v().Sum() },
		"reduce nothing":        func() { v(2, 0).Reduce(OpMax) },
		"gather a vector":       func() { v(2).Gather(arena, nil) },
		"gather beyond":         func() { v(2, 2).Gather(arena, []int32{2}) },
		"scatter beyond":        func() { v(2, 2).ScatterAdd(v(1, 2), []int32{2}) },
		"scatter negative":      func() { v(2, 2).ScatterAdd(v(1, 2), []int32{-1}) },
		"scatter, rows":         func() { v(2, 2).ScatterAdd(v(1, 3), []int32{0}) },
		"scatter, ids":          func() { v(2, 2).ScatterAdd(v(1, 2), []int32{0, 1}) },
		"scatter, types":        func() { v(2, 2).ScatterAdd(v(1, 2).To(F64), []int32{0}) },
		"add matmul":            func() { v(2, 2).AddMatMul(v(2, 3), v(3, 3), false, false, 1) },
		"broadcast":             func() { v(2).BroadcastTo(Shape{3}) },
		"broadcast to fewer":    func() { v(1, 2).BroadcastTo(Shape{2}) },
		"concat of two types":   func() { Concat(0, v(2), v(2).To(F64)) },
		"concat of two lengths": func() { Concat(0, v(2), v(2, 1)) },
	} {
		var shape *ShapeError
		if err := Try(func() error { f(); return nil }); !errors.As(err, &shape) {
			t.Errorf("%s: %v, want a ShapeError", name, err)
		}
	}
}

// TestScale: what scaling makes besides its result is released, with an arena or
// without.
func TestScale(t *testing.T) {
	cpu := NewCPU(1)
	defer cpu.Close()
	x := FromF32(cpu, []float32{1, -2, 3}, 3)
	z := x.Scale(2)
	x.ScaleInPlace(-0.5)
	if got := append(z.F32s(), x.F32s()...); !slices.Equal(got, []float32{2, -4, 6, -0.5, 1, -1.5}) {
		t.Errorf("got %v", got)
	}
	x.Release()
	z.Release()
	if _, used, _ := cpu.MemoryStats(); used != 0 {
		t.Errorf("%d bytes still in use", used)
	}
}
