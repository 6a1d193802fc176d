package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/asm"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/internal/golden"
	"github.com/tenon-ml/tenon/tensor"
)

// Tolerances of what commands give against the goldens. The packages below are
// held to sharper ones; here it is seen that flags and files reach them.
const (
	tolLogits = 1e-4 // absolute
	tolLoss   = 1e-5 // relative
)

// values reads a tensor of a file.
func values(t *testing.T, path, name string) ([]float32, []int) {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, ok := f.Info(name)
	if !ok {
		t.Fatalf("%s has no tensor %q", path, name)
	}
	out := make([]float32, tensor.Shape(info.Shape).Elems())
	if err := f.Decode(out, name); err != nil {
		t.Fatal(err)
	}
	return out, info.Shape
}

// done runs a command that must succeed and say nothing on stderr.
func done(t *testing.T, args ...string) string {
	t.Helper()
	r := tenonCmd(t, args...)
	if r.code != exitDone || r.err != "" {
		t.Fatalf("tenon %q: status %d, stderr %q", args, r.code, r.err)
	}
	return r.stdout
}

// logitsOf runs the command of that name for the rows of tokens in a golden and
// compares with its tensor.
func logitsOf(t *testing.T, path, name string, args ...string) {
	t.Helper()
	g := golden.Open(t, path)
	want, shape := values(t, path, name)
	ids := g.Ints("tokens")
	rows, n, vocab := shape[0], shape[1], shape[2]
	for b := range rows {
		text := strings.Trim(strings.ReplaceAll(fmt.Sprint(ids[b*n:(b+1)*n]), " ", ","), "[]")
		out := filepath.Join(t.TempDir(), "logits.safetensors")
		done(t, append([]string{"logits", "--tokens", text, "--out", out}, args...)...)
		got, s := values(t, out, "logits")
		if s[0] != n || s[1] != vocab || len(s) != 2 {
			t.Fatalf("shape %v, want [%d %d]", s, n, vocab)
		}
		for i, w := range want[b*n*vocab : (b+1)*n*vocab] {
			if d := math.Abs(float64(got[i] - w)); !(d <= tolLogits) {
				t.Fatalf("%s: row %d, logit %d is %g, want %g", path, b, i, got[i], w)
			}
		}
	}
}

func TestLogitsGGUF(t *testing.T) {
	files, err := filepath.Glob(testdata + "/llama/gguf/*.gguf")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			logitsOf(t, strings.TrimSuffix(f, ".gguf")+".golden.safetensors", "logits", "--model", f)
		})
	}
}

func TestLogitsAdapterAndMerge(t *testing.T) {
	const dir = testdata + "/lora/default"
	model := testdata + "/llama/mha"
	logitsOf(t, dir+"/golden.safetensors", "logits", "--model", model, "--adapter", dir+"/adapter")
	logitsOf(t, dir+"/golden.safetensors", "logits_base", "--model", model+"/model.safetensors", "--threads", "1")

	merged := filepath.Join(t.TempDir(), "merged")
	done(t, "merge", "--model", model, "--adapter", dir+"/adapter", "--out", merged)
	logitsOf(t, dir+"/golden.safetensors", "logits", "--model", merged)
	done(t, "merge", "--model", model, "--adapter", dir+"/adapter", "--out", merged, "--dtype", "bf16")
	if i := inspectJSON(t, merged); len(i.DTypes) != 1 || i.DTypes["BF16"] == 0 {
		t.Errorf("types %v, want BF16 alone", i.DTypes)
	}
	var config map[string]any
	b, err := os.ReadFile(filepath.Join(merged, "config.json"))
	if err == nil {
		err = json.Unmarshal(b, &config)
	}
	if err != nil || config["dtype"] != "bfloat16" || config["vocab_size"] != 96.0 {
		t.Errorf("config %v, %v", config, err)
	}
}

func TestMergeFromGGUF(t *testing.T) {
	const gguf = testdata + "/llama/gguf/chat.F32.gguf"
	dir := t.TempDir()
	adapter, merged := filepath.Join(dir, "adapter"), filepath.Join(dir, "merged")
	plant(t, dir, map[string]string{"d.jsonl": `{"input_ids": [1,2,3,4]}`})
	done(t, "finetune", "--model", gguf, "--data", dir+"/d.jsonl", "--out", adapter, "--steps", "1", "--lr", "0", "--json")
	done(t, "merge", "--model", gguf, "--adapter", adapter, "--out", merged)
	// B is zero: the merged checkpoint is the GGUF file's model.
	logitsOf(t, testdata+"/llama/gguf/chat.F32.golden.safetensors", "logits", "--model", merged)
	if a, b := done(t, "generate", "--model", merged, "--chat", "hello", "--max-tokens", "5"), done(t, "generate", "--model", gguf, "--chat", "hello", "--max-tokens", "5"); a != b {
		t.Errorf("the checkpoint answers %q, want %q", a, b)
	}
	const text = "Hello, world: 12 déjà"
	if got, want := done(t, "tokenize", "--model", merged, "--text", text), done(t, "tokenize", "--model", gguf, "--text", text); got != want {
		t.Errorf("the checkpoint's tokenizer gives %s, want %s", got, want)
	}
}

// Requantising tells what it did: the losses are those of eval.
func TestMergeRequantize(t *testing.T) {
	const base = testdata + "/bnb/nf4"
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": `{"input_ids": [1,2,3,4,5,6,7,8,9]}`})
	data, adapter, merged := filepath.Join(dir, "d.jsonl"), filepath.Join(dir, "adapter"), filepath.Join(dir, "merged")
	if r := tenonCmd(t, "finetune", "--model", base, "--data", data, "--out", adapter, "--steps", "3", "--lr", "1e-2", "--json"); r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	loss := func(args ...string) float64 {
		t.Helper()
		var r struct{ Loss float64 }
		if err := json.Unmarshal([]byte(done(t, append([]string{"eval", "--data", data, "--json"}, args...)...)), &r); err != nil {
			t.Fatal(err)
		}
		return r.Loss
	}
	args := []string{"merge", "--model", base, "--adapter", adapter, "--out", merged}
	var q quantized
	if err := json.Unmarshal([]byte(done(t, append(args, "--requantize", "nf4", "--eval", data, "--json")...)), &q); err != nil {
		t.Fatal(err)
	}
	before, after := loss("--model", base, "--adapter", adapter), loss("--model", merged)
	if len(q.Layers) != 14 || q.RelRMS <= 0 || q.Before.Loss != before || q.After.Loss != after || before == after {
		t.Errorf("%+v, want losses %g and %g", q, before, after)
	}
	if i := inspectJSON(t, merged); i.DTypes["NF4"] == 0 {
		t.Errorf("%v", i.DTypes)
	}
	held := tree(t, dir)
	for _, more := range [][]string{
		{"--requantize", "q4"}, {"--requantize", "q8_0", "--dtype", "bf16"}, {"--requantize", ""}, {"--requantize", "nf4", "--block", "48"},
		{"--eval", data}, {"--json"}, {"--double-quant"}, {"--dtype", "f64"},
	} {
		if r := tenonCmd(t, append(args, more...)...); r.code != exitUsage {
			t.Errorf("%v: %+v", more, r)
		}
	}
	tenonCmd(t, append(args, "--requantize", "q8_0")...).failed(t, base, "is no GGUF file")
	wantTree(t, dir, held)
}

func TestEvalGolden(t *testing.T) {
	b, err := os.ReadFile(testdata + "/train/eval.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Data  string
		Cases []struct {
			Base    string
			Adapter *string
			Loss    float64
			Tokens  int
		}
	}
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	for _, c := range g.Cases {
		args := []string{"eval", "--model", filepath.Join(testdata, c.Base), "--data", filepath.Join(testdata, "train", g.Data), "--json"}
		if c.Adapter != nil {
			args = append(args, "--adapter", filepath.Join(testdata, *c.Adapter))
		}
		var got struct {
			Loss, Perplexity float64
			Tokens           int
		}
		if err := json.Unmarshal([]byte(done(t, args...)), &got); err != nil {
			t.Fatal(err)
		}
		if math.Abs(got.Loss-c.Loss) > tolLoss*c.Loss || got.Tokens != c.Tokens || math.Abs(got.Perplexity-math.Exp(got.Loss)) > 1e-9*got.Perplexity {
			t.Errorf("got %+v, want loss %g, %d tokens", got, c.Loss, c.Tokens)
		}
	}
}

// curveCase is a run of transformers' Trainer and the flags that ask for it.
type curveCase struct {
	Method     string
	Base       string
	Parameters map[string]any
	Curve      []struct {
		Step   int
		Loss   float64
		LR     float64
		Norm   float64 `json:"grad_norm"`
		Tokens int     `json:"input_tokens"`
	}
}

// TestFinetuneGolden runs every training golden by the command.
func TestFinetuneGolden(t *testing.T) {
	cases, err := filepath.Glob(testdata + "/train*/*/case.json")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range cases {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var c curveCase
			if err := json.Unmarshal(b, &c); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "out")
			args := []string{"finetune", "--model", filepath.Join(testdata, c.Base), "--data", dir + "/data.jsonl", "--out", out,
				"--no-shuffle", "--json", "--method", c.Method}
			if c.Method == "lora" {
				args = append(args, "--init-adapter", dir+"/init")
			}
			for k, v := range c.Parameters {
				flag := "--" + strings.ReplaceAll(k, "_", "-")
				if on, ok := v.(bool); ok {
					if on {
						args = append(args, flag)
					}
					continue
				}
				args = append(args, flag, fmt.Sprint(v))
			}
			r := tenonCmd(t, args...)
			if r.code != exitDone || r.err != "" && !strings.Contains(r.err, "have no token to learn") {
				t.Fatalf("%+v", r)
			}
			lines := bufio.NewScanner(strings.NewReader(r.stdout))
			for _, want := range c.Curve {
				if !lines.Scan() {
					t.Fatalf("no line for step %d", want.Step)
				}
				var got map[string]float64
				if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
					t.Fatal(err)
				}
				if got["step"] != float64(want.Step) || got["tokens"] != float64(want.Tokens) || math.Abs(got["lr"]-want.LR) > 1e-12 {
					t.Errorf("step %d: got %v", want.Step, got)
				}
				if math.Abs(got["loss"]-want.Loss) > tolLoss*want.Loss || math.Abs(got["grad_norm"]-want.Norm) > 1e-4*want.Norm {
					t.Errorf("step %d: loss %g, norm %g; want %g, %g", want.Step, got["loss"], got["grad_norm"], want.Loss, want.Norm)
				}
				if got["tokens_per_s"] <= 0 || got["rss_bytes"] <= 0 || len(got) != 7 {
					t.Errorf("step %d: got %v", want.Step, got)
				}
			}
			var end finished
			if !lines.Scan() || json.Unmarshal(lines.Bytes(), &end) != nil || !end.Done || end.Steps != len(c.Curve) || lines.Scan() {
				t.Errorf("the last line is %s", lines.Bytes())
			}
			files := "adapter_config.json adapter_model.safetensors loss.png"
			if c.Method == "full" {
				files = "config.json loss.png model.safetensors"
			}
			if got := strings.Replace(names(t, out), "generation_config.json ", "", 1); got != files {
				t.Errorf("files %s, want %s", got, files)
			}
			if i := inspectJSON(t, out); i.Trainable != int64(end.Params) {
				t.Errorf("%d parameters saved, %d trained", i.Trainable, end.Params)
			}
		})
	}
}

// names returns the entries of a folder in one line.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestFinetuneFlags(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": `{"input_ids": [1,2,3,4,5,6]}`, "held.jsonl": `{"input_ids": [6,5,4,3]}`})
	out := filepath.Join(dir, "out")
	base := []string{"finetune", "--model", testdata + "/llama/mha", "--data", dir + "/d.jsonl", "--out", out, "--json"}
	last := func(args ...string) finished {
		t.Helper()
		var end finished
		lines := strings.Split(strings.TrimSpace(done(t, append(base, args...)...)), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &end); err != nil {
			t.Fatal(err)
		}
		return end
	}
	config := func() map[string]any {
		t.Helper()
		m, err := readConfig(filepath.Join(out, adapterConfig))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if end := last(); end.Steps != 3 { // three epochs, as the Trainer
		t.Errorf("%d steps, want 3", end.Steps)
	}
	if c := config(); c["r"] != 8.0 || c["lora_alpha"] != 16.0 || fmt.Sprint(c["target_modules"]) != "[q_proj v_proj]" || c["use_rslora"] != false {
		t.Errorf("%v", c)
	}
	last("--epochs", "2", "--rank", "4", "--alpha", "2.5", "--targets", "all-linear", "--exclude", "o_proj", "--rslora", "--dropout", "0.1")
	if c := config(); c["r"] != 4.0 || c["lora_alpha"] != 2.5 || c["use_rslora"] != true || c["lora_dropout"] != 0.1 {
		t.Errorf("%v", c)
	}
	for _, x := range inspectJSON(t, out).Tensors {
		if strings.Contains(x.Name, "o_proj") {
			t.Errorf("%s is adapted", x.Name)
		}
	}
	last("--steps", "1", "--targets", "k_proj", "--layers", "1")
	if i := inspectJSON(t, out); len(i.Tensors) != 2 || !strings.Contains(i.Tensors[0].Name, "layers.1.self_attn.k_proj") {
		t.Errorf("%+v", i.Tensors)
	}
	last("--steps", "1", "--targets", `re:.*layers\.0\.mlp\.(up|down)_proj`)
	if i := inspectJSON(t, out); len(i.Tensors) != 4 {
		t.Errorf("%+v", i.Tensors)
	}
	if end := last("--steps", "4", "--eval", dir+"/held.jsonl", "--lr", "0"); end.Eval == nil || end.Eval.Tokens != 3 {
		t.Errorf("%+v", end)
	}
	last("--steps", "1", "--rank-pattern", `layers\.0\.self_attn\.q_proj=3`, "--rank-pattern", "q_proj=2", "--rank-pattern", "v_proj=9", "--alpha-pattern", "(a=b|v_proj)=4.5", "--bias", "lora_only", "--modules-to-save", "norm, lm_head", "--pack")
	if c := config(); fmt.Sprint(c["rank_pattern"]) != `map[layers\.0\.self_attn\.q_proj:3 q_proj:2 v_proj:9]` || fmt.Sprint(c["alpha_pattern"]) != "map[(a=b|v_proj):4.5]" ||
		c["bias"] != "lora_only" || fmt.Sprint(c["modules_to_save"]) != "[norm lm_head]" {
		t.Errorf("%v", c)
	}
	shapes := map[string]string{}
	for _, x := range inspectJSON(t, out).Tensors {
		shapes[strings.TrimPrefix(x.Name, "base_model.model.")] = fmt.Sprint(x.Shape)
	}
	for name, want := range map[string]string{
		"model.layers.0.self_attn.q_proj.lora_A.weight": "[3 32]", "model.layers.1.self_attn.q_proj.lora_A.weight": "[2 32]",
		"model.layers.0.self_attn.v_proj.lora_A.weight": "[9 32]", "model.norm.weight": "[32]", "lm_head.weight": "[96 32]",
	} {
		if shapes[name] != want {
			t.Errorf("%s has shape %s, want %s", name, shapes[name], want)
		}
	}
	// In place: what was trained further replaces what it came from.
	last("--steps", "1", "--init-adapter", out)

	// What the seed decides: the same adapter again, another one with another seed.
	sum := func(args ...string) string {
		t.Helper()
		last(append(args, "--steps", "2")...)
		b, err := os.ReadFile(filepath.Join(out, adapterFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if a := sum(); a != sum("--threads", "2") || a == sum("--seed", "1") {
		t.Error("the adapter does not follow from the seed alone")
	}
	r := tenonCmd(t, append(base, "--steps", "1", "--init-adapter", out, "--rank", "3")...)
	if r.code != exitDone || r.err != "tenon: --rank is not used: --init-adapter has its own configuration\n" {
		t.Errorf("%+v", r)
	}
}

func TestFinetuneErrors(t *testing.T) {
	dir := t.TempDir()
	const model = testdata + "/llama/mha"
	nan := filepath.Join(dir, "nan")
	plant(t, dir, map[string]string{
		"d.jsonl":     `{"input_ids": [1,2,3,4,5,6]}` + "\n",
		"bad.jsonl":   `{"input_ids": [1,2]}` + "\nhello\n",
		"large.jsonl": `{"input_ids": [1,96]}` + "\n",
		"text.jsonl":  `{"text": "a"}` + "\n",
		"none.jsonl":  `{"input_ids": [1,2], "labels": [1,-100]}` + "\n",
		"out/mine":    "precious",
	})
	if err := os.CopyFS(nan, os.DirFS(model)); err != nil {
		t.Fatal(err)
	}
	poison(t, filepath.Join(nan, "model.safetensors"))
	before := tree(t, dir)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--data", "bad.jsonl"}, []string{"bad.jsonl: line 2: not JSON"}},
		{[]string{"--data", "large.jsonl"}, []string{"large.jsonl: line 1: token 1 is id 96, want 0 to 95"}},
		{[]string{"--data", "text.jsonl"}, []string{"text.jsonl: line 1", "tokenizer.json"}},
		{[]string{"--data", "none.jsonl"}, []string{"none.jsonl", "line 1"}},
		{[]string{"--data", "missing.jsonl"}, []string{"missing.jsonl"}},
		{[]string{"--model", filepath.Join(dir, "missing")}, []string{"missing"}},
		{[]string{"--model", nan}, []string{nan, "step 1", "not finite"}},
		{[]string{"--targets", "q_proj,nowhere"}, []string{"nowhere"}},
		{[]string{"--targets", "re:("}, []string{"("}},
		{[]string{"--rank-pattern", "(=2"}, []string{"rank_pattern", "("}},
		{[]string{"--layers", "0,2"}, []string{"--layers has 2", "2 blocks"}},
		{[]string{"--modules-to-save", "nowhere"}, []string{"modules_to_save", "nowhere"}},
		{[]string{"--init-adapter", testdata + "/lora/all-linear-untied/adapter", "--model", testdata + "/llama/gqa-tied"}, []string{"adapter_model.safetensors"}},
		{[]string{"--out", model}, []string{"is what --model reads"}},
		{[]string{"--out", filepath.Join(dir, "d.jsonl")}, []string{"is a file"}},
		{[]string{"--eval", filepath.Join(dir, "bad.jsonl")}, []string{"bad.jsonl: line 2"}},
	} {
		args := map[string]string{"--model": model, "--data": "d.jsonl", "--out": filepath.Join(dir, "out"), "--steps": "2"}
		for i := 0; i < len(c.args); i += 2 {
			args[c.args[i]] = c.args[i+1]
		}
		args["--data"] = filepath.Join(dir, args["--data"])
		list := []string{"finetune", "--json"}
		for k, v := range args {
			list = append(list, k, v)
		}
		r := tenonCmd(t, list...)
		if strings.Contains(r.err, "none.jsonl: 1 of 1 lines") { // a warning before the error
			_, r.err, _ = strings.Cut(r.err, "\n")
		}
		r.failed(t, c.want...)
		if t.Failed() {
			t.Fatalf("%v", c.args)
		}
	}
	wantTree(t, dir, before)

	for _, args := range [][]string{
		{}, {"--model", model}, {"--model", model, "--data", "d"},
		{"--steps", "1", "--epochs", "1"}, {"--steps", "0"}, {"--epochs", "-1"}, {"--batch", "0"}, {"--accumulate", "0"}, {"--seq", "0"},
		{"--lr", "-1"}, {"--lr", "NaN"}, {"--clip", "-1"}, {"--warmup", "Inf"}, {"--weight-decay", "-0.1"}, {"--schedule", "steep"},
		{"--method", "magic"}, {"--rank", "0"}, {"--dropout", "1"}, {"--layers", "a"}, {"--layers", "-1"}, {"--threads", "-1"}, {"extra"},
		{"--method", "full", "--init-adapter", "x"}, {"--bias", "some"}, {"--modules-to-save", ","}, {"--rank-pattern", "q_proj"}, {"--rank-pattern", "=3"},
		{"--rank-pattern", "q_proj=x"}, {"--rank-pattern", "q_proj=1.5"}, {"--rank-pattern", "q_proj=2", "--rank-pattern", "q_proj=3"},
		{"--alpha-pattern", "q_proj=NaN"}, {"--save-every", "-1"}, {"--save-total", "-1"},
		{"--alpha", "0"}, {"--alpha-pattern", "q_proj=0"}, {"--targets", ""}, {"--targets", " ,"}, {"--exclude", ""}, {"--layers", ""}, {"--modules-to-save", ""},
		{"--weights", "f16"}, {"--weights", ""}, {"--weights", "stored", "--method", "full"},
	} {
		if len(args) > 0 && args[0] != "--model" {
			args = append([]string{"--model", model, "--data", "d", "--out", "o"}, args...)
		}
		if r := tenonCmd(t, append([]string{"finetune"}, args...)...); r.code != exitUsage || r.stdout != "" || !strings.Contains(r.err, "Usage:") {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// TestFinetuneIdle warns of flags that change nothing, which PEFT takes in silence.
func TestFinetuneIdle(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": `{"input_ids": [1,2,3,4,5,6]}`})
	for _, c := range []struct {
		args []string
		want string // what the warning names, "" for none
	}{
		{[]string{"--exclude", "v_proj", "--rank-pattern", "q_proj=2", "--alpha-pattern", `layers\.0\..*=2`}, ""},
		{[]string{"--exclude", "re:.*v_proj"}, ""},
		{[]string{"--exclude", "v_proj,o_proj"}, `--exclude: "o_proj"`},
		{[]string{"--exclude", "re:.*down.*"}, `--exclude: ".*down.*"`},
		{[]string{"--rank-pattern", "o_proj=2"}, `--rank-pattern: "o_proj"`},
		{[]string{"--rank-pattern", "q_proj=2", "--rank-pattern", `layers\.0.*q_proj=3`}, `--rank-pattern: "layers\\.0.*q_proj"`},
		{[]string{"--alpha-pattern", "q=3"}, `--alpha-pattern: "q"`},
	} {
		r := tenonCmd(t, append([]string{"finetune", "--model", testdata + "/llama/mha", "--data", dir + "/d.jsonl", "--out", dir + "/out", "--steps", "1", "--json"}, c.args...)...)
		warned := strings.Contains(r.err, "matches no layer that is adapted")
		if r.code != exitDone || warned != (c.want != "") || !strings.Contains(r.err, c.want) {
			t.Errorf("%v: %+v", c.args, r)
		}
	}
}

// poison puts a NaN into a file's last tensor.
func poison(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[len(b)-4:], []byte{0, 0, 0xc0, 0x7f})
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// A run that goes wrong leaves what --out holds alone and keeps the last good
// state.
func TestFinetuneKeepsLastGoodState(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": `{"input_ids": [1,2,3,4,5,6]}`, "out/adapter_config.json": "old"})
	out := filepath.Join(dir, "out")
	args := []string{"finetune", "--json", "--model", testdata + "/llama/mha", "--data", dir + "/d.jsonl", "--out", out, "--steps", "5"}
	var stderr strings.Builder
	// The third step's line cannot be written, but the step is done.
	code := Main(args, strings.NewReader(""), &failAfter{n: 2}, &stderr)
	result{code, "", stderr.String()}.failed(t, fmt.Sprintf("the last good state is in %q", out+"/checkpoint-3"))
	if got := names(t, out); got != "adapter_config.json checkpoint-3" {
		t.Errorf("--out holds %s", got)
	}
	if got := names(t, out+"/checkpoint-3"); got != "SHA256SUMS adapter_config.json adapter_model.safetensors optimizer.safetensors trainer_state.json" {
		t.Errorf("the kept state holds %s", got)
	}
	inspectJSON(t, out+"/checkpoint-3")
	if got := names(t, dir); got != "d.jsonl out" {
		t.Errorf("the folder holds %s", got)
	}
	// A fresh run does not mix its checkpoints with those of that one.
	tenonCmd(t, args...).failed(t, out, "holds checkpoint-3 of a run that is not finished", "--resume")
}

// failAfter is a writer that fails after n writes.
type failAfter struct{ n int }

func (w *failAfter) Write(p []byte) (int, error) {
	if w.n--; w.n < 0 {
		return 0, os.ErrClosed
	}
	return len(p), nil
}

func TestGenerate(t *testing.T) {
	const model = testdata + "/llama/chat"
	var g tenon.Generation
	if err := json.Unmarshal([]byte(done(t, "generate", "--model", model, "--prompt", "hello", "--max-tokens", "12", "--json")), &g); err != nil {
		t.Fatal(err)
	}
	if g.Tokens != len(g.IDs) || g.Tokens == 0 || g.Tokens > 12 || g.PromptTokens == 0 || g.PromptTokensPerSec <= 0 {
		t.Errorf("%+v", g)
	}
	if out := done(t, "generate", "--model", model, "--prompt", "hello", "--max-tokens", "12"); out != g.Text+"\n" {
		t.Errorf("streamed %q, want %q", out, g.Text)
	}
	// The GGUF file is the same model, with the same tokenizer.
	var h tenon.Generation
	if err := json.Unmarshal([]byte(done(t, "generate", "--model", testdata+"/llama/gguf/chat.F32.gguf", "--prompt", "hello", "--max-tokens", "12", "--json")), &h); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(h.IDs) != fmt.Sprint(g.IDs) || h.Text != g.Text {
		t.Errorf("GGUF gives %+v, want %+v", h, g)
	}
	if len(g.Text) > 2 {
		stop := g.Text[len(g.Text)/2:]
		if out := done(t, "generate", "--model", model, "--prompt", "hello", "--max-tokens", "12", "--stop", stop); out != g.Text[:strings.Index(g.Text, stop)]+"\n" {
			t.Errorf("stopped at %q: %q", stop, out)
		}
	}
	done(t, "generate", "--model", model, "--chat", "hello", "--max-tokens", "3", "--temperature", "1", "--top-k", "5", "--top-p", "0.9", "--seed", "7")
	a := done(t, "generate", "--model", model, "--prompt", "a", "--max-tokens", "9", "--temperature", "2", "--seed", "7", "--json")
	b := done(t, "generate", "--model", model, "--prompt", "a", "--max-tokens", "9", "--temperature", "2", "--seed", "7", "--json")
	var x, y tenon.Generation
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil || x.Text != y.Text {
		t.Errorf("the same seed gives %q and %q", x.Text, y.Text)
	}

	tenonCmd(t, "generate", "--model", testdata+"/llama/mha", "--prompt", "a").failed(t, "tokenizer.json")
	for _, args := range [][]string{
		{"--model", model}, {"--model", model, "--prompt", "a", "--chat", "b"}, {"--model", model, "--prompt", "a", "--max-tokens", "0"},
		{"--model", model, "--prompt", "a", "--temperature", "-1"}, {"--model", model, "--prompt", "a", "--top-p", "2"}, {"--model", model, "--prompt", "a", "--stop", ""},
	} {
		if r := tenonCmd(t, append([]string{"generate"}, args...)...); r.code != exitUsage {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

func TestComputeErrors(t *testing.T) {
	dir := t.TempDir()
	const model = testdata + "/llama/mha"
	nan := filepath.Join(dir, "nan")
	if err := os.CopyFS(nan, os.DirFS(model)); err != nil {
		t.Fatal(err)
	}
	poison(t, filepath.Join(nan, "model.safetensors"))
	plant(t, dir, map[string]string{"d.jsonl": `{"input_ids": [1,2,3]}`, "old.safetensors": "old"})
	out := filepath.Join(dir, "old.safetensors")
	tenonCmd(t, "logits", "--model", nan, "--tokens", "1,2", "--out", out).failed(t, nan, "not finite")
	tenonCmd(t, "eval", "--model", nan, "--data", dir+"/d.jsonl").failed(t, nan, "d.jsonl", "not finite")
	tenonCmd(t, "logits", "--model", model, "--tokens", "1,96", "--out", out).failed(t, "token 1 is id 96, want 0 to 95")
	tenonCmd(t, "logits", "--model", model, "--tokens", "1", "--out", dir+"/none/x.safetensors").failed(t, "none")
	tenonCmd(t, "logits", "--model", testdata+"/llama/gqa-tied", "--adapter", testdata+"/lora/default/adapter", "--tokens", "1", "--out", out).failed(t, "adapter_model.safetensors")
	tenonCmd(t, "merge", "--model", model, "--adapter", testdata+"/lora/default/adapter", "--out", testdata+"/lora/default/adapter").failed(t, "is what --adapter reads")
	if b, err := os.ReadFile(out); err != nil || string(b) != "old" {
		t.Errorf("the file is %q, %v", b, err)
	}
	for _, args := range [][]string{
		{"logits", "--model", model, "--tokens", "", "--out", out}, {"logits", "--model", model, "--tokens", "1;2", "--out", out}, {"logits", "--model", model, "--tokens", "1"},
		{"eval", "--model", model}, {"eval", "--model", model, "--data", "x", "--seq", "-1"},
		{"merge", "--model", model, "--adapter", "x"}, {"merge", "--model", model, "--adapter", "x", "--out", "o", "--dtype", "f64"},
	} {
		if r := tenonCmd(t, args...); r.code != exitUsage {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// What a configuration asks for and its family ignores is said once.
func TestConfigWarnings(t *testing.T) {
	dir := t.TempDir()
	model := filepath.Join(dir, "model")
	if err := os.CopyFS(model, os.DirFS(testdata+"/llama/mha")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(model, "config.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), `"attention_bias"`, `"partial_rotary_factor": 0.5, "attention_bias"`, 1)
	plant(t, dir, map[string]string{"model/config.json": text, "d.jsonl": `{"input_ids": [1,2,3,4]}`})
	for _, args := range [][]string{
		{"logits", "--tokens", "1,2", "--out", dir + "/l.safetensors"},
		{"finetune", "--json", "--data", dir + "/d.jsonl", "--out", dir + "/out", "--save-every", "1"},
		{"eval", "--data", dir + "/d.jsonl"},
	} {
		r := tenonCmd(t, append(args, "--model", model)...)
		if r.code != exitDone || strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "tenon: "+model) || !strings.Contains(r.err, "partial_rotary_factor") {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// TestCompute sees that --compute reaches the products: other logits, near by.
func TestCompute(t *testing.T) {
	dir := t.TempDir()
	logits := func(compute, model string, tokens string) []float32 {
		out := filepath.Join(dir, "logits.safetensors")
		done(t, "logits", "--model", model, "--tokens", tokens, "--out", out, "--compute", compute)
		x, _ := values(t, out, "logits")
		return x
	}
	const half = testdata + "/autocast/model"
	tokens := strings.TrimSuffix(strings.Repeat("3,5,8,13,", 8), ",")
	exact, rounded := logits("f32", half, tokens), logits("bf16", half, tokens)
	var off float64
	for i, v := range exact {
		off = max(off, math.Abs(float64(rounded[i]-v)))
	}
	if !(off > 1e-3 && off < 0.5) {
		t.Errorf("logits in BF16 are off by %g", off)
	}
	const quantized = testdata + "/llama/gguf/chat.Q4_0.gguf"
	if asm.HasInt16() && slices.Equal(logits("f32", quantized, "1,2"), logits("int16", quantized, "1,2")) {
		t.Error("int16 changes nothing")
	}

	plant(t, dir, map[string]string{"d.jsonl": resumeData})
	data := filepath.Join(dir, "d.jsonl")
	eval := func(compute string) string {
		return done(t, "eval", "--model", half, "--data", data, "--json", "--compute", compute)
	}
	if eval("f32") != eval("int16") { // no weight is quantised
		t.Error("int16 changes F32 weights")
	}
	out := filepath.Join(dir, "out")
	done(t, "finetune", "--model", half, "--data", data, "--out", out, "--steps", "2", "--json", "--compute", "bf16", "--save-every", "1")
	tenonCmd(t, "finetune", "--resume", out, "--compute", "f32").failed(t, "--compute is f32, was bf16")
	for _, args := range [][]string{
		{"logits", "--tokens", "1", "--out", "x"}, {"generate", "--prompt", "a"}, {"eval", "--data", data}, {"finetune", "--data", data, "--out", "o"}, {"bench"},
	} {
		if r := tenonCmd(t, append(args, "--model", half, "--compute", "f64")...); r.code != exitUsage || !strings.Contains(r.err, `--compute is "f64", want f32, bf16 or int16`) {
			t.Errorf("%v: %+v", args, r)
		}
	}
}
