package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What cannot fit is refused before anything is written, with the breakdown and the
// largest batch that fits; that batch runs.
func TestMemory(t *testing.T) {
	dir := t.TempDir()
	data, out := filepath.Join(dir, "d.jsonl"), filepath.Join(dir, "out")
	line := `{"input_ids": [` + strings.Repeat("5,", 63) + "6]}\n"
	if err := os.WriteFile(data, []byte(strings.Repeat(line, 8)), 0o666); err != nil {
		t.Fatal(err)
	}
	const tiny = testdata + "/llama/gqa-tied"
	args := []string{"finetune", "--model", tiny, "--data", data, "--out", out, "--seq", "64", "--steps", "1", "--targets", "all-linear"}
	two := plannedJSON(t, "--model", tiny, "--targets", "all-linear", "--seq", "64", "--batch", "2")

	r := tenonCmd(t, append(args, "--batch", "8", "--memory", fmt.Sprint(two.Total))...)
	if r.code != exitFailed || r.stdout != "" {
		t.Fatalf("%+v", r)
	}
	for _, s := range []string{"weights ", "gradients ", "optimizer ", "activations ", "in all ", "the largest --batch that fits is 2\n"} {
		if !strings.Contains(r.err, s) {
			t.Errorf("%q is not in %q", s, r.err)
		}
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("%s: %v", out, err)
	}
	if r := tenonCmd(t, append(args, "--memory", "10kB")...); r.code != exitFailed || !strings.Contains(r.err, "no --batch fits") {
		t.Errorf("%+v", r)
	}
	if r := tenonCmd(t, append(args, "--memory", "much")...); r.code != exitUsage {
		t.Errorf("%+v", r)
	}

	r = tenonCmd(t, append(args, "--batch", "2", "--memory", fmt.Sprint(two.Total), "--json")...)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	var end struct {
		compared
		Done bool
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &end); r.code != exitDone || err != nil {
		t.Fatal(r, err)
	}
	if !end.Done || end.Planned != two.Total || end.Longest != two.Total || end.Measured < end.Planned {
		t.Errorf("%+v, planned %d", end, two.Total)
	}
	if r = tenonCmd(t, append(args, "--seq", "128")...); r.code != exitDone || !regexp.MustCompile(`memory: \S+ MB planned, \S+ \S+ for lines as long as these, \S+ MB besides for the process; \S+ MB measured`).MatchString(r.err) {
		t.Errorf("%+v", r)
	}
}
