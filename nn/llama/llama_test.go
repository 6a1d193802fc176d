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

const models = "../../testdata/llama"

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

// TestLogits compares the logits of each tiny model with transformers'. A
// result may be as far from the F64 logits as twice what PyTorch's F32 is, or by
// a few units in the last place of the largest logit.
func TestLogits(t *testing.T) {
	dirs, err := filepath.Glob(models + "/*/golden.safetensors")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no models in %s: %v", models, err)
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
				var worst, noise, top float64
				for i := range got {
					worst = max(worst, math.Abs(float64(got[i]-want[i])))
					noise = max(noise, math.Abs(float64(ref[i]-want[i])))
					top = max(top, math.Abs(float64(want[i])))
				}
				t.Logf("|tenon - F64| %.2g, |PyTorch F32 - F64| %.2g, largest logit %.3g", worst, noise, top)
				if !(worst <= max(2*noise, 4*top*0x1p-23)) {
					t.Errorf("too far from the F64 logits")
				}
			})
		}
	}
}
