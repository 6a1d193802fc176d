package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/demo"
)

// The demo as it is run passes by its own judgement, says so in numbers, and
// writes nothing: it runs in a folder that cannot be written to, without a home or
// a folder for temporary files.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the whole demo takes half a minute; internal/demo tests a quick one")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("HOME", dir+"/none")
	t.Setenv("TMPDIR", dir+"/none")
	r := tenonCmd(t, "demo", "--json")
	if r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	var got demo.Report
	d := json.NewDecoder(strings.NewReader(r.stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil || d.More() {
		t.Fatalf("stdout is %q, %v; want one object", r.stdout, err)
	}
	if !got.Passed || got.Before > 0.05 || got.After < 0.9 || got.Merged != got.After || !got.SameAnswers || got.HeldOut < 200 || got.Seconds <= 0 {
		t.Errorf("%+v", got)
	}
	t.Logf("%+v", got)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("it wrote %v, %v", entries, err)
	}
}

// For people it shows requests and answers, and the commands to go on with.
func TestDemoText(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the whole demo takes half a minute")
	}
	r := tenonCmd(t, "demo", "--seed", "7")
	if r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	for _, s := range []string{"dan: ", "LoRA trained", "right:", "the same answers", "tenon finetune --model MODEL", "tenon merge "} {
		if !strings.Contains(r.stdout, s) {
			t.Errorf("stdout is %q, want %q in it", r.stdout, s)
		}
	}
	for line := range strings.SplitSeq(r.stdout, "\n") {
		if len(line) > 140 || strings.TrimRight(line, " ") != line {
			t.Errorf("line %q: too long, or blanks at its end", line)
		}
	}
	if !strings.Contains(r.err, "adapting by LoRA") {
		t.Errorf("stderr is %q", r.err)
	}
}

// The commands that the demo names exist, with their flags.
func TestDemoCommands(t *testing.T) {
	n := 0
	for line := range strings.SplitSeq(ownModel, "\n") {
		_, text, found := strings.Cut(line, "  tenon ")
		if !found {
			continue
		}
		args := strings.Fields(text)
		n++
		cmd, _, err := newRoot(&env{}).Find(args[:1])
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range args {
			if flag, ok := strings.CutPrefix(a, "--"); ok && cmd.Flags().Lookup(flag) == nil {
				t.Errorf("%q: no flag --%s", line, flag)
			}
		}
	}
	if n != 5 {
		t.Errorf("%d commands found", n)
	}
}

func TestDemoUsage(t *testing.T) {
	for _, args := range [][]string{{"demo", "x"}, {"demo", "--threads", "-1"}, {"demo", "--seed", "-1"}} {
		if r := tenonCmd(t, args...); r.code != exitUsage || r.stdout != "" {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// The command stays small and starts at once: it is copied to robots.
func TestBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: two builds of the command")
	}
	for _, arch := range []string{"amd64", "arm64"} {
		bin := filepath.Join(t.TempDir(), "tenon")
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "../../cmd/tenon")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		info, err := os.Stat(bin)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("linux/%s: %d bytes", arch, info.Size())
		const most = 25_000_000
		if info.Size() > most {
			t.Errorf("linux/%s: the command has %d bytes, want at most %d", arch, info.Size(), most)
		}
		if runtime.GOOS != "linux" || arch != runtime.GOARCH {
			continue
		}
		// The median of several starts, since the machine does other things too.
		var times []time.Duration
		for range 11 {
			start := time.Now()
			out, err := exec.Command(bin, "--help").Output()
			if err != nil || !bytes.Contains(out, []byte("tenon")) {
				t.Fatal(fmt.Errorf("%w: %s", err, out))
			}
			times = append(times, time.Since(start))
		}
		slices.Sort(times)
		median := times[len(times)/2]
		t.Logf("start: %v", median)
		if median > 50*time.Millisecond {
			t.Errorf("tenon --help takes %v, want at most 50 ms", median)
		}
	}
}
