package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLogitsOut writes a single file to places where one may be lost.
func TestLogitsOut(t *testing.T) {
	model, adapter := t.TempDir(), t.TempDir()
	for from, to := range map[string]string{testdata + "/llama/mha": model, testdata + "/lora/default/adapter": adapter} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	weights := filepath.Join(model, "model.safetensors")
	before, err := os.ReadFile(weights)
	if err != nil {
		t.Fatal(err)
	}
	run := func(out string) result {
		return tenonCmd(t, "logits", "--model", model, "--adapter", adapter, "--tokens", "1,2", "--out", out)
	}
	for _, c := range []struct{ out, want string }{
		{weights, "is part of what --model reads"},
		{filepath.Join(model, "config.json"), "is part of what --model reads"},
		{filepath.Join(adapter, "adapter_model.safetensors"), "is part of what --adapter reads"},
		{t.TempDir(), "is no regular file"},
		{os.DevNull, "is no regular file"},
	} {
		if r := run(c.out); r.code != exitFailed || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: status %d, %q; want %q", c.out, r.code, r.err, c.want)
		}
	}
	if after, err := os.ReadFile(weights); err != nil || string(after) != string(before) {
		t.Error("the weights have changed")
	}
	link := filepath.Join(t.TempDir(), "link.safetensors")
	target := filepath.Join(t.TempDir(), "target.safetensors")
	plant(t, filepath.Dir(target), map[string]string{filepath.Base(target): "old"})
	if err := os.Symlink(target, link); err != nil {
		t.Skip(err)
	}
	if r := run(link); r.code != exitDone {
		t.Errorf("a link: %q", r.err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced, not what it names")
	}
}

// TestAdapterOverModel writes an adapter where a model is: the model is set aside.
func TestAdapterOverModel(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	if err := os.CopyFS(out, os.DirFS(testdata+"/llama/gqa-tied")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"golden.safetensors", "greedy.json", "config.v4.json"} {
		os.Remove(filepath.Join(out, name))
	}
	r := tenonCmd(t, "finetune", "--model", testdata+"/llama/mha", "--data", testdata+"/train/plain/data.jsonl", "--out", out, "--steps", "1")
	if r.code != exitDone || !strings.Contains(r.err, "the old folder is now") {
		t.Errorf("status %d, %q", r.code, r.err)
	}
	for _, path := range []string{out + "/adapter_model.safetensors", out + ".replaced-1/model.safetensors"} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
