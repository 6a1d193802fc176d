package train_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

// stateRun is a run on a fresh copy of a model.
type stateRun struct {
	dev     *tensor.CPU
	adapter *lora.Adapter
	params  []train.Param
	opt     *train.AdamW
	train   func(ctx context.Context, report func(train.Report) error) error
}

// newStateRun prepares a run of six steps: from the beginning, or from an adapter.
func newStateRun(t *testing.T, from string) stateRun {
	t.Helper()
	dev := tensor.NewCPU(2)
	t.Cleanup(func() { dev.Close() })
	m := curve.LoadModel(t, testdata+"/llama/mha", dev)
	r := stateRun{dev: dev}
	var err error
	if from == "" {
		r.adapter, err = lora.New(m, "a", lora.Config{Rank: 4, Alpha: 8, Dropout: 0.2, Targets: lora.Names{AllLinear: true}}, 1, dev)
	} else {
		r.adapter, err = lora.Load(m, "a", from, dev)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range r.adapter.Params() {
		r.params = append(r.params, train.Param{Name: name, Value: v})
	}
	r.opt = train.NewAdamW(r.params, 0.1)
	t.Cleanup(r.opt.Release)
	var data []train.Example
	for i := range int32(5) {
		ids := []int32{i + 1, 2*i + 3, 7, 40 + i}
		data = append(data, train.Example{IDs: ids, Labels: ids, Line: int(i) + 1})
	}
	l := &train.Loader{Examples: data, Batch: 2, Accumulate: 1, Shuffle: true, Seed: 3}
	o := train.Options{Steps: 6, LR: 1e-2, Schedule: train.Cosine, Warmup: 2, Clip: 1, Seed: 3, Adapter: r.adapter.Use(), Optimizer: r.opt}
	r.train = func(ctx context.Context, report func(train.Report) error) error {
		return train.Run(ctx, m, dev, r.params, l, o, report)
	}
	return r
}

// A run is cut off, saved, and gone on with by another model, adapter and
// optimizer: the bits are those of a run that was not.
func TestRunGoesOn(t *testing.T) {
	var history []train.Report
	whole := newStateRun(t, "")
	if err := whole.train(t.Context(), func(r train.Report) error { history = append(history, r); return nil }); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	first := newStateRun(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	s := train.State{Steps: 6}
	err := first.train(ctx, func(r train.Report) error {
		if s.Step, s.History = r.Step, append(s.History, r); r.Step == 4 {
			cancel()
		}
		return nil
	})
	if err != context.Canceled || s.Step != 4 || first.opt.Steps() != 4 {
		t.Fatal(err, s.Step, first.opt.Steps())
	}
	if err := first.adapter.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := train.SaveState(dir, s, first.opt); err != nil {
		t.Fatal(err)
	}
	got, err := train.ReadState(dir)
	if err != nil || got.Step != 4 || !slices.Equal(got.History, s.History) {
		t.Fatal(err, got)
	}
	second := newStateRun(t, dir)
	if err := second.opt.Load(filepath.Join(dir, train.OptimizerFile)); err != nil {
		t.Fatal(err)
	}
	err = second.train(t.Context(), func(r train.Report) error {
		want := history[got.Step]
		if got.Step++; r.Step != got.Step || r.Loss != want.Loss || r.GradNorm != want.GradNorm || r.LR != want.LR {
			t.Errorf("got %+v, want %+v", r, want)
		}
		return nil
	})
	if err != nil || got.Step != 6 {
		t.Fatal(err, got.Step)
	}
	for i, p := range whole.params {
		if q := second.params[i]; p.Name != q.Name || !slices.Equal(p.Value.T.F32s(), q.Value.T.F32s()) {
			t.Errorf("%s differs from %s", q.Name, p.Name)
		}
	}
}

func TestStateErrors(t *testing.T) {
	dev := tensor.NewCPU(1)
	defer dev.Close()
	param := func(name string, shape ...int) train.Param {
		return train.Param{Name: name, Value: autograd.Param(tensor.New(dev, tensor.F32, shape...).Fill(1))}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, train.OptimizerFile)
	o := train.NewAdamW([]train.Param{param("a", 2, 3), param("b", 4)}, 0)
	o.Step(autograd.Grads{}, 1)
	s := train.State{Step: 1, Steps: 2, History: []train.Report{{Step: 1, Loss: 0.1}}}
	if err := train.SaveState(dir, s, o); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []train.State{{Step: 2, Steps: 2, History: make([]train.Report, 2)}, {Step: 1, Steps: 2}} {
		if err := train.SaveState(t.TempDir(), bad, o); err == nil {
			t.Errorf("%+v was saved", bad)
		}
	}
	for want, params := range map[string][]train.Param{
		`tensor "b.exp_avg" is unexpected`:                  {param("a", 2, 3)},
		`tensor "c.exp_avg_sq" is missing`:                  {param("a", 2, 3), param("b", 4), param("c", 1)},
		`tensor "b.exp_avg_sq" is F32 [4], want F32 [2, 2]`: {param("a", 2, 3), param("b", 2, 2)},
	} {
		p := train.NewAdamW(params, 0)
		if err := p.Load(path); err == nil || !strings.Contains(err.Error(), path+": tensor") || !strings.Contains(err.Error(), want) || p.Steps() != 0 {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := train.NewAdamW([]train.Param{param("a", 2, 3), param("b", 4)}, 0).Load(path); err != nil {
		t.Error(err)
	}

	state, err := os.ReadFile(filepath.Join(dir, train.StateFile))
	if err != nil {
		t.Fatal(err)
	}
	moments, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string][2][]byte{
		"no JSON":           {[]byte("{"), moments},
		"another step":      {bytes.Replace(state, []byte(`"global_step": 1`), []byte(`"global_step": 2`), 1), moments},
		"no steps":          {[]byte("{}"), moments},
		"truncated moments": {state, moments[:len(moments)-1]},
		"no moments":        {state, nil},
	} {
		for i, file := range []string{train.StateFile, train.OptimizerFile} {
			if err := os.WriteFile(filepath.Join(dir, file), files[i], 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := train.ReadState(dir); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := safetensors.Write(path, nil, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	if err := o.Load(path); err == nil || !strings.Contains(err.Error(), `"step"`) {
		t.Errorf("without a number of steps: %v", err)
	}
}
