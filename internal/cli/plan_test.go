package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/plan"
)

// planned runs `tenon plan --json`.
func plannedJSON(t *testing.T, args ...string) plan.Plan {
	t.Helper()
	var p plan.Plan
	d := json.NewDecoder(strings.NewReader(done(t, append([]string{"plan", "--json"}, args...)...)))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatal(err)
	}
	return p
}

// A GGUF file's weights are counted in the types it holds them in.
func TestPlanGGUF(t *testing.T) {
	model := filepath.Join(testdata, "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
	if _, err := os.Stat(model); err != nil {
		t.Skip("no SmolLM2: testdata/fetch-smollm2.sh fetches it")
	}
	gguf := plannedJSON(t, "--model", model)
	if gguf.Weights.Kept.DType != "q4_1" || gguf.Weights.Bytes > 100e6 || gguf.Parameters.Total != 134_515_008 {
		t.Errorf("%+v", gguf)
	}
	if f32 := plannedJSON(t, "--model", model, "--weights", "f32"); f32.Weights.Bytes != 4*134_515_008 {
		t.Errorf("%+v", f32)
	}
}

func TestPlan(t *testing.T) {
	p := plannedJSON(t, "--config", "openvla-7b", "--rank", "32", "--targets", "q_proj,k_proj,v_proj,o_proj", "--seq", "32",
		"--quantize", "nf4", "--double-quant", "--robots", "7", "--optim", "adamw8bit")
	if p.Trainable.Parameters != 33_554_432 || p.Robots.N != 7 || p.Weights.Quantized == nil || p.Weights.Kept.DType != "bf16" || !(p.Seconds > 0) {
		t.Errorf("%+v", p)
	}
	if p.Optimizer >= 3*p.Trainable.Parameters {
		t.Errorf("8-bit moments of %d parameters take %d bytes", p.Trainable.Parameters, p.Optimizer)
	}

	// A model's own files, and its config.json alone, which does not know what is held
	// in other types.
	tiny := filepath.Join(testdata, "llama", "gqa-tied")
	a := plannedJSON(t, "--model", tiny, "--targets", "all-linear", "--seq", "16")
	b := plannedJSON(t, "--config", filepath.Join(tiny, "config.json"), "--targets", "all-linear", "--seq", "16")
	if a.Parameters != b.Parameters || a.Trainable != b.Trainable || a.Activations != b.Activations || a.FLOPs != b.FLOPs {
		t.Errorf("%+v by the files, %+v by the configuration", a, b)
	}

	// What people read, and the picture.
	png := filepath.Join(t.TempDir(), "plan.png")
	text := done(t, "plan", "--model", tiny, "--robots", "3", "--plot", png)
	for _, s := range []string{"weights", "activations", "qlora", "prefix-tuning", "full", "3 robots", "FLOP"} {
		if !strings.Contains(text, s) {
			t.Errorf("%q is not in:\n%s", s, text)
		}
	}
	if info, err := os.Stat(png); err != nil || info.Size() < 1000 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestPlanErrors(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(bad, []byte(`{"model_type": "gpt2"}`), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		usage bool
		want  string
		args  []string
	}{
		{true, "--config or --model is missing", nil},
		{true, "exclude each other", []string{"--config", "llama2-7b", "--model", "x"}},
		{true, "want a config.json or one of llama-65b", []string{"--config", "llama3"}},
		{true, "--method is", []string{"--config", "llama2-7b", "--method", "lors"}},
		{true, "--optim is", []string{"--config", "llama2-7b", "--optim", "sgd"}},
		{true, "--batch is 0", []string{"--config", "llama2-7b", "--batch", "0"}},
		{true, "--weights is", []string{"--config", "llama2-7b", "--weights", "f8"}},
		{true, "rank r is 0", []string{"--config", "llama2-7b", "--rank", "0"}},
		{false, "nf5", []string{"--config", "llama2-7b", "--quantize", "nf5"}},
		{false, `model_type is "gpt2"`, []string{"--config", bad}},
		{false, "no such file", []string{"--config", "none.json"}},
		{false, "no such file", []string{"--model", "none"}},
		{false, "x_proj", []string{"--config", "llama2-7b", "--targets", "x_proj"}},
	} {
		r := tenonCmd(t, append([]string{"plan"}, c.args...)...)
		if c.usage && (r.code != exitUsage || !strings.Contains(r.err, c.want)) {
			t.Errorf("%q: status %d, %q, want usage and %q", c.args, r.code, r.err, c.want)
		}
		if !c.usage {
			r.failed(t, c.want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"6GB": 6e9, "500MB": 5e8, "1.5TB": 15e11, "10kB": 10_000, "12": 12, "2 GB": 2e9, "6GiB": 6 << 30, "1.5 MiB": 3 << 19} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "GB", "-1GB", "0", "0.5", "6iB", "6XB", "1e30GB", "nan", "6GBGB"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q: %d, want an error", s, got)
		}
	}
}

func TestGigabytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.00 kB", 99_949: "99.9 kB", 999_400: "999 kB", 999_600: "1.00 MB", 3_870_000_000: "3.87 GB", 109e9: "109 GB", 2e12: "2.00 TB"} {
		if got := gigabytes(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
