package train_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/internal/golden"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// off is the largest distance of x from y.
func off(t *testing.T, x, y []float64) float64 {
	t.Helper()
	if len(x) != len(y) {
		t.Fatalf("%d values, want %d", len(x), len(y))
	}
	var d float64
	for i := range x {
		d = max(d, math.Abs(x[i]-y[i]))
	}
	return d
}

// floats returns x as F64.
func floats(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// TestAutocast holds ComputeBF16 to PyTorch under bfloat16 autocast: logits, losses of
// LoRA steps and the adapter after them are at most twice as far from F64. In F32 they
// are much nearer, so it is BF16 that was measured.
func TestAutocast(t *testing.T) {
	dir := filepath.Join(testdata, "autocast")
	g, final := golden.Open(t, filepath.Join(dir, "golden.safetensors")), golden.Open(t, filepath.Join(dir, "final.safetensors"))
	c := curve.Read(t, filepath.Join(dir, "train"))
	var of struct{ Losses map[string][]float64 }
	data, err := os.ReadFile(filepath.Join(c.Dir, "case.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &of); err != nil {
		t.Fatal(err)
	}
	measure := func(compute tensor.Compute, threads int) (logits, losses []float64, trained map[string][]float32) {
		dev := tensor.NewCPU(threads)
		defer dev.Close()
		dev.SetCompute(compute)
		m := curve.LoadModel(t, filepath.Join(testdata, c.Base), dev)
		arena := tensor.NewArena(dev)
		ids, shape := g.Ints("tokens"), g.Shape("tokens")
		logits = floats(nn.Logits(m, &nn.Step{Tape: autograd.NoGrad(arena), B: shape[0], T: shape[1]}, ids).T.F32s())
		arena.Close()
		reports, trained := c.Train(t, dev, m)
		for _, r := range reports {
			losses = append(losses, r.Loss)
		}
		return logits, losses, trained
	}
	logits, losses, trained := measure(tensor.ComputeBF16, 2)
	exact, exactLosses, exactTrained := measure(tensor.ComputeF32, 2)
	alone, aloneLosses, aloneTrained := measure(tensor.ComputeBF16, 1)

	check := func(what string, got, exact, torch float64) {
		t.Logf("%s: off F64 by %.3g, PyTorch's autocast by %.3g, in F32 by %.3g", what, got, torch, exact)
		if !(got <= 2*torch) {
			t.Errorf("%s: too far from F64", what)
		}
		if !(got > 4*exact) {
			t.Errorf("%s: as near to F64 as in F32", what)
		}
	}
	want := g.Floats("logits64")
	check("logits", off(t, logits, want), off(t, exact, want), off(t, g.Floats("logits.bf16"), want))
	want = of.Losses["64"]
	check("losses", off(t, losses, want), off(t, exactLosses, want), off(t, of.Losses["bf16"], want))
	names := final.Names("64.")
	if len(names) != len(trained) || len(names) == 0 {
		t.Fatalf("%d tensors, want %d", len(trained), len(names))
	}
	var got, inF32, torch float64
	for _, name := range names {
		name = strings.TrimPrefix(name, "64.")
		want := final.Floats("64." + name)
		got = max(got, off(t, floats(trained[name]), want))
		inF32 = max(inF32, off(t, floats(exactTrained[name]), want))
		torch = max(torch, off(t, final.Floats("bf16."+name), want))
		if off(t, floats(aloneTrained[name]), floats(trained[name])) != 0 {
			t.Errorf("%s depends on the number of threads", name)
		}
	}
	check("adapter", got, inF32, torch)
	if off(t, alone, logits) != 0 || off(t, aloneLosses, losses) != 0 {
		t.Error("results depend on the number of threads")
	}
}
