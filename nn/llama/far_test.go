package llama_test

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/tensor/devicetest"
	"github.com/tenon-ml/tenon/train"
)

// trained is what a run of training gave.
type trained struct {
	loss    []float64
	weights map[string][]float32
	text    []int32 // a greedy continuation afterwards
}

// trainOn trains a tiny Llama on a device: an adapter with dropout, or all of it.
func trainOn(t *testing.T, dev tensor.Device, model string, full, recompute bool) trained {
	t.Helper()
	dir := filepath.Join("../../testdata/llama", model)
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
	o := train.Options{Steps: 6, LR: 5e-3, Schedule: "constant", WeightDecay: 0.01, Clip: 1, Seed: 3, Recompute: recompute}
	var params []train.Param
	if full {
		o.LR = 1e-3
		for name, v := range nn.Params(m) {
			params = append(params, train.Param{Name: name, Value: v})
		}
	} else {
		a, err := lora.New(m, "x", lora.Config{Rank: 4, Alpha: 8, Dropout: 0.1, Targets: lora.Names{AllLinear: true}}, 5, dev)
		if err != nil {
			t.Fatal(err)
		}
		o.Adapter = a.Use()
		for name, v := range a.Params() {
			params = append(params, train.Param{Name: name, Value: v})
		}
	}
	r := tensor.NewRandom(1, "tokens")
	var examples []train.Example
	for n := range 6 {
		e := train.Example{Line: n + 1}
		for range 5 + 7*n%11 {
			e.IDs = append(e.IDs, int32(r.Uint32()%uint32(m.Vocab())))
		}
		e.Labels = slices.Clone(e.IDs)
		e.Labels[2] = train.Ignore
		examples = append(examples, e)
	}
	out := trained{weights: map[string][]float32{}}
	l := &train.Loader{Examples: examples, Batch: 2, Accumulate: 1}
	err = train.Run(context.Background(), m, dev, params, l, o, func(r train.Report) error {
		out.loss = append(out.loss, r.Loss)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range params {
		out.weights[p.Name] = p.Value.T.F32s()
	}
	req := nn.Request{Prompt: examples[1].IDs, MaxTokens: 8, Adapter: o.Adapter}
	for id, err := range nn.Generate(context.Background(), m, dev, req, nil) {
		if err != nil {
			t.Fatal(err)
		}
		out.text = append(out.text, id)
	}
	return out
}

// TestFar trains and decodes on a device whose buffers have no Go address and
// which has the mandatory kernels alone: the losses, weights and tokens are the
// CPU's.
func TestFar(t *testing.T) {
	for _, c := range []struct {
		name, model     string
		full, recompute bool
	}{
		{"lora", "gqa-tied", false, false},
		{"lora recomputed", "gqa-tied", false, true},
		{"lora on BF16", "bf16", false, false},
		{"all parameters", "gqa-tied", true, false},
		{"all parameters, biases, a head", "bias", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cpu := tensor.NewCPU(2)
			defer cpu.Close()
			want := trainOn(t, cpu, c.model, c.full, c.recompute)
			got := trainOn(t, devicetest.NewFar(), c.model, c.full, c.recompute)
			if len(got.loss) != 6 || !(want.loss[5] < want.loss[0]) {
				t.Errorf("%d losses; the CPU's go from %g to %g, want 6 that fall", len(got.loss), want.loss[0], want.loss[len(want.loss)-1])
			}
			var loss float64
			for i, w := range want.loss {
				loss = max(loss, math.Abs(got.loss[i]/w-1))
			}
			var worst float64
			for name, w := range want.weights {
				var d, n float64
				for i, v := range got.weights[name] {
					d += math.Pow(float64(v)-float64(w[i]), 2)
					n += math.Pow(float64(w[i]), 2)
				}
				worst = max(worst, math.Sqrt(d/n))
			}
			t.Logf("losses differ by %.1e, weights by %.1e", loss, worst)
			// As in package train: AdamW divides small gradients by their own size,
			// so that their rounding shows in a weight here and there.
			if !(loss <= 1e-6 && worst <= 1e-4) {
				t.Errorf("losses differ by %g, want at most 1e-6; weights by %g, want at most 1e-4", loss, worst)
			}
			if !slices.Equal(got.text, want.text) || len(want.text) != 8 {
				t.Errorf("the text goes on %v, on the CPU %v", got.text, want.text)
			}
		})
	}
}
