package llama

import (
	"encoding/binary"
	"math"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

const testdata = "../../testdata"

func load(t *testing.T, dir, config string, dev tensor.Device) *Model {
	t.Helper()
	c, err := ReadConfig(filepath.Join(dir, config))
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := Load(c, f, dev)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ints(t *testing.T, f *safetensors.File, name string) ([]int32, []int) {
	t.Helper()
	info, ok := f.Info(name)
	if !ok {
		t.Fatalf("%s has no tensor %s", f.Path(), name)
	}
	b := f.Bytes(name)
	size := len(b) / tensor.Shape(info.Shape).Elems()
	var out []int32
	for i := 0; i < len(b); i += size {
		out = append(out, int32(binary.LittleEndian.Uint32(b[i:])))
	}
	return out, info.Shape
}

// maxLogits is how far a tiny model's logits may be from the reference's F64 ones.
// PyTorch's F32 logits are up to 1e-5 off them, and more at positions whose states
// are small before a norm.
const maxLogits = 1e-4

// TestLogits compares the logits of each tiny model with transformers'.
func TestLogits(t *testing.T) {
	dirs, err := filepath.Glob(testdata + "/[lf]*/*/golden.safetensors")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no models in %s: %v", testdata, err)
	}
	for _, golden := range dirs {
		dir := filepath.Dir(golden)
		configs, err := filepath.Glob(dir + "/config*.json")
		if err != nil {
			t.Fatal(err)
		}
		for _, config := range configs {
			t.Run(filepath.Base(dir)+"/"+filepath.Base(config), func(t *testing.T) {
				dev := tensor.NewCPU(2)
				defer dev.Close()
				m := load(t, dir, filepath.Base(config), dev)
				g, err := safetensors.Open(golden)
				if err != nil {
					t.Fatal(err)
				}
				defer g.Close()
				ids, shape := ints(t, g, "tokens")
				arena := tensor.NewArena(dev)
				defer arena.Close()
				s := &nn.Step{Tape: autograd.NoGrad(arena), B: shape[0], T: shape[1]}
				got := nn.Logits(m, s, ids).T.F32s()
				want, ref := make([]float32, len(got)), make([]float32, len(got))
				if err := g.Decode(want, "logits64"); err != nil {
					t.Fatal(err)
				}
				if err := g.Decode(ref, "logits"); err != nil {
					t.Fatal(err)
				}
				var worst, noise float64
				for i := range got {
					worst = max(worst, math.Abs(float64(got[i]-want[i])))
					noise = max(noise, math.Abs(float64(ref[i]-want[i])))
				}
				t.Logf("|tenon - F64| %.2g, |PyTorch F32 - F64| %.2g", worst, noise)
				if !(worst <= maxLogits) {
					t.Errorf("too far from the F64 logits")
				}
			})
		}
	}
}
