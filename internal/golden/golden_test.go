package golden

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/tensor"
)

func TestCompare(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		name      string
		class     Class
		got, want []float64
		err       string // part of it; none if empty
	}{
		{"equal", Exact, []float64{1, nan, inf, -inf}, []float64{1, nan, inf, -inf}, ""},
		{"zero of the other sign", Exact, []float64{0}, []float64{math.Copysign(0, -1)}, ""},
		{"one ulp", Exact, []float64{1, 2}, []float64{1, float64(math.Nextafter32(2, 3))}, "x[0 1]: got 2, want 2.00000024, 1 ulps; 1 of 2 differ"},
		{"one ulp allowed", Rounded, []float64{2}, []float64{float64(math.Nextafter32(2, 3))}, ""},
		{"far", Scores, []float64{1, 1.1, 3}, []float64{1, 1, 2}, "x[0 1]: got 1.1, want 1, 838861 ulps; farthest at [1 0]: got 3, want 2"},
		{"NaN", Scores, []float64{nan}, []float64{1}, "got NaN, want 1, NaN ulps; 1 of 1"},
		{"NaN wanted", Scores, []float64{1, 2}, []float64{nan, 2}, "got 1, want NaN"},
		{"finite for infinite", Scores, []float64{math.MaxFloat32}, []float64{inf}, "want +Inf"},
		{"infinite for finite", Scores, []float64{inf}, []float64{1}, "got +Inf"},
		{"infinite of the other sign", Scores, []float64{inf}, []float64{-inf}, "got +Inf"},
		{"length", Exact, []float64{1}, []float64{1, 2}, "x: 1 elements, want 2"},
		{"across zero", Exact, []float64{math.SmallestNonzeroFloat32}, []float64{-math.SmallestNonzeroFloat32}, "2 ulps"},
	} {
		err := Compare(c.class, "x", []int{2, 2}, c.got, c.want)
		switch {
		case c.err == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.err)
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "op.1.safetensors")
	err := safetensors.Write(path, []safetensors.Entry{
		safetensors.FromFloats("in.x", tensor.F32, []int{2}, []float32{0.5, -1}),
		safetensors.FromBytes("in.ids", tensor.I32, []int{2}, []byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}),
		safetensors.FromBytes("out.z", tensor.F64, []int{1}, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}),
	}, map[string]string{"attrs": `{"eps": 1e-6}`})
	if err != nil {
		t.Fatal(err)
	}
	f := Open(t, path)
	var attrs struct{ Eps float64 }
	f.Attrs(&attrs)
	if attrs.Eps != 1e-6 {
		t.Errorf("eps %g, want 1e-6", attrs.Eps)
	}
	if got := f.Floats("in.x"); got[0] != 0.5 || got[1] != -1 {
		t.Errorf("in.x %v", got)
	}
	if got := f.Ints("in.ids"); got[0] != 1 || got[1] != -1 {
		t.Errorf("in.ids %v", got)
	}
	if got := f.Unused(); len(got) != 1 || got[0] != "out.z" {
		t.Errorf("unused %v, want out.z", got)
	}
	f.Check(Exact, "out.z", []float64{1})
	if len(f.Unused()) != 0 || !f.Has("out.z") || f.Has("z") || len(f.Names("in.")) != 2 {
		t.Errorf("names wrong: %v unused, %v", f.Unused(), f.Names("in."))
	}
}
