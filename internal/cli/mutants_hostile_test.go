package cli

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/internal/mutate"
	"github.com/tenon-ml/tenon/tensor"
)

// copyDir copies the files of a folder.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// hashOf is the hash of all files of a folder with their names.
func hashOf(t *testing.T, dir string) (sum [sha256.Size]byte) {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%q %d\n", path, len(b))
		h.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// command runs a command and returns what it says on stderr, but for warnings, as
// an error.
func command(args ...string) (stdout string, err error) {
	var out, stderr bytes.Buffer
	code := Main(args, strings.NewReader(""), &out, &stderr)
	if code == exitDone {
		return out.String(), nil
	}
	lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
	last := lines[len(lines)-1]
	for _, l := range lines[:len(lines)-1] {
		if !strings.HasPrefix(l, "tenon: ") { // a warning
			last = stderr.String()
		}
	}
	if code != exitFailed {
		last = fmt.Sprintf("status %d\n%s", code, stderr.String())
	}
	return out.String(), errors.New(last)
}

// finiteFile checks that a command's tensor file holds numbers.
func finiteFile(path string) error {
	f, err := safetensors.Open(path)
	if err != nil {
		return fmt.Errorf("the result: %w", err)
	}
	defer f.Close()
	for name, info := range f.All() {
		x := make([]float32, tensor.Shape(info.Shape).Elems())
		if err := f.Decode(x, name); err != nil {
			return err
		}
		for i, v := range x {
			if d := float64(v); math.IsNaN(d) || math.IsInf(d, 0) {
				return fmt.Errorf("the result\n%s is %g at %d", name, v, i)
			}
		}
	}
	return nil
}

// hostile runs a command on mutants of one file. The command may do its job, and
// then check looks at the result; or fail with one line that names the file's
// folder, and leave what was at out untouched.
func hostile(t *testing.T, file string, mutants iter.Seq[mutate.Mutant], out string, check func() error, args ...string) {
	t.Helper()
	was := os.FileInfo(nil)
	if info, err := os.Stat(out); err == nil {
		was = info
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var before [sha256.Size]byte
	if was != nil && was.IsDir() {
		before = hashOf(t, out)
	}
	defer os.WriteFile(file, good, 0o600) // for the next test, if this one ends early
	accepted, refused := 0, 0
	for m := range mutants {
		if err := os.WriteFile(file, m.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		about := filepath.Base(file) + ": " + m.About
		failed := false
		ok := mutate.Guard(t, about, func() error {
			_, err := command(args...)
			if failed = err != nil; failed || check == nil {
				return err
			}
			return check()
		}, filepath.Dir(file))
		if ok {
			accepted++
		} else {
			refused++
		}
		if was != nil && was.IsDir() {
			after := hashOf(t, out)
			if failed && after != before {
				t.Errorf("%s: %s has changed", about, out)
			}
			before = after
		}
		if t.Failed() && testing.Short() {
			break
		}
	}
	t.Logf("%s: %d accepted, %d refused", filepath.Base(file), accepted, refused)
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := command(args...); err != nil {
		t.Errorf("the good file: %v", err)
	}
	if refused == 0 {
		t.Error("nothing was refused: the mutations do not bite")
	}
}

const seed = 20

func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A model's files, by the command that computes with them and by inspect.
func TestHostileModel(t *testing.T) {
	n := mutate.Rounds(t, 300)
	for _, family := range []string{"llama/mha", "families/qwen3", "families/mistral-rope-yarn", "llama/rope-llama3"} {
		dir := filepath.Join(t.TempDir(), "model")
		copyDir(t, filepath.Join(testdata, family), dir)
		out := filepath.Join(t.TempDir(), "logits.safetensors")
		logits := []string{"logits", "--model", dir, "--tokens", "1,2,3,4", "--out", out, "--threads", "1"}
		check := func() error { return finiteFile(out) }
		t.Run(family+"/config.json", func(t *testing.T) {
			file := filepath.Join(dir, "config.json")
			hostile(t, file, mutate.JSON(seed, n, content(t, file), `"llama"`, `"mistral"`, `"qwen2"`, `"qwen3"`, `"dynamic"`, `"yarn"`, `"linear"`, `"llama3"`, `"longrope"`, `"gelu"`, `4`, `8`, `16`, `32`, `64`), out, check, logits...)
			hostile(t, file, mutate.JSON(seed+1, n/3, content(t, file)), "", nil, "inspect", "--json", dir)
		})
		if family != "llama/mha" {
			continue
		}
		t.Run(family+"/model.safetensors", func(t *testing.T) {
			file := filepath.Join(dir, "model.safetensors")
			hostile(t, file, mutate.Safetensors(seed, n, content(t, file)), out, check, logits...)
			hostile(t, file, mutate.Safetensors(seed+1, n/3, content(t, file)), "", nil, "inspect", file)
		})
	}
}

func TestHostileIndex(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	copyDir(t, testdata+"/llama/sharded", dir)
	out := filepath.Join(t.TempDir(), "logits.safetensors")
	file := filepath.Join(dir, "model.safetensors.index.json")
	hostile(t, file, mutate.Index(seed, mutate.Rounds(t, 300), content(t, file)), out, func() error { return finiteFile(out) },
		"logits", "--model", dir, "--tokens", "1,2,3", "--out", out, "--threads", "1")
}

func TestHostileGGUF(t *testing.T) {
	n := mutate.Rounds(t, 300)
	for _, name := range []string{"llama/gguf/chat.F32.gguf", "families/gguf/qwen3.Q5_1.gguf", "families/gguf/mistral-yarn-beta.F32.gguf"} {
		t.Run(name, func(t *testing.T) {
			good := content(t, filepath.Join(testdata, name))
			dir := t.TempDir()
			file, out := filepath.Join(dir, "m.gguf"), filepath.Join(t.TempDir(), "logits.safetensors")
			if err := os.WriteFile(file, good, 0o600); err != nil {
				t.Fatal(err)
			}
			hostile(t, file, mutate.GGUF(seed, n, good), out, func() error { return finiteFile(out) },
				"logits", "--model", file, "--tokens", "1,2,3", "--out", out, "--threads", "1")
			hostile(t, file, mutate.GGUF(seed+1, n/3, good), "", nil, "inspect", "--json", file)
			if strings.Contains(name, "chat") {
				hostile(t, file, mutate.GGUF(seed+2, n, good), "", nil, "tokenize", "--model", file, "--text", "Hello, <|im_start|> wörld 123")
				hostile(t, file, mutate.GGUF(seed+3, n, good), "", nil, "generate", "--model", file, "--chat", "Hello", "--max-tokens", "3", "--threads", "1")
			}
		})
	}
}

// An adapter's files, by merge into a folder that exists: it stays as it was
// unless the merge is done.
func TestHostileAdapter(t *testing.T) {
	n := mutate.Rounds(t, 250)
	for _, name := range []string{"default", "layers-pattern", "head"} {
		t.Run(name, func(t *testing.T) {
			dir, out := filepath.Join(t.TempDir(), "adapter"), filepath.Join(t.TempDir(), "merged")
			model := testdata + "/llama/mha"
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(testdata, "lora", name, "adapter"))); err != nil {
				t.Fatal(err)
			}
			args := []string{"merge", "--model", model, "--adapter", dir, "--out", out, "--threads", "1"}
			if _, err := command(args...); err != nil {
				t.Skipf("%v", err) // another model's
			}
			check := func() error { return finiteFile(filepath.Join(out, "model.safetensors")) }
			file := filepath.Join(dir, "adapter_config.json")
			hostile(t, file, mutate.JSON(seed, n, content(t, file), `["q_proj"]`, `["model"]`, `["embed_tokens"]`, `[0]`, `[[0,1]]`, `[[0,1000000000]]`, `[[0,2],[0,2],[0,2]]`, `{"q_proj":4}`, `{"(":4}`, `{"q_proj":-1}`, `"gaussian"`, `"pissa"`, `"all"`, `"lora_only"`, `"LORA"`, `"IA3"`, `4`, `1e-30`), out, check, args...)
			hostile(t, file, mutate.JSON(seed+1, n/3, content(t, file)), "", nil, "inspect", dir)
			file = filepath.Join(dir, "adapter_model.safetensors")
			hostile(t, file, mutate.Safetensors(seed, n, content(t, file)), out, check, args...)
			hostile(t, file, mutate.Safetensors(seed+1, n/3, content(t, file)), "", nil, "inspect", dir)
		})
	}
}

// Pickles are refused and never read.
func TestHostilePickle(t *testing.T) {
	pickle := []byte("\x80\x02cposix\nsystem\nq\x00X\x0c\x00\x00\x00touch PWNEDq\x01\x85q\x02Rq\x03.")
	for _, name := range []string{"adapter_model.bin", "pytorch_adapter.bin", "adapter_model.pt", "pytorch_model.bin"} {
		dir := filepath.Join(t.TempDir(), "adapter")
		copyDir(t, testdata+"/lora/default/adapter", dir)
		if err := errors.Join(os.Remove(filepath.Join(dir, "adapter_model.safetensors")), os.WriteFile(filepath.Join(dir, name), pickle, 0o600)); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"logits", "--model", testdata + "/llama/mha", "--adapter", dir, "--tokens", "1", "--out", filepath.Join(t.TempDir(), "o")},
			{"inspect", dir},
		} {
			_, err := command(args...)
			if err == nil {
				t.Fatalf("%s: accepted", name)
			}
			mutate.Line(t, name, err.Error(), dir)
		}
	}
	dir := filepath.Join(t.TempDir(), "model")
	copyDir(t, testdata+"/llama/mha", dir)
	if err := errors.Join(os.Remove(filepath.Join(dir, "model.safetensors")), os.WriteFile(filepath.Join(dir, "pytorch_model.bin"), pickle, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := command("logits", "--model", dir, "--tokens", "1", "--out", filepath.Join(t.TempDir(), "o")); err == nil {
		t.Fatal("accepted")
	} else {
		mutate.Line(t, "pytorch_model.bin", err.Error(), dir)
	}
}

// Data files, by eval and, before the first step, by finetune into a folder that
// exists.
func TestHostileData(t *testing.T) {
	const model = testdata + "/llama/chat"
	dir := t.TempDir()
	file, out := filepath.Join(dir, "data.jsonl"), filepath.Join(t.TempDir(), "adapter")
	good := []byte(`{"text": "Hello, world"}
{"prompt": "What?", "completion": " That."}
{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}
{"input_ids": [1, 2, 3, 4], "labels": [-100, 2, 3, 4], "attention_mask": [1, 1, 1, 1]}
`)
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	n := mutate.Rounds(t, 300)
	hostile(t, file, mutate.Lines(seed, n, good), "", nil, "eval", "--model", model, "--data", file, "--seq", "64", "--threads", "1")
	finetune := []string{"finetune", "--model", model, "--data", file, "--out", out, "--steps", "1", "--seq", "64", "--threads", "1", "--json"}
	if _, err := command(finetune...); err != nil {
		t.Fatal(err)
	}
	hostile(t, file, mutate.Lines(seed+1, n/4, good), out, nil, finetune...)
}

// short leaves out the templates that make a long prompt out of a short message,
// which a model may take its time for.
func short(all iter.Seq[mutate.Mutant]) iter.Seq[mutate.Mutant] {
	return func(yield func(mutate.Mutant) bool) {
		for m := range all {
			if !bytes.Contains(m.Data, []byte("%' * 100000")) && !yield(m) {
				return
			}
		}
	}
}

// The tokenizer's files and the chat template of a folder, by generate.
func TestHostileText(t *testing.T) {
	n := mutate.Rounds(t, 250)
	dir := filepath.Join(t.TempDir(), "model")
	copyDir(t, testdata+"/llama/chat", dir)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	chat := []string{"generate", "--model", dir, "--chat", "Hello", "--max-tokens", "2", "--threads", "1"}
	for _, f := range files {
		file := filepath.Join(dir, f.Name())
		switch name := f.Name(); {
		case name == "config.json", name == "tokenizer_golden.json":
		case strings.HasSuffix(name, ".json"):
			t.Run(name, func(t *testing.T) {
				hostile(t, file, mutate.JSON(seed, n, content(t, file)), "", nil, chat...)
			})
		case strings.HasSuffix(name, ".jinja"):
			t.Run(name, func(t *testing.T) {
				hostile(t, file, short(mutate.Template(seed, max(n, len(mutate.Templates)), string(content(t, file)))), "", nil, chat...)
			})
		}
	}
}
