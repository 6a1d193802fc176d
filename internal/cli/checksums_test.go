package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// TestChecksums asks that any change of a folder's files is seen, and of the sums too.
func TestChecksums(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"adapter.safetensors": "weights and more weights", "empty": "", "state.json": "{}\n"}
	plant(t, dir, files)
	if err := writeSums(dir); err != nil {
		t.Fatal(err)
	}
	if err := checkSums(dir); err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		t.Fatal(err)
	}
	files[sumsFile] = string(sums)
	for name, content := range files {
		path := filepath.Join(dir, name)
		try := func(what string, change func() error) {
			t.Helper()
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if checkSums(dir) == nil {
				t.Errorf("%s: %s is not seen", name, what)
			}
			plant(t, dir, files)
			if err := checkSums(dir); err != nil {
				t.Fatal(err)
			}
		}
		for i := range content {
			if name == sumsFile && content[i] == '\n' && i == len(content)-1 {
				continue // the last line is whole without
			}
			try("a bit", func() error {
				b := []byte(content)
				b[i] ^= 1 << (i % 8)
				return os.WriteFile(path, b, 0o666)
			})
			try("a cut", func() error { return os.WriteFile(path, []byte(content[:i]), 0o666) })
		}
		try("a byte more", func() error { return os.WriteFile(path, []byte(content+"x"), 0o666) })
		try("that it is gone", func() error { return os.Remove(path) })
	}
	plant(t, dir, map[string]string{"late": ""})
	if checkSums(dir) == nil {
		t.Error("a file that came later is not seen")
	}
}

// TestResumeEval goes on only with the held-out data that was measured before.
func TestResumeEval(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": resumeData, "held.jsonl": resumeData})
	out, held := filepath.Join(dir, "out"), filepath.Join(dir, "held.jsonl")
	done(t, "finetune", "--json", "--model", testdata+"/llama/mha", "--data", dir+"/d.jsonl", "--eval", held, "--out", out, "--steps", "4", "--save-every", "2")
	for _, name := range []string{"checkpoint-4", "adapter_config.json", "adapter_model.safetensors", "loss.png"} {
		if err := os.RemoveAll(filepath.Join(out, name)); err != nil {
			t.Fatal(err)
		}
	}
	plant(t, dir, map[string]string{"held.jsonl": resumeData + resumeData})
	tenonCmd(t, "finetune", "--resume", out).failed(t, "--eval", held, "its content has changed")
	plant(t, dir, map[string]string{"held.jsonl": resumeData})
	done(t, "finetune", "--json", "--resume", out)
}
