// Package curve compares training runs with those of transformers' Trainer and
// PEFT that lie in testdata.
package curve

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

// Case is a training run of Trainer's: a folder's case.json.
type Case struct {
	Dir        string `json:"-"`
	Method     string
	Base       string
	Parameters struct {
		Batch, Accumulate, Seq, Steps, Epochs int
		LR                                    float64
		Schedule                              train.Schedule
		Warmup                                float64
		WeightDecay                           float64 `json:"weight_decay"`
		Clip                                  float64
		Recompute, Pack                       bool
	}
	Curve []struct {
		Step   int
		Loss   float64
		LR     float64
		Norm   float64 `json:"grad_norm"`
		Tokens int     `json:"input_tokens"`
	}
}

// Limits say how far a run may be from the reference's, relative.
type Limits struct {
	Loss, Norm    float64
	Median, Worst float64 // of the final tensors, relative to their norms
}

// Read reads the case in a folder.
func Read(t testing.TB, dir string) Case {
	t.Helper()
	c := Case{Dir: dir}
	data, err := os.ReadFile(filepath.Join(dir, "case.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(dir, err)
	}
	return c
}

// Train repeats the run on its base model and returns the reports and what was
// trained, by the names that it has in files.
func (c Case) Train(t testing.TB, dev tensor.Device, m nn.CausalLM) (reports []train.Report, trained map[string][]float32) {
	t.Helper()
	p := c.Parameters
	o := train.Options{
		Steps: p.Steps, LR: p.LR, Schedule: p.Schedule, Warmup: p.Warmup, WeightDecay: p.WeightDecay,
		Clip: p.Clip, Recompute: p.Recompute,
	}
	var params []train.Param
	var adapter *lora.Adapter
	if c.Method == "lora" {
		a, err := lora.Load(m, "x", filepath.Join(c.Dir, "init"), dev)
		if err != nil {
			t.Fatal(err)
		}
		adapter, o.Adapter = a, a.Use()
		for name, v := range a.Params() {
			params = append(params, train.Param{Name: name, Value: v})
		}
	} else {
		for name, v := range nn.Params(m) {
			params = append(params, train.Param{Name: name, Value: v})
		}
	}
	examples, err := train.ReadFile(filepath.Join(c.Dir, "data.jsonl"), train.ReadOptions{Vocab: m.Vocab(), Seq: p.Seq})
	if err != nil {
		t.Fatal(err)
	}
	l := &train.Loader{Examples: examples, Batch: p.Batch, Accumulate: p.Accumulate}
	if p.Pack {
		l.Pack = p.Seq
	}
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
	trained = map[string][]float32{}
	if adapter == nil {
		for _, p := range params {
			trained[p.Name] = p.Value.T.F32s()
		}
		return reports, trained
	}
	dir := t.TempDir()
	if err := adapter.Save(dir); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(filepath.Join(dir, lora.WeightsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, info := range f.All() {
		if strings.HasSuffix(name, ".base_layer.weight") {
			continue // the model's own
		}
		x := make([]float32, tensor.Shape(info.Shape).Elems())
		if err := f.Decode(x, name); err != nil {
			t.Fatal(err)
		}
		trained[name] = x
	}
	return reports, trained
}

// Check repeats the run and compares every loss and every weight at its end.
func (c Case) Check(t testing.TB, dev tensor.Device, m nn.CausalLM, most Limits) {
	t.Helper()
	reports, trained := c.Train(t, dev, m)
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
	g, err := safetensors.Open(filepath.Join(c.Dir, "final.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if got, want := slices.Sorted(maps.Keys(trained)), g.Names(); !slices.Equal(got, want) {
		t.Errorf("tensors %q, want %q", got, want)
	}
	var off []float64
	for name, got := range trained {
		want := make([]float32, len(got))
		if err := g.Decode(want, name); err != nil {
			t.Fatal(err)
		}
		var d, n float64
		for i, v := range got {
			d += math.Pow(float64(v)-float64(want[i]), 2)
			n += math.Pow(float64(want[i]), 2)
		}
		off = append(off, math.Sqrt(d/n))
	}
	slices.Sort(off)
	median, worst := off[len(off)/2], off[len(off)-1]
	t.Logf("off the reference, relative: loss %.1e, gradient norm %.1e, tensors %.1e (median) and %.1e (worst)", loss, norm, median, worst)
	if !(loss <= most.Loss && norm <= most.Norm && median <= most.Median && worst <= most.Worst) {
		t.Errorf("want at most %+v", most)
	}
}

// LoadModel loads a Hugging Face folder of testdata.
func LoadModel(t testing.TB, dir string, dev tensor.Device) *llama.Model {
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
