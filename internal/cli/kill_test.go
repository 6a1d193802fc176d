//go:build unix

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// buildCommand builds the command once for a test that runs it as a process.
func buildCommand(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "tenon")
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/tenon").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// Killed at any moment, a run goes on to the result of one that never was.
// TENON_KILLS says how often a run is killed, 10 times by default.
func TestKill(t *testing.T) {
	kills := 10
	if s := os.Getenv("TENON_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	if testing.Short() {
		kills = min(kills, 4)
	}
	bin := buildCommand(t)
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": resumeData})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for method, n := range map[string]int{"lora": (kills + 1) / 2, "full": kills / 2} {
		args := []string{"finetune", "--model", testdata + "/llama/mha", "--data", dir + "/d.jsonl", "--method", method, "--epochs", "2",
			"--batch", "2", "--accumulate", "2", "--pack", "--seq", "8", "--save-every", "1", "--lr", "1e-2", "--threads", "2"}
		if method == "lora" {
			args = append(args, "--dropout", "0.2", "--targets", "all-linear")
		}
		whole := filepath.Join(dir, "whole-"+method)
		took := time.Hour
		for range 3 {
			begun := time.Now()
			if out, err := exec.Command(bin, append(args, "--out", whole)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			took = min(took, time.Since(begun))
		}
		want := results(t, whole)
		killed, runs := 0, 0
		for killed < n {
			runs++
			out := filepath.Join(dir, fmt.Sprintf("%s-%d", method, runs))
			plant(t, out, map[string]string{"config.json": "old"})
			for {
				command := append(args, "--out", out)
				if list, err := checkpointSteps(out); err == nil && len(list) > 0 {
					command = append(command, "--resume", out)
				}
				p := exec.Command(bin, command...)
				var stderr bytes.Buffer
				p.Stderr = &stderr
				if err := p.Start(); err != nil {
					t.Fatal(err)
				}
				timer := time.AfterFunc(time.Duration(random.Float64()*1.1*float64(took)), func() { p.Process.Kill() })
				err := p.Wait()
				timer.Stop()
				held := results(t, out)
				if held["config.json"] != "old" && cmp.Diff(want, held) != "" {
					t.Fatalf("--out is neither old nor new: %v", names(t, out))
				}
				if err == nil {
					break
				}
				if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("%q: %v: %s", command, err, &stderr)
				}
				killed++
			}
			if d := cmp.Diff(want, results(t, out)); d != "" {
				t.Fatal("another result than without being killed")
			}
			// What killed processes left is cleared away.
			for _, name := range strings.Fields(names(t, dir)) {
				if strings.Contains(name, ".tmp") || strings.Contains(name, ".lock") {
					t.Errorf("%s is left", name)
				}
			}
			if err := os.RemoveAll(out); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: killed %d times in %d runs, which take %v", method, killed, runs, took)
	}
}

// A disk that takes no more at whatever byte leaves the last good checkpoint and
// says where it is. A limit on the size of files stands for the full disk.
func TestFull(t *testing.T) {
	// In a process of its own: the limit would hold for the log of this one.
	if os.Getenv("TENON_TEST_FULL") == "" {
		p := exec.Command(os.Args[0], "-test.run=^TestFull$", "-test.v")
		p.Env = append(os.Environ(), "TENON_TEST_FULL=1")
		if out, err := p.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestFull")) {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": resumeData})
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var unlimited unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &unlimited); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"lora", "full"} {
		args := []string{"finetune", "--json", "--model", testdata + "/llama/mha", "--data", dir + "/d.jsonl", "--method", method, "--steps", "2", "--save-every", "1"}
		whole := filepath.Join(dir, "whole-"+method)
		done(t, append(args, "--out", whole)...)
		want := results(t, whole)
		limits := map[int]bool{} // by which each of the files is cut
		for name, content := range tree(t, whole) {
			if strings.HasPrefix(name, "checkpoint-2/") && len(content) > 0 || !strings.Contains(name, "/") {
				limits[len(content)/2], limits[len(content)-1] = true, true
			}
		}
		for _, at := range []int{2, 3} { // writing checkpoint-2, and the result
			for limit := range limits {
				out := filepath.Join(dir, fmt.Sprintf("%s-%d-%d", method, at, limit))
				count := 0
				var stdout, stderr bytes.Buffer
				e := &env{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, disk: disk{before: func(operation, _ string) error {
					if operation != "write" {
						return nil
					}
					if count++; count == at {
						return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(limit), Max: unlimited.Max})
					}
					return nil
				}}}
				code := execute(e, append(args, "--out", out))
				if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unlimited); err != nil {
					t.Fatal(err)
				}
				if code == exitDone { // nothing of this size is written then
					continue
				}
				last := checkpointName(at - 1)
				if code != exitFailed || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), fmt.Sprintf("the last good state is in %q", filepath.Join(out, last))) {
					t.Fatalf("limit %d: status %d, stderr %q", limit, code, &stderr)
				}
				if list, err := checkpointSteps(out); err != nil || len(list) != at-1 || len(names(t, out)) != len("checkpoint-1")*(at-1)+at-2 {
					t.Errorf("limit %d: --out holds %s", limit, names(t, out))
				}
				done(t, "finetune", "--json", "--resume", out)
				if d := cmp.Diff(want, results(t, out)); d != "" {
					t.Errorf("limit %d: another result after going on", limit)
				}
				if err := os.RemoveAll(out); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
