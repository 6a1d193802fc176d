package autograd

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/asm"
	"github.com/tenon-ml/tenon/internal/golden"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/tensor/devicetest"
)

// tensor returns the array as a tensor of the tape's arena.
func (a *array) tensor(t *Tape, dt tensor.DType) *tensor.Tensor {
	x := t.arena.New(dt, a.shape...)
	var y *tensor.Tensor
	if dt == tensor.F64 {
		y = tensor.FromF64(t.arena.Device(), a.data, a.shape...)
	} else {
		f := make([]float32, len(a.data))
		for i, v := range a.data {
			f[i] = float32(v)
		}
		y = tensor.FromF32(t.arena.Device(), f, a.shape...)
	}
	defer y.Release()
	x.CopyFrom(y)
	return x
}

// result is what an operation gave.
type result struct {
	shape []int
	z     []float64
	grads [][]float64 // of the operands; nil for absent ones
}

// eval runs a case: z, and the gradients of Σ z·dz with respect to all operands
// (without dz: no gradients). A buffer that is still in use after the end fails
// the test.
func (o *op) eval(t testing.TB, dev tensor.Device, dt tensor.DType, c *opCase, dz func(n int) []float64) result {
	t.Helper()
	before := inUse(dev)
	arena := tensor.NewArena(dev)
	tape := NewTape(arena)
	in := make([]*Value, len(c.in))
	for i, a := range c.in {
		if a != nil {
			in[i] = tape.Leaf(a.tensor(tape, dt))
		}
	}
	z := o.run(tape, in, c)
	r := result{shape: z.Shape(), z: z.T.F64s(), grads: make([][]float64, len(in))}
	if dz != nil {
		d := &array{shape: z.Shape(), data: dz(z.T.Elems())}
		grads := Grads{}
		Backward(z.Mul(tape.Input(d.tensor(tape, dt))).SumAll(), grads)
		for i, v := range in {
			if v != nil {
				if grads[v] == nil {
					t.Fatalf("%s: operand %d got no gradient", o.name, i)
				}
				r.grads[i] = grads[v].F64s()
			}
		}
		grads.Release()
	}
	tape.Close()
	arena.Close()
	if after := inUse(dev); after != before {
		t.Errorf("%s: %d of memory in use before, %d after", o.name, before, after)
	}
	return r
}

// inUse returns the bytes, or buffers, that a device has given out.
func inUse(dev tensor.Device) int {
	switch d := dev.(type) {
	case *tensor.CPU:
		_, n, _ := d.MemoryStats()
		return n
	case *devicetest.Far:
		return d.Live()
	}
	return 0
}

// upstream returns a random dz. Its mean is 1, so that sums of it are not small
// beside their terms, whose rounding would show.
func upstream(n int) []float64 {
	dz := newGen("dz").arr(1, n).data
	for i, v := range dz {
		dz[i] = float64(float32(v + 1))
	}
	return dz
}

// compare compares two results of a case.
func compare(t testing.TB, class golden.Class, what string, c *opCase, got, want result) {
	t.Helper()
	if !slices.Equal(got.shape, want.shape) {
		t.Errorf("%s: shape %v, want %v", what, got.shape, want.shape)
		return
	}
	if err := golden.Compare(class, what+": z", got.shape, got.z, want.z); err != nil {
		t.Error(err)
	}
	for i := range want.grads {
		if want.grads[i] == nil {
			continue
		}
		if err := golden.Compare(class, fmt.Sprintf("%s: gradient %d", what, i), c.in[i].shape, got.grads[i], want.grads[i]); err != nil {
			t.Error(err)
		}
	}
}

func (c *opCase) String() string {
	var s []string
	for _, a := range c.in {
		if a == nil {
			s = append(s, "-")
		} else {
			s = append(s, strings.ReplaceAll(fmt.Sprint(a.shape), " ", "x"))
		}
	}
	return strings.Join(s, "")
}

// notOps are exported functions that return a Value and are no operations.
var notOps = map[string]string{
	"Param":      "makes a parameter",
	"Tape.Input": "brings a tensor into a computation",
	"Tape.Leaf":  "brings a tensor into a computation",
	"Tape.Scope": "is its argument's result; see TestScope",
	"Recompute":  "is its argument's result; see TestRecompute",
}

// TestTableIsComplete parses the package for exported functions that return a
// Value: each needs a row.
func TestTableIsComplete(t *testing.T) {
	rows := map[string]bool{}
	for _, o := range ops {
		if rows[o.name] {
			t.Errorf("%s has two rows", o.name)
		}
		rows[o.name] = true
		if len(o.goldens) == 0 && o.none == "" {
			t.Errorf("%s has no golden, want one or a reason", o.name)
		}
	}
	found := map[string]bool{}
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() || !returnsValue(f) {
				continue
			}
			name := f.Name.Name
			if f.Recv != nil {
				name = typeName(f.Recv.List[0].Type) + "." + name
			}
			found[name] = true
			switch {
			case rows[name] && notOps[name] != "":
				t.Errorf("%s has a row and is listed as no operation", name)
			case !rows[name] && notOps[name] == "":
				t.Errorf("%s: %s has no row in the table of operations, want one", path, name)
			}
		}
	}
	for name := range rows {
		if !found[name] {
			t.Errorf("the table has a row %s, which the package has not", name)
		}
	}
	for name := range notOps {
		if !found[name] {
			t.Errorf("%s is listed as no operation; the package has it not", name)
		}
	}
	if len(found) < 20 {
		t.Errorf("only %d operations found: the parser looks for the wrong thing", len(found))
	}
}

func typeName(e ast.Expr) string {
	if s, ok := e.(*ast.StarExpr); ok {
		e = s.X
	}
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

func returnsValue(f *ast.FuncDecl) bool {
	if f.Type.Results == nil {
		return false
	}
	for _, r := range f.Type.Results.List {
		e := r.Type
		if a, ok := e.(*ast.ArrayType); ok {
			e = a.Elt
		}
		if s, ok := e.(*ast.StarExpr); ok && typeName(s) == "Value" {
			return true
		}
	}
	return false
}

const goldenDir = "../testdata/ops"

// otherGoldens are files of testdata/ops that no operation of this package makes.
var otherGoldens = map[string]string{
	"adamw": "the optimizer's, in package train",
	"clip":  "the optimizer's, in package train",
}

// TestGolden compares every golden's result and gradients, on the CPU in F32,
// with PyTorch's. In F64 the same inputs tell how far PyTorch itself is off.
func TestGolden(t *testing.T) {
	cpu := tensor.NewCPU(2)
	defer cpu.Close()
	unread := map[string]bool{}
	all, err := filepath.Glob(filepath.Join(goldenDir, "*.safetensors"))
	if err != nil || len(all) == 0 {
		t.Fatal("no goldens:", err)
	}
	for _, path := range all {
		unread[path] = otherGoldens[prefix(path)] == ""
	}
	for i := range ops {
		o := &ops[i]
		for _, name := range o.goldens {
			n := 0
			for _, path := range all {
				if prefix(path) != name {
					continue
				}
				n++
				delete(unread, path)
				t.Run(strings.TrimSuffix(filepath.Base(path), ".safetensors"), func(t *testing.T) { o.golden1(t, cpu, path) })
			}
			if n == 0 {
				t.Errorf("%s: no golden %s.*, want some", o.name, name)
			}
		}
	}
	for path, missed := range unread {
		if missed {
			t.Errorf("%s: no row of the table of operations reads it", path)
		}
	}
}

func prefix(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	return name
}

// golden1 checks one golden.
func (o *op) golden1(t *testing.T, cpu tensor.Device, path string) {
	g := golden.Open(t, path)
	c := &opCase{}
	g.Attrs(c)
	names := make([]string, len(o.inputs)) // of the gradients
	for i, name := range o.inputs {
		for _, kind := range []string{"in.", "param."} {
			if g.Has(kind + name) {
				for len(c.in) < i {
					c.in = append(c.in, nil)
				}
				c.in = append(c.in, &array{shape: g.Shape(kind + name), data: g.Floats(kind + name)})
				names[i] = "grad." + name
			}
		}
	}
	for len(c.in) < len(o.inputs) {
		c.in = append(c.in, nil)
	}
	if o.golden != nil {
		o.golden(g, c)
	}
	dz := func(int) []float64 { return g.Floats("in.dz") }
	f32, f64 := o.eval(t, cpu, tensor.F32, c, dz), o.eval(t, cpu, tensor.F64, c, dz)
	masked := func(z []float64) []float64 {
		if c.mask == nil {
			return z
		}
		z = slices.Clone(z)
		for i, keep := range c.mask {
			if !keep {
				z[i] = 0
			}
		}
		return z
	}
	check := func(name string, f32, f64 []float64) {
		g.Check(o.class, name, f32)
		ours, theirs := distance(f32, f64), distance(g.Floats(name), f64)
		t.Logf("%s: off F64 by %.2g, PyTorch by %.2g", name, ours, theirs)
		// Twice the reference's own noise, and that of a single rounding or two; plain
		// Go sums from left to right, in one piece.
		noise := 2e-7
		if asm.Tier() == "generic" {
			noise = 1.5e-6
		}
		if limit := 2*theirs + noise; !(ours <= limit) {
			t.Errorf("%s: %s is off F64 by %.3g of its norm, PyTorch by %.3g", path, name, ours, theirs)
		}
	}
	check("out.z", masked(f32.z), masked(f64.z))
	for i, name := range names {
		if name != "" {
			check(name, f32.grads[i], f64.grads[i])
		}
	}
	if left := g.Unused(); len(left) > 0 {
		t.Errorf("%s: %v not checked", path, left)
	}
}

// distance returns |a - b| / |b|.
func distance(a, b []float64) float64 {
	var d, n float64
	for i := range a {
		d += (a[i] - b[i]) * (a[i] - b[i])
		n += b[i] * b[i]
	}
	if d == 0 {
		return 0
	}
	return math.Sqrt(d / n)
}

// cases calls f with every operation's cases of a size.
func cases(t *testing.T, s size, f func(t *testing.T, o *op, c *opCase)) {
	for i := range ops {
		o := &ops[i]
		t.Run(strings.TrimPrefix(o.name, "Value."), func(t *testing.T) {
			for j, c := range o.make(newGen(o.name), s) {
				t.Run(fmt.Sprint(j, c), func(t *testing.T) { f(t, o, c) })
			}
		})
	}
}

// TestFiniteDifferences compares every gradient in F64 with central differences.
func TestFiniteDifferences(t *testing.T) {
	cpu := tensor.NewCPU(1)
	defer cpu.Close()
	cases(t, small, func(t *testing.T, o *op, c *opCase) {
		r := o.eval(t, cpu, tensor.F64, c, upstream)
		loss := func() float64 {
			var s float64
			z := o.eval(t, cpu, tensor.F64, c, nil).z
			for i, d := range upstream(len(z)) {
				s += z[i] * d
			}
			return s
		}
		for i, a := range c.in {
			if a == nil {
				continue
			}
			want := make([]float64, len(a.data))
			for j, v := range a.data {
				const h = 1e-5
				a.data[j] = v + h
				up := loss()
				a.data[j] = v - h
				down := loss()
				a.data[j] = v
				want[j] = (up - down) / (2 * h)
			}
			// Central differences are exact to h² ≈ 1e-10 and lose 1e-16/h to rounding.
			for j, g := range r.grads[i] {
				if d := math.Abs(g - want[j]); !(d <= 1e-8*(1+math.Abs(want[j]))) {
					t.Errorf("%s: gradient of operand %d, element %d: got %.12g, want %.12g by differences", o.name, i, j, g, want[j])
				}
			}
		}
	})
}

// TestF32 compares F32 on the CPU, where some operations are fused kernels, with
// the composites in F64.
func TestF32(t *testing.T) {
	cpu := tensor.NewCPU(2)
	defer cpu.Close()
	for _, s := range []size{odd, large} {
		cases(t, s, func(t *testing.T, o *op, c *opCase) {
			compare(t, o.class, o.name, c, o.eval(t, cpu, tensor.F32, c, upstream), o.eval(t, cpu, tensor.F64, c, upstream))
		})
	}
}

// TestPlainGo runs the comparisons again without assembly, in a process of its own
// since the tier is chosen when a process starts.
func TestPlainGo(t *testing.T) {
	if asm.Tier() == "generic" {
		t.Skip("the other tests ran plain Go already: this build, this machine or TENON_TIER has no other tier")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^(TestGolden|TestF32|TestNaN)$")
	cmd.Env = append(os.Environ(), "TENON_TIER=generic")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("TENON_TIER=generic: %v\n%s", err, out)
	}
}

// TestThreads asks for equal bits from any number of threads.
func TestThreads(t *testing.T) {
	var cpus []*tensor.CPU
	for _, n := range []int{1, 2, 3, 7} {
		cpus = append(cpus, tensor.NewCPU(n))
		defer cpus[len(cpus)-1].Close()
	}
	cases(t, large, func(t *testing.T, o *op, c *opCase) {
		for dt, with := range map[tensor.DType][]*tensor.CPU{tensor.F32: cpus[1:], tensor.F64: cpus[2:3]} {
			want := o.eval(t, cpus[0], dt, c, upstream)
			for _, cpu := range with {
				compare(t, golden.Exact, fmt.Sprintf("%s in %v with %d threads", o.name, dt, cpu.Threads()), c, o.eval(t, cpu, dt, c, upstream), want)
			}
		}
	})
}

// TestFar runs everything on a device without Go addresses and optional kernels.
func TestFar(t *testing.T) {
	cpu, far := tensor.NewCPU(1), devicetest.NewFar()
	defer cpu.Close()
	for _, s := range []size{small, odd} {
		cases(t, s, func(t *testing.T, o *op, c *opCase) {
			compare(t, o.class, o.name+" far off", c, o.eval(t, far, tensor.F32, c, upstream), o.eval(t, cpu, tensor.F64, c, upstream))
			class := golden.Double
			if o.class == golden.Exact {
				class = golden.Exact
			}
			compare(t, class, o.name+" far off in F64", c, o.eval(t, far, tensor.F64, c, upstream), o.eval(t, cpu, tensor.F64, c, upstream))
		})
	}
}

// BenchmarkOps measures each operation on its large cases: forward, and forward
// with all gradients.
func BenchmarkOps(b *testing.B) {
	cpu := tensor.NewCPU(0)
	defer cpu.Close()
	for i := range ops {
		o := &ops[i]
		name := strings.ToLower(o.name[strings.LastIndexByte(o.name, '.')+1:])
		for _, c := range o.make(newGen(o.name), large) {
			for _, train := range []bool{false, true} {
				mode := "forward"
				if train {
					mode = "gradient"
				}
				b.Run(fmt.Sprintf("%s/%v/%s", name, c, mode), func(b *testing.B) {
					outer := tensor.NewArena(cpu)
					defer outer.Close()
					inputs := make([]*tensor.Tensor, len(c.in))
					for i, a := range c.in {
						if a != nil {
							inputs[i] = a.tensor(NewTape(outer), tensor.F32)
						}
					}
					b.ReportAllocs()
					for b.Loop() {
						arena := tensor.NewArena(cpu)
						tape := NewTape(arena)
						in := make([]*Value, len(inputs))
						for i, x := range inputs {
							if x != nil {
								in[i] = &Value{T: x.In(arena), tape: tape, Trainable: train}
							}
						}
						z := o.run(tape, in, c)
						if train {
							grads := Grads{}
							Backward(z.SumAll(), grads)
							grads.Release()
						}
						arena.Close()
					}
				})
			}
		}
	}
}
