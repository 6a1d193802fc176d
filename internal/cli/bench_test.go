package cli

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/bench"
)

const benchModel = testdata + "/llama/mha"

// readReport reads a report and refuses keys that it does not know.
func readReport(t *testing.T, r io.Reader) bench.Report {
	t.Helper()
	var out bench.Report
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBench(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"r.json": "old"})
	jsonFile, markdown := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.md")
	out := done(t, "bench", "--model", benchModel, "--jobs", "prefill,decode,step", "--tokens", "8", "--generate", "2", "--samples", "1",
		"--threads", "1", "--json", jsonFile, "--markdown", markdown)
	f, err := os.Open(jsonFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := readReport(t, f)
	if len(r.Results) != 3 || r.Model.Path != benchModel || r.Limits.Threads != 1 || r.Limits.FMA != 0 || r.Memory.Peak == 0 {
		t.Errorf("%+v", r)
	}
	for _, x := range r.Results {
		if !(x.Value > 0) || x.Limit != "" { // no limits were measured
			t.Errorf("%+v", x)
		}
	}
	if text, err := os.ReadFile(markdown); err != nil || string(text) != out || !strings.Contains(out, "| decode | ") {
		t.Errorf("%v, stdout %q, file %q", err, out, text)
	}
	if got := names(t, dir); got != "r.json r.md" {
		t.Errorf("the folder holds %s", got)
	}
}

func TestBenchErrors(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--jobs", "step,dance"}, exitUsage, `--jobs has "dance", want some of limits`},
		{[]string{"--tokens", "0"}, exitUsage, "--tokens is 0, want 1 to"},
		{[]string{"--samples", "9999"}, exitUsage, "--samples is 9999, want 1 to"},
		{[]string{"--jobs", "step", "--plot", "x.png"}, exitUsage, "--plot wants limits"},
		{[]string{"--threads", "-1"}, exitUsage, "--threads is -1"},
		{[]string{"--model", dir + "/none"}, exitFailed, "none"},
		{[]string{"--model", benchModel, "--json", dir}, exitFailed, "is no regular file"},
		{[]string{"--model", benchModel, "--json", benchModel + "/config.json"}, exitFailed, "is part of what --model reads"},
	} {
		r := tenonCmd(t, append([]string{"bench"}, c.args...)...)
		if r.code != c.code || r.stdout != "" || !strings.Contains(r.err, c.want) {
			t.Errorf("%q: status %d, stdout %q, stderr %q", c.args, r.code, r.stdout, r.err)
		}
	}
}

// What cannot be written leaves the old file and no other.
func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"f": "old"})
	path := filepath.Join(dir, "f")
	if err := replaceFile(path, func(w io.Writer) error { io.WriteString(w, "half"); return io.ErrShortWrite }); err != io.ErrShortWrite {
		t.Error(err)
	}
	if got := tree(t, dir); len(got) != 1 || got["f"] != "old" {
		t.Errorf("the folder holds %v", got)
	}
	if err := replaceFile(path, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }); err != nil {
		t.Error(err)
	}
	if got := tree(t, dir); len(got) != 1 || got["f"] != "new" {
		t.Errorf("the folder holds %v", got)
	}
}

// The job memory runs in a process of its own, and an interrupt leaves no file.
func TestBenchProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the command")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "tenon")
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/tenon").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	args := []string{"bench", "--model", benchModel, "--tokens", "8", "--samples", "1", "--threads", "1"}
	out, err := exec.Command(bin, append(args, "--jobs", "memory", "--json", "-")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	r := readReport(t, strings.NewReader(string(out)))
	if len(r.Results) != 1 || r.Results[0].Job != "memory" || r.Results[0].Value != float64(r.Memory.Peak) || r.Memory.Peak == 0 {
		t.Errorf("%+v", r)
	}
	cmd := exec.Command(bin, append(args, "--jobs", "decode", "--samples", "1000", "--generate", "40", "--json", filepath.Join(dir, "r.json"))...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // it measures for many seconds
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(stderr)
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 130 || string(text) != "tenon bench: decode: interrupted\n" {
		t.Errorf("status %d, stderr %q", got, text)
	}
	if got := names(t, dir); got != "tenon" {
		t.Errorf("the folder holds %s", got)
	}
}
