package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/train"
)

// resumeData is lines of unequal lengths.
var resumeData = func() string {
	var b strings.Builder
	for i := range 11 {
		ids := []int{}
		for j := range 3 + i%5 {
			ids = append(ids, (7*i+11*j)%90+1)
		}
		line, _ := json.Marshal(map[string]any{"input_ids": ids})
		b.Write(append(line, '\n'))
	}
	return b.String()
}()

// results returns the files of a folder that are not those of checkpoints.
func results(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := tree(t, dir)
	maps.DeleteFunc(all, func(name, _ string) bool { return strings.HasPrefix(name, "checkpoint-") })
	if len(all) == 0 {
		t.Fatalf("%s is empty", dir)
	}
	return all
}

// stepLines returns the lines of `finetune --json` without what the clock and the
// machine decide, from a step on.
func stepLines(t *testing.T, stdout string, from int) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(stdout) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{"tokens_per_s", "rss_bytes", "seconds", "out", "planned_bytes", "planned_for_longest_bytes", "besides_bytes", "measured_bytes"} {
			delete(m, k)
		}
		if step, ok := m["step"].(float64); !ok || int(step) >= from {
			out = append(out, m)
		}
	}
	return out
}

// A run that goes on from a checkpoint has the bits of one that never stopped, in
// every file and every line, whatever it trains and however it takes its data.
func TestResume(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": resumeData, "held.jsonl": `{"input_ids": [6,5,4,3]}`})
	const mha, bias, tied = testdata + "/llama/mha", testdata + "/llama/bias", testdata + "/llama/gqa-tied"
	for _, c := range []struct {
		name, model string
		args        []string
	}{
		{"plain", mha, []string{"--steps", "7", "--no-shuffle"}},
		{"dropout and shuffle", mha, []string{"--epochs", "2", "--batch", "3", "--dropout", "0.3", "--seed", "5", "--schedule", "cosine", "--warmup", "3"}},
		{"accumulate", mha, []string{"--epochs", "2", "--batch", "2", "--accumulate", "2", "--weight-decay", "0.1", "--schedule", "linear"}},
		{"pack", mha, []string{"--epochs", "4", "--pack", "--seq", "16", "--targets", "all-linear", "--rslora"}},
		{"eval", mha, []string{"--steps", "7", "--eval", dir + "/held.jsonl"}},
		{"full", mha, []string{"--steps", "7", "--method", "full", "--batch", "2", "--weight-decay", "0.1"}},
		{"full, tied, from GGUF", testdata + "/llama/gguf/chat.F32.gguf", []string{"--steps", "7", "--method", "full"}},
		{"full, tied", tied, []string{"--steps", "7", "--method", "full"}},
		{"full, a head stored beside tied embeddings", testdata + "/llama/tied-with-head", []string{"--steps", "7", "--method", "full"}},
		{"full, sharded", testdata + "/llama/sharded", []string{"--steps", "7", "--method", "full"}},
		{"in 8 bits", mha, []string{"--steps", "7", "--optim", "adamw8bit", "--targets", "all-linear", "--rank", "200"}},
		{"paged", mha, []string{"--steps", "7", "--optim", "paged_adamw", "--memory", "3MB"}},
		{"full, BF16", testdata + "/llama/bf16", []string{"--steps", "7", "--method", "full"}},
		{"patterns", mha, []string{"--steps", "7", "--rank-pattern", "q_proj=2", "--rank-pattern", `.*_proj=3`, "--alpha-pattern", "v_proj=4.5", "--layers", "0"}},
		{"saved head of a tied model", tied, []string{"--steps", "7", "--modules-to-save", "lm_head"}},
		{"biases", bias, []string{"--steps", "7", "--bias", "all"}},
		{"embeddings", tied, []string{"--steps", "7", "--targets", "embed_tokens,q_proj"}},
		{"adapter gone on with", mha, []string{"--steps", "7", "--init-adapter", testdata + "/lora/default/adapter"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at := t.TempDir()
			whole, saving, cut := filepath.Join(at, "whole"), filepath.Join(at, "saving"), filepath.Join(at, "cut")
			args := append([]string{"finetune", "--model", c.model, "--data", dir + "/d.jsonl", "--lr", "1e-2", "--json"}, c.args...)
			run := func(args ...string) string {
				t.Helper()
				r := tenonCmd(t, args...)
				if r.code != exitDone {
					t.Fatalf("%q: %+v", args, r)
				}
				return r.stdout
			}
			lines := run(append(args, "--out", whole)...)
			want := results(t, whole)
			run(append(args, "--out", saving, "--save-every", "2")...)
			if d := cmp.Diff(want, results(t, saving)); d != "" {
				t.Error("saving changes the result")
			}
			list, err := checkpointSteps(saving)
			if err != nil || len(list) < 3 || !finishedRun(saving) {
				t.Fatalf("checkpoints %v, %v", list, err)
			}
			for _, step := range []int{list[0], list[len(list)-1]} {
				name := checkpointName(step)
				if err := os.RemoveAll(cut); err != nil {
					t.Fatal(err)
				}
				if err := os.CopyFS(filepath.Join(cut, name), os.DirFS(filepath.Join(saving, name))); err != nil {
					t.Fatal(err)
				}
				resume := []string{"finetune", "--json", "--threads", "3", "--resume", cut}
				if step == list[0] { // once with all options again, and what makes no difference
					resume = append(args, "--out", cut, "--resume", filepath.Join(cut, name), "--recompute")
				}
				got := run(resume...)
				if d := cmp.Diff(want, results(t, cut)); d != "" {
					t.Errorf("another result from %s", name)
				}
				if d := cmp.Diff(stepLines(t, lines, step+1), stepLines(t, got, 0)); d != "" {
					t.Errorf("from %s: %s", name, d)
				}
			}
		})
	}
}

func TestResumeErrors(t *testing.T) {
	dir := t.TempDir()
	const model = testdata + "/llama/mha"
	plant(t, dir, map[string]string{"d.jsonl": resumeData, "other.jsonl": resumeData + resumeData, "empty/x": "", "file": ""})
	out, data := filepath.Join(dir, "out"), filepath.Join(dir, "d.jsonl")
	args := []string{"finetune", "--model", model, "--data", data, "--json", "--steps", "6", "--rank-pattern", "q_proj=2", "--lr", "1e-3"}
	done(t, append(args, "--out", out, "--save-every", "2")...)
	whole := results(t, out)
	reset := func() {
		t.Helper()
		entries, err := os.ReadDir(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "checkpoint-2" && e.Name() != "checkpoint-4" {
				if err := os.RemoveAll(filepath.Join(out, e.Name())); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	reset()
	before := tree(t, dir)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--resume", dir + "/nowhere"}, []string{"nowhere", "no such file"}},
		{[]string{"--resume", dir + "/file"}, []string{"is a file"}},
		{[]string{"--resume", dir + "/empty"}, []string{"empty", "there is no checkpoint in it"}},
		{[]string{"--resume", out, "--lr", "1e-2", "--steps", "8", "--rank", "4", "--pack", "--rank-pattern", "q_proj=3"}, []string{
			"checkpoint-4", "--lr is 0.01, was 0.001", "--steps is 8, was 6", "--rank is 4, was 8", "--pack is true, was false", "--rank-pattern is q_proj=3, was q_proj=2"}},
		{[]string{"--resume", out, "--epochs", "2"}, []string{"--epochs is 2, was not given"}},
		{[]string{"--resume", out, "--method", "full"}, []string{"--method is full, was lora"}},
		{[]string{"--resume", out, "--init-adapter", testdata + "/lora/default/adapter"}, []string{"--init-adapter is", "was not given"}},
		{[]string{"--resume", out, "--data", dir + "/other.jsonl"}, []string{"other.jsonl", "its content has changed"}},
		{[]string{"--resume", out, "--model", testdata + "/llama/bias"}, []string{"llama/bias", "its content has changed"}},
		{append(slices.Clone(args[1:]), "--out", out), []string{"out", "holds checkpoint-4 of a run that is not finished"}},
		{[]string{"--resume", out + "/checkpoint-2", "--out", out, "--eval", out + "/checkpoint-2/x"}, []string{"which --eval reads"}},
	} {
		tenonCmd(t, append([]string{"finetune"}, c.args...)...).failed(t, c.want...)
	}
	wantTree(t, dir, before)

	// What is damaged is never taken for something else.
	damage := func(name string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(out, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(out, name), b[:len(b)-3], 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	restore := func() {
		t.Helper()
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
		for name, content := range before {
			if !strings.HasSuffix(name, "/") {
				plant(t, dir, map[string]string{name: content})
			}
		}
	}
	for _, name := range []string{"optimizer.safetensors", "adapter_model.safetensors", "adapter_config.json", "trainer_state.json"} {
		damage("checkpoint-4/" + name)
		tenonCmd(t, "finetune", "--resume", out+"/checkpoint-4").failed(t, "checkpoint-4/"+name)
		r := tenonCmd(t, "finetune", "--json", "--resume", out)
		if r.code != exitDone || !strings.Contains(r.err, "checkpoint-4/"+name) || !strings.Contains(r.err, "checkpoint-2\", the one before") {
			t.Errorf("%s: %+v", name, r)
		}
		if d := cmp.Diff(whole, results(t, out)); d != "" {
			t.Errorf("%s: another result", name)
		}
		restore()
		damage("checkpoint-4/" + name)
		damage("checkpoint-2/" + name)
		tenonCmd(t, "finetune", "--resume", out).failed(t, "no checkpoint in it is whole", name)
		restore()
	}
}

// A checkpoint that has another name is gone on from only if it is said where to.
func TestResumeRenamed(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": resumeData})
	out, kept := filepath.Join(dir, "out"), filepath.Join(dir, "kept")
	done(t, "finetune", "--json", "--model", testdata+"/llama/mha", "--data", dir+"/d.jsonl", "--out", out, "--steps", "4", "--save-every", "2")
	want := results(t, out)
	if err := os.Rename(filepath.Join(out, "checkpoint-2"), kept); err != nil {
		t.Fatal(err)
	}
	if r := tenonCmd(t, "finetune", "--resume", kept); r.code != exitUsage || !strings.Contains(r.err, "--out is missing") {
		t.Errorf("%+v", r)
	}
	done(t, "finetune", "--json", "--resume", kept, "--out", dir+"/other")
	if d := cmp.Diff(want, results(t, dir+"/other")); d != "" {
		t.Error("another result")
	}
	// A state that names what is no option of a run.
	path := filepath.Join(kept, train.StateFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(b, []byte(`"lr"`), []byte(`"help"`), 1), 0o666); err != nil {
		t.Fatal(err)
	}
	tenonCmd(t, "finetune", "--resume", kept, "--out", dir+"/other").failed(t, path, sumsFile)
	if err := writeSums(kept); err != nil {
		t.Fatal(err)
	}
	tenonCmd(t, "finetune", "--resume", kept, "--out", dir+"/other").failed(t, path, `option "help" is unknown`)
}

// A loss that is no number ends the run; the state before it is kept and said.
func TestFinetuneDiverges(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": resumeData, "out/adapter_config.json": "old"})
	out := filepath.Join(dir, "out")
	for _, save := range [][]string{nil, {"--save-every", "1"}} {
		r := tenonCmd(t, append([]string{"finetune", "--json", "--model", testdata + "/llama/mha", "--data", dir + "/d.jsonl", "--out", out, "--lr", "1e37", "--targets", "lm_head"}, save...)...)
		r.stdout = ""
		r.failed(t, "step 2", "is not finite", fmt.Sprintf("the last good state is in %q", filepath.Join(out, "checkpoint-1")))
		if got := names(t, out); got != "adapter_config.json checkpoint-1" {
			t.Errorf("--out holds %s", got)
		}
		if _, err := readCheckpoint(filepath.Join(out, "checkpoint-1")); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(filepath.Join(out, "checkpoint-1")); err != nil {
			t.Fatal(err)
		}
	}
}

// A folder that one process writes no other one writes.
func TestOneRunAFolder(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": resumeData})
	for _, out := range []string{filepath.Join(dir, "new", "out"), filepath.Join(dir, "new", "out")} { // not there yet, and there
		args := []string{"finetune", "--json", "--model", testdata + "/llama/mha", "--data", dir + "/d.jsonl", "--out", out, "--steps", "3", "--save-every", "2"}
		var second, merging result
		var stderr bytes.Buffer
		code := Main(args, strings.NewReader(""), &onWrite{func() {
			second = tenonCmd(t, args...)
			merging = tenonCmd(t, "merge", "--model", testdata+"/llama/mha", "--adapter", testdata+"/lora/default/adapter", "--out", out)
		}}, &stderr)
		if code != exitDone || stderr.Len() > 0 {
			t.Fatalf("status %d, %s", code, &stderr)
		}
		second.failed(t, out, "another run is writing it")
		merging.failed(t, out, "another run is writing it")
		if got := names(t, out); got != "adapter_config.json adapter_model.safetensors checkpoint-2 checkpoint-3 loss.png" {
			t.Errorf("the folder holds %s", got)
		}
		if got := names(t, filepath.Dir(out)); got != "out" {
			t.Errorf("beside it lies %s", got)
		}
	}
}

// onWrite is a writer that does something at the first write.
type onWrite struct{ do func() }

func (w *onWrite) Write(p []byte) (int, error) {
	if w.do != nil {
		w.do()
		w.do = nil
	}
	return len(p), nil
}

func TestSaveTotal(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": resumeData})
	out := filepath.Join(dir, "out")
	args := []string{"finetune", "--json", "--model", testdata + "/llama/mha", "--data", dir + "/d.jsonl", "--out", out}
	done(t, append(args, "--steps", "12", "--save-every", "1", "--save-total", "2")...)
	if list, err := checkpointSteps(out); err != nil || !slices.Equal(list, []int{11, 12}) {
		t.Errorf("checkpoints %v, %v", list, err)
	}
	// The next run's take the place of those of a run that came to its end.
	done(t, append(args, "--steps", "5", "--save-every", "3")...)
	if list, err := checkpointSteps(out); err != nil || !slices.Equal(list, []int{3, 5}) {
		t.Errorf("checkpoints %v, %v", list, err)
	}
	// Without checkpoints of its own the result has none beside it.
	done(t, append(args, "--steps", "5")...)
	if got := names(t, out); got != "adapter_config.json adapter_model.safetensors loss.png" {
		t.Errorf("the folder holds %s", got)
	}
	if got := names(t, dir); got != "d.jsonl out" {
		t.Errorf("beside it lies %s", got)
	}
}

var errInjected = errors.New("injected fault")

// Whatever operation on the disk fails, there is either the old state or the new
// one, whole, and the run can go on to the same result.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": resumeData})
	for _, method := range []string{"lora", "full"} {
		if method == "full" && testing.Short() {
			continue
		}
		args := []string{"finetune", "--json", "--model", testdata + "/llama/mha", "--data", dir + "/d.jsonl", "--method", method, "--steps", "3", "--save-every", "1", "--save-total", "2"}
		whole := filepath.Join(dir, "whole-"+method)
		done(t, append(args, "--out", whole)...)
		want := results(t, whole)
		seen := map[string]bool{}
		for n, failed := 1, true; failed; n++ {
			failed = false
			out := filepath.Join(dir, fmt.Sprintf("%s-%d", method, n))
			plant(t, out, map[string]string{"config.json": "old"})
			count := 0
			where := ""
			var stdout, stderr bytes.Buffer
			e := &env{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, disk: disk{before: func(operation, path string) error {
				if count++; count != n {
					return nil
				}
				failed, where = true, operation+" "+path
				seen[operation] = true
				return errInjected
			}}}
			code := execute(e, append(args, "--out", out))
			if !failed {
				if code != exitDone {
					t.Fatalf("status %d, %s", code, &stderr)
				}
				break
			}
			if code != exitFailed || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), errInjected.Error()) {
				t.Errorf("%s: status %d, stderr %q", where, code, &stderr)
			}
			held := results(t, out)
			if d := cmp.Diff(want, held); d != "" && held["config.json"] != "old" {
				t.Errorf("%s: --out is neither old nor new: %s", where, d)
			}
			list, err := checkpointSteps(out)
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range list {
				if _, err := readCheckpoint(filepath.Join(out, checkpointName(step))); err != nil {
					t.Errorf("%s: %v", where, err)
				}
			}
			for name := range tree(t, out) {
				if strings.Contains(name, ".tmp") {
					t.Errorf("%s: %s is left", where, name)
				}
			}
			if len(list) == 0 { // nothing was saved yet
				if r := tenonCmd(t, "finetune", "--resume", out); r.code != exitFailed {
					t.Errorf("%s: %+v", where, r)
				}
				continue
			}
			if !strings.Contains(stderr.String(), "checkpoint-") && !strings.Contains(stderr.String(), out) {
				t.Errorf("%s: stderr %q does not say where the state is", where, &stderr)
			}
			done(t, "finetune", "--json", "--resume", out)
			if d := cmp.Diff(want, results(t, out)); d != "" {
				t.Errorf("%s: another result after going on", where)
			}
		}
		for _, operation := range []string{"write", "sync", "rename", "exchange"} {
			if !seen[operation] {
				t.Errorf("no fault at any %s", operation)
			}
		}
	}
}

// The state's file is what a reader without tenon can use too.
func TestStateFile(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": resumeData})
	out := filepath.Join(dir, "out")
	done(t, "finetune", "--json", "--model", testdata+"/llama/mha", "--data", dir+"/d.jsonl", "--out", out, "--epochs", "1", "--batch", "4", "--save-every", "2", "--eval", dir+"/d.jsonl")
	s, err := train.ReadState(filepath.Join(out, "checkpoint-2"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Step != 2 || s.Steps != 3 || s.Epoch != 2./3 || len(s.History) != 2 || s.History[1].Step != 2 || s.History[1].Loss <= 0 {
		t.Errorf("%+v", s)
	}
	if len(s.Evals) != 3 || s.Evals[0].Step != 0 || s.Evals[2].Step != 2 || s.Evals[2].Tokens == 0 {
		t.Errorf("evaluations %+v", s.Evals)
	}
	if got := s.Options["lr"]; !slices.Equal(got, []string{"0.0002"}) || len(s.Digests["model"]) != 64 || len(s.Digests["data"]) != 64 {
		t.Errorf("%v %v", s.Options, s.Digests)
	}
}
