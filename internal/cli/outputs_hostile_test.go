//go:build linux

package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/internal/mutate"
)

// What cannot be done leaves what was at --out as it was.
func TestOutputsUntouched(t *testing.T) {
	const model, adapter = testdata + "/llama/mha", testdata + "/lora/default/adapter"
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	plant(t, dir, map[string]string{"good.jsonl": `{"input_ids": [1,2,3,4]}`, "bad.jsonl": "{\"input_ids\": [1,2]}\n{]"})
	done(t, "finetune", "--model", model, "--data", dir+"/good.jsonl", "--out", out, "--steps", "1", "--json")
	before := hashOf(t, out)

	broken := func(name, from string, change func(path string) error) string {
		to := filepath.Join(dir, name)
		copyDir(t, from, to)
		file := filepath.Join(to, "model.safetensors")
		if _, err := os.Stat(file); err != nil {
			file = filepath.Join(to, "adapter_model.safetensors")
		}
		if err := change(file); err != nil {
			t.Fatal(err)
		}
		return to
	}
	cut := func(path string) error {
		info, err := os.Stat(path)
		return errors.Join(err, os.Truncate(path, info.Size()-5))
	}
	nan := func(path string) error {
		b, err := os.ReadFile(path)
		for i := len(b) - 8; i < len(b); i++ {
			b[i] = 0xff
		}
		return errors.Join(err, os.WriteFile(path, b, 0o600))
	}
	pipe := func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) }
	device := func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/dev/zero", path)) }
	folder := func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }
	itself := func(path string) error { return errors.Join(os.Remove(path), os.Symlink(path, path)) }
	config := func(change func(string) error) func(string) error {
		return func(path string) error {
			name := "config.json"
			if strings.Contains(path, "adapter_model") {
				name = "adapter_config.json"
			}
			return change(filepath.Join(filepath.Dir(path), name))
		}
	}
	merge := func(model, adapter string) []string {
		return []string{"merge", "--model", model, "--adapter", adapter, "--out", out, "--threads", "1"}
	}
	finetune := func(model, data string, more ...string) []string {
		return append([]string{"finetune", "--model", model, "--data", dir + "/" + data, "--out", out, "--steps", "2", "--threads", "1", "--json"}, more...)
	}
	type attempt struct {
		args []string
		name string // in the message
	}
	list := map[string]attempt{
		"data that is no JSON":     {finetune(model, "bad.jsonl"), "bad.jsonl: line 2"},
		"another model's adapter":  {merge(testdata+"/llama/head-dim", adapter), "adapter_model.safetensors"},
		"another model's to go on": {finetune(testdata+"/llama/head-dim", "good.jsonl", "--init-adapter", adapter), "adapter_model.safetensors"},
		"no such target":           {finetune(model, "good.jsonl", "--targets", "nope"), "nope"},
	}
	for name, change := range map[string]func(string) error{
		"cut": cut, "nan": nan, "pipe": pipe, "device": device, "folder": folder, "itself": itself,
		"config-pipe": config(pipe), "config-device": config(device), "config-folder": config(folder), "config-itself": config(itself),
	} {
		m, a := broken("model-"+name, model, change), broken("adapter-"+name, adapter, change)
		list["model "+name+", merge"] = attempt{merge(m, adapter), "model-" + name}
		list["model "+name+", finetune"] = attempt{finetune(m, "good.jsonl"), "model-" + name}
		list["adapter "+name+", merge"] = attempt{merge(model, a), "adapter-" + name}
		list["adapter "+name+", finetune"] = attempt{finetune(model, "good.jsonl", "--init-adapter", a), "adapter-" + name}
	}
	for about, c := range list {
		if mutate.Guard(t, about, func() error { _, err := command(c.args...); return err }, c.name) {
			t.Errorf("%s: done", about)
		}
		if hashOf(t, out) != before {
			t.Fatalf("%s: %s has changed", about, out)
		}
		left, err := filepath.Glob(filepath.Join(dir, "*out*"))
		if err != nil || len(left) != 1 {
			t.Errorf("%s: left behind %q, %v", about, left, err)
		}
	}
}
