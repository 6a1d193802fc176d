package tenon_test

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// logitsOf computes the logits of rows of tokens.
func logitsOf(m *tenon.Model, ids []int32, rows int) []float32 {
	arena := tensor.NewArena(m.Device)
	defer arena.Close()
	s := &nn.Step{Tape: autograd.NoGrad(arena), B: rows, T: len(ids) / rows}
	return nn.Logits(m.LM, s, ids).T.F32s()
}

// Checkpoints that transformers and bitsandbytes quantised: weights have their bits,
// logits are theirs.
func TestBitsandbytes(t *testing.T) {
	for name, dt := range map[string]tensor.DType{"nf4": tensor.NF4, "nf4-double": tensor.NF4, "fp4": tensor.FP4, "storage-bf16": tensor.NF4, "int8": tensor.F32} {
		for _, f32 := range []bool{false, true} {
			dir := filepath.Join("testdata/bnb", name)
			m, err := tenon.Load(dir, tenon.Options{Threads: 2, F32: f32})
			if err != nil {
				t.Fatal(err)
			}
			g, err := safetensors.Open(filepath.Join(dir, "golden.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			weights := 0
			for path, p := range nn.Params(m.LM) {
				want := dt
				if f32 || !strings.HasSuffix(path, "_proj.weight") {
					want = tensor.F32
				}
				if p.T.DType() != want {
					t.Errorf("%s: %s is held in %s, want %s", name, path, p.T.DType(), want)
				}
				if _, ok := g.Info("W:" + path); !ok {
					continue
				}
				weights++
				got, w := p.T.F32s(), float32s(t, g, "W:"+path)
				for i := range w {
					if math.Float32bits(got[i]) != math.Float32bits(w[i]) {
						t.Fatalf("%s: %s: element %d is %v, want %v", name, path, i, got[i], w[i])
					}
				}
			}
			if weights != 2 {
				t.Errorf("%s: %d weights compared", name, weights)
			}
			want := float32s(t, g, "logits")
			var off float64
			for i, v := range logitsOf(m, int32s(t, g, "tokens"), 2) {
				off = max(off, math.Abs(float64(v)-float64(want[i])))
			}
			t.Logf("%s: logits are off by %.1e", name, off)
			if !(off <= 1e-4) {
				t.Errorf("%s: logits are off by %g", name, off)
			}
			g.Close()
			m.Close()
		}
	}
}

// Twenty steps of QLoRA are PEFT's on the same base.
func TestQLoRACurve(t *testing.T) {
	c := curve.Read(t, "testdata/bnb/qlora")
	for _, f32 := range []bool{false, true} {
		m, err := tenon.Load(filepath.Join("testdata", c.Base), tenon.Options{Threads: 2, F32: f32})
		if err != nil {
			t.Fatal(err)
		}
		c.Check(t, m.Device, m.LM, curve.Limits{Loss: 1e-5, Norm: 1e-3, Median: 5e-5, Worst: 1e-3})
		m.Close()
	}
}
