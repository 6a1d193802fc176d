package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPEFTLoads fine-tunes with each of LoRA's flags and has PEFT load the adapter,
// and transformers the merged checkpoint: without a warning, with the same logits.
// It wants a Python that has what testdata/gen/requirements.txt names.
func TestPEFTLoads(t *testing.T) {
	python := os.Getenv("TENON_PYTHON")
	if python == "" {
		t.Skip("no PEFT: set TENON_PYTHON to a Python that has what testdata/gen/requirements.txt names")
	}
	bin := filepath.Join(t.TempDir(), "tenon")
	build := exec.Command("go", "build", "-o", bin, "../../cmd/tenon")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := filepath.Abs(testdata + "/train/padded/data.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, base string
		flags      []string
	}{
		{"default", "llama/mha", nil},
		{"all-linear", "llama/gqa-tied", []string{"--targets", "all-linear", "--rank", "3"}},
		{"rslora", "llama/mha", []string{"--rslora"}},
		{"regex", "llama/mha", []string{"--targets", `re:.*\.(q_proj|up_proj)`}},
		{"layers", "llama/mha", []string{"--layers", "1", "--targets", "q_proj,o_proj"}},
		{"exclude", "llama/mha", []string{"--targets", "all-linear", "--exclude", "down_proj,0.self_attn.q_proj"}},
		{"patterns", "llama/mha", []string{"--targets", "all-linear", "--rank-pattern", "q_proj=2", "--alpha-pattern", `.*layers\.0\.mlp.*=5`}},
		{"head", "llama/mha", []string{"--targets", "q_proj,lm_head"}},
		{"saved head", "llama/mha", []string{"--modules-to-save", "lm_head"}},
		{"saved head, tied", "llama/gqa-tied", []string{"--modules-to-save", "lm_head"}},
		{"saved embedding", "llama/mha", []string{"--modules-to-save", "embed_tokens"}},
		{"embedding", "llama/mha", []string{"--targets", "embed_tokens,v_proj"}},
		{"bias all", "llama/bias", []string{"--bias", "all"}},
		{"bias lora_only", "llama/bias", []string{"--bias", "lora_only"}},
		{"dropout", "llama/mha", []string{"--dropout", "0.2"}},
		{"qwen2", "families/qwen2", []string{"--targets", "all-linear"}},
		{"qwen3", "families/qwen3", nil},
		{"mistral", "families/mistral-window", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, err := filepath.Abs(filepath.Join(testdata, c.base))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			adapter, merged := filepath.Join(dir, "adapter"), filepath.Join(dir, "merged")
			run := func(args ...string) {
				t.Helper()
				if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
					t.Fatalf("%q: %v\n%s", args, err, out)
				}
			}
			run(append([]string{bin, "finetune", "--model", base, "--data", dataFor(t, data, base), "--out", adapter, "--steps", "3", "--lr", "0.01"}, c.flags...)...)
			run(bin, "merge", "--model", base, "--adapter", adapter, "--out", merged)
			for _, folder := range []string{adapter, merged} {
				cmd := exec.Command(python, testdata+"/gen/check_adapters.py", bin, base, folder, "1,5,9,2,7,3")
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			}
		})
	}
}

// dataFor returns a data file whose ids a model with a small vocabulary has.
func dataFor(t *testing.T, data, base string) string {
	t.Helper()
	if filepath.Base(filepath.Dir(base)) == "llama" {
		return data
	}
	path := filepath.Join(t.TempDir(), "data.jsonl")
	if err := os.WriteFile(path, []byte("{\"input_ids\": [3, 9, 4, 11, 20]}\n{\"input_ids\": [5, 8, 8, 2, 30, 14]}\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}
