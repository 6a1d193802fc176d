//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// An interrupted run says so, keeps what it has trained beside --out, and
// leaves --out alone.
func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": `{"input_ids": [1,2,3,4,5,6]}`, "out/adapter_config.json": "old"})
	out := filepath.Join(dir, "out")
	var stderr strings.Builder
	code := Main([]string{"finetune", "--json", "--model", testdata + "/llama/mha", "--data", dir + "/d.jsonl", "--out", out, "--steps", "1000000"},
		strings.NewReader(""), &interrupting{n: 3}, &stderr)
	result{code, "", stderr.String()}.failed(t, "interrupted; the state after step")
	if got := tree(t, out); len(got) != 1 || got["adapter_config.json"] != "old" {
		t.Errorf("--out holds %v", got)
	}
	kept, err := filepath.Glob(out + ".step-*")
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	inspectJSON(t, kept[0])
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

// interrupting is a writer that sends this process an interrupt at the n-th
// write.
type interrupting struct{ n int }

func (w *interrupting) Write(p []byte) (int, error) {
	if w.n--; w.n == 0 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
