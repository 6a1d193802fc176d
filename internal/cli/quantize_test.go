package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/nn"
)

// A model that is quantised while it is loaded gives what its quantised checkpoint gives.
func TestQuantize(t *testing.T) {
	dir := t.TempDir()
	model, q := testdata+"/bnb/f32", filepath.Join(dir, "q")
	var report struct {
		To          string
		Block       int
		DoubleQuant bool    `json:"double_quant"`
		RelRMS      float64 `json:"rel_rms"`
		Max         float64
		Layers      []tenon.QuantError
	}
	text := done(t, "quantize", "--model", model, "--to", "nf4", "--double-quant", "--out", q, "--json")
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatal(err)
	}
	if report.To != "nf4" || report.Block != 64 || !report.DoubleQuant || len(report.Layers) != 14 || !(report.RelRMS > 0.08 && report.RelRMS < 0.1) || report.Max == 0 {
		t.Errorf("%+v", report)
	}
	logits := func(args ...string) []byte {
		out := filepath.Join(dir, "logits.safetensors")
		done(t, append([]string{"logits", "--tokens", "5,6,7,8", "--out", out}, args...)...)
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	want := logits("--model", q)
	if !bytes.Equal(logits("--model", model, "--quantize", "nf4", "--double-quant"), want) {
		t.Error("quantised while loading, the logits are others")
	}
	if !bytes.Equal(logits("--model", q, "--weights", "f32"), want) {
		t.Error("decoded on loading, the logits are others")
	}
	if bytes.Equal(logits("--model", model, "--quantize", "nf4", "--block", "32"), want) {
		t.Error("--block has no effect")
	}
	if text := done(t, "quantize", "--model", model, "--to", "fp4", "--out", filepath.Join(dir, "f")); strings.Count(text, "\n") != 15 {
		t.Errorf("printed %q", text)
	}
	tenonCmd(t, "quantize", "--model", q, "--to", "nf4", "--out", filepath.Join(dir, "qq")).failed(t, q, "is quantised already")
	for _, args := range [][]string{
		{"quantize", "--model", model, "--to", "q8_0", "--out", "x"}, {"quantize", "--model", model, "--to", "nf4", "--block", "48", "--out", "x"},
		{"logits", "--model", model, "--tokens", "1", "--out", "x", "--double-quant"}, {"logits", "--model", model, "--tokens", "1", "--out", "x", "--quantize", "nf4", "--weights", "f32"},
		{"eval", "--model", model, "--data", "x", "--quantize", "q8_0", "--double-quant"}, {"generate", "--model", model, "--prompt", "x", "--quantize", "int8"},
		{"finetune", "--model", model, "--data", "x", "--out", "x", "--method", "full", "--quantize", "nf4"},
	} {
		if r := tenonCmd(t, args...); r.code != exitUsage {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// Random weights: the seed's, for every number of threads, of the shape asked for.
func TestSynth(t *testing.T) {
	dir := t.TempDir()
	config := testdata + "/bnb/f32/config.json"
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, args := range map[string][]string{"a": {"--threads", "1"}, "b": {"--threads", "3"}, "c": {"--seed", "2"}} {
		done(t, append([]string{"synth", "--config", config, "--quantize", "nf4", "--double-quant", "--out", filepath.Join(dir, name)}, args...)...)
	}
	if !bytes.Equal(read("a"), read("b")) || bytes.Equal(read("a"), read("c")) {
		t.Error("the weights are not the seed's")
	}
	m, err := tenon.Load(filepath.Join(dir, "a"), tenon.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for name, p := range nn.Params(m.LM) {
		var sum, squares float64
		for _, v := range p.T.F32s() {
			sum, squares = sum+float64(v), squares+float64(v)*float64(v)
		}
		n := float64(p.T.Elems())
		mean, variance := sum/n, squares/n
		switch {
		case strings.Contains(name, "norm"):
			if mean != 1 || variance != 1 {
				t.Errorf("%s: mean %g", name, mean)
			}
		case mean > 0.002 || mean < -0.002 || variance < 0.018*0.018 || variance > 0.022*0.022:
			t.Errorf("%s: mean %g, variance %g", name, mean, variance)
		}
	}
	if r := tenonCmd(t, "synth", "--config", "no-such-model", "--out", filepath.Join(dir, "x")); r.code != exitUsage || !strings.Contains(r.err, "llama2-7b") {
		t.Errorf("%+v", r)
	}
}
