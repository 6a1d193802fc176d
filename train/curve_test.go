package train_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

const testdata = "../testdata"

// curve is a training run of transformers' Trainer.
type curve struct {
	Method     string
	Base       string
	Parameters struct {
		Batch, Accumulate, Seq, Steps, Epochs int
		LR                                    float64
		Schedule                              train.Schedule
		Warmup                                float64
		WeightDecay                           float64 `json:"weight_decay"`
		Clip                                  float64
		Recompute                             bool
	}
	Curve []struct {
		Step   int
		Loss   float64
		LR     float64
		Norm   float64 `json:"grad_norm"`
		Tokens int     `json:"input_tokens"`
	}
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(path, err)
	}
}

func loadModel(t testing.TB, dir string, dev tensor.Device) *llama.Model {
	t.Helper()
	c, err := llama.ReadConfig(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := llama.Load(c, f, dev)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// run trains a case and returns the reports and what was trained.
func run(t testing.TB, dir string, c curve, dev tensor.Device, m *llama.Model) (reports []train.Report, params []train.Param) {
	t.Helper()
	p := c.Parameters
	o := train.Options{
		Steps: p.Steps, LR: p.LR, Schedule: p.Schedule, Warmup: p.Warmup, WeightDecay: p.WeightDecay,
		Clip: p.Clip, Recompute: p.Recompute,
	}
	if c.Method == "lora" {
		a, err := lora.Load(m, "x", filepath.Join(dir, "init"), dev)
		if err != nil {
			t.Fatal(err)
		}
		o.Adapter = a.Use()
		for name, v := range a.Params() {
			params = append(params, train.Param{Name: name, Value: v})
		}
	} else {
		for name, v := range nn.Params(m) {
			params = append(params, train.Param{Name: name, Value: v})
		}
	}
	examples, err := train.ReadFile(filepath.Join(dir, "data.jsonl"), train.ReadOptions{Vocab: m.Vocab(), Seq: p.Seq})
	if err != nil {
		t.Fatal(err)
	}
	l := &train.Loader{Examples: examples, Batch: p.Batch, Accumulate: p.Accumulate}
	if o.Steps == 0 {
		o.Steps = p.Epochs * l.StepsPerEpoch()
	}
	err = train.Run(context.Background(), m, dev, params, l, o, func(r train.Report) error {
		reports = append(reports, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return reports, params
}

// The limits of a curve: PyTorch differs from itself, with another attention
// kernel or in F64, by up to 1e-6 on these models.
const (
	maxLoss   = 1e-5 // of a loss, relative
	maxNorm   = 1e-4 // of a gradient norm, relative
	maxMedian = 5e-5 // of the final tensors, relative to their norms: the median
	maxWorst  = 1e-3 // and the worst
)

// TestCurves trains as transformers' Trainer and PEFT did, from the same
// beginning on the same batches, and compares every loss and every weight.
func TestCurves(t *testing.T) {
	cases, err := filepath.Glob(testdata + "/train/*/case.json")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range cases {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var c curve
			readJSON(t, path, &c)
			dev := tensor.NewCPU(2)
			defer dev.Close()
			reports, params := run(t, dir, c, dev, loadModel(t, filepath.Join(testdata, c.Base), dev))
			if len(reports) != len(c.Curve) {
				t.Fatalf("%d steps, want %d", len(reports), len(c.Curve))
			}
			var loss, norm float64
			for i, w := range c.Curve {
				r := reports[i]
				loss = max(loss, math.Abs(r.Loss/w.Loss-1))
				norm = max(norm, math.Abs(r.GradNorm/w.Norm-1))
				if r.Step != w.Step || math.Abs(r.LR-w.LR) > 1e-12 || r.Tokens != w.Tokens {
					t.Errorf("step %d, lr %g, %d tokens; want %d, %g, %d", r.Step, r.LR, r.Tokens, w.Step, w.LR, w.Tokens)
				}
			}
			g, err := safetensors.Open(filepath.Join(dir, "final.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if len(params) != len(g.Names()) {
				t.Errorf("%d tensors trained, want %d", len(params), len(g.Names()))
			}
			var off []float64
			for _, p := range params {
				want := make([]float32, p.Value.T.Elems())
				if err := g.Decode(want, p.Name); err != nil {
					t.Fatal(err)
				}
				var d, n float64
				for i, v := range p.Value.T.F32s() {
					d += math.Pow(float64(v)-float64(want[i]), 2)
					n += math.Pow(float64(want[i]), 2)
				}
				off = append(off, math.Sqrt(d/n))
			}
			slices.Sort(off)
			median, worst := off[len(off)/2], off[len(off)-1]
			t.Logf("loss %.1e, norm %.1e, tensors: median %.1e, worst %.1e", loss, norm, median, worst)
			if !(loss <= maxLoss && norm <= maxNorm && median <= maxMedian && worst <= maxWorst) {
				t.Errorf("off the reference's curve")
			}
		})
	}
}
