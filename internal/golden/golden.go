// Package golden reads the goldens of testdata, small safetensors files that the
// reference system made, and compares results with them element by element.
package golden

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/tensor"
)

// File is one golden. It remembers which of its tensors were read, so that a
// test can tell what it left unchecked.
type File struct {
	t    testing.TB
	file *safetensors.File
	used map[string]bool
}

// Open opens the golden at path and closes it at the end of the test.
func Open(t testing.TB, path string) *File {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &File{t, f, map[string]bool{}}
}

// Attrs decodes the JSON of the metadata key "attrs" into v.
func (f *File) Attrs(v any) {
	f.t.Helper()
	if err := json.Unmarshal([]byte(f.file.Metadata()["attrs"]), v); err != nil {
		f.t.Fatalf("%s: metadata key %q: %v", f.file.Path(), "attrs", err)
	}
}

// Has reports whether the golden has a tensor of that name.
func (f *File) Has(name string) bool {
	_, ok := f.file.Info(name)
	return ok
}

// Names returns the names of all tensors with the given prefix, sorted.
func (f *File) Names(prefix string) []string {
	return slices.DeleteFunc(slices.Clone(f.file.Names()), func(n string) bool { return !strings.HasPrefix(n, prefix) })
}

// Shape returns the extents of a tensor.
func (f *File) Shape(name string) []int {
	f.t.Helper()
	info, ok := f.file.Info(name)
	if !ok {
		f.t.Fatalf("%s: no tensor %q, want one", f.file.Path(), name)
	}
	return slices.Clone(info.Shape)
}

// Floats returns the elements of a tensor that holds floating-point numbers.
func (f *File) Floats(name string) []float64 {
	f.t.Helper()
	n := tensor.Shape(f.Shape(name)).Elems()
	f.used[name] = true
	out := make([]float64, n)
	if info, _ := f.file.Info(name); info.DType == tensor.F64 {
		for i, b := 0, f.file.Bytes(name); i < n; i++ {
			out[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		}
		return out
	}
	x := make([]float32, n)
	if err := f.file.Decode(x, name); err != nil {
		f.t.Fatal(err)
	}
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// Ints returns the elements of an I32 tensor.
func (f *File) Ints(name string) []int32 {
	f.t.Helper()
	n := tensor.Shape(f.Shape(name)).Elems()
	if info, _ := f.file.Info(name); info.DType != tensor.I32 {
		f.t.Fatalf("%s: tensor %q: %v, want I32", f.file.Path(), name, info.DType)
	}
	f.used[name] = true
	out := make([]int32, n)
	for i, b := 0, f.file.Bytes(name); i < n; i++ {
		out[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

// Unused returns the names of the tensors that were never read.
func (f *File) Unused() []string {
	return slices.DeleteFunc(slices.Clone(f.file.Names()), func(n string) bool { return f.used[n] })
}

// Check compares a result with the golden's tensor of that name, and fails the
// test if they differ by more than the class allows.
func (f *File) Check(class Class, name string, got []float64) {
	f.t.Helper()
	want := f.Floats(name)
	if err := Compare(class, name, f.Shape(name), got, want); err != nil {
		f.t.Errorf("%s: %v", f.file.Path(), err)
	}
}

// Class says how a result is computed, and so how far it may lie from the
// reference's.
type Class int

// The classes of tolerance.
const (
	Exact    Class = iota // bits are equal: copies, views
	Rounded               // one operation of IEEE 754 an element
	Function              // exp, log and what is made of them, element by element
	Sums                  // sums of products, some hundred terms
	Normed                // a row divided by a norm or a sum of the row
	Scores                // softmax of sums: attention, cross-entropy
	Double                // any of them in F64, against another order of the same
	numClass              // number of classes
)

// tolerance is |got - want| ≤ rel·|want| + max·(the largest |want| of the tensor).
// The second term is for sums in which terms cancel: their error is that of the
// terms.
//
// F32 has 2⁻²⁴ = 6e-8 of relative rounding error an operation. The bounds are
// about four times the largest distance seen between the reference's own F32 and
// F64 runs of the goldens.
type tolerance struct{ rel, max float64 }

// tolerances is the one table of tolerances.
var tolerances = [numClass]tolerance{
	Exact:    {0, 0},
	Rounded:  {2.5e-7, 1e-7},
	Function: {1e-6, 2e-7},
	Sums:     {1e-6, 1e-6},
	Normed:   {2e-6, 1e-6},
	Scores:   {4e-6, 2e-6},
	Double:   {1e-12, 1e-12},
}

// Compare compares the elements of got and want. The error names the first
// element that is too far off and the one that is farthest, and says how many
// are. NaN equals NaN, and an infinity itself.
func Compare(class Class, name string, shape []int, got, want []float64) error {
	return CompareSums(class, name, shape, got, want, nil)
}

// CompareSums is Compare for sums whose terms may cancel out: size[i] is the sum of
// the magnitudes of element i's terms, which its rounding errors go by, in the place
// of the largest element.
func CompareSums(class Class, name string, shape []int, got, want, size []float64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%s: %d elements, want %d", name, len(got), len(want))
	}
	tol := tolerances[class]
	var top float64
	for _, w := range want {
		if a := math.Abs(w); a > top && !math.IsInf(a, 0) {
			top = a
		}
	}
	bad, first, worst, by := 0, -1, -1, -1.0
	for i, g := range got {
		w := want[i]
		d := math.Abs(g - w)
		if g == w || g != g && w != w {
			continue
		}
		// Written so that a NaN fails.
		most := top
		if size != nil {
			most = size[i]
		}
		if limit := tol.rel*math.Abs(w) + tol.max*most; !math.IsInf(w, 0) && d <= limit {
			continue
		}
		if bad++; first < 0 {
			first = i
		}
		if !(d <= by) && by == by {
			worst, by = i, d
		}
	}
	if bad == 0 {
		return nil
	}
	at := func(i int) string {
		return fmt.Sprintf("%v: got %.9g, want %.9g, %s ulps", index(shape, i), got[i], want[i], ulps(got[i], want[i]))
	}
	s := fmt.Sprintf("%s%s", name, at(first))
	if worst != first {
		s += fmt.Sprintf("; farthest at %s", at(worst))
	}
	if size != nil {
		return fmt.Errorf("%s; %d of %d differ by more than %g·|want| + %g·Σ|terms|, there %.3g", s, bad, len(got), tol.rel, tol.max, size[first])
	}
	return fmt.Errorf("%s; %d of %d differ by more than %g·|want| + %g·%.3g", s, bad, len(got), tol.rel, tol.max, top)
}

// index returns the place of element i in an array of that shape.
func index(shape []int, i int) []int {
	if tensor.Shape(shape).Elems() <= i {
		return []int{i}
	}
	out := make([]int, len(shape))
	for a := len(shape) - 1; a >= 0; a-- {
		out[a] = i % shape[a]
		i /= shape[a]
	}
	return out
}

// ulps returns how many F32 numbers lie between a and b.
func ulps(a, b float64) string {
	if a != a || b != b {
		return "NaN"
	}
	order := func(v float64) int64 {
		bits := int64(int32(math.Float32bits(float32(v))))
		if bits < 0 {
			bits = math.MinInt32 - bits
		}
		return bits
	}
	d := order(a) - order(b)
	return fmt.Sprint(max(d, -d))
}
