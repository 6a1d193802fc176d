package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const testdata = "../../testdata"

// build returns a static binary as it is released.
func build(t *testing.T, arch string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "tenon-"+arch)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// TestRobot runs the arm64 binary as a robot's computer would: on the CPU of a
// Raspberry Pi 3 and of a Pi 5, in a folder that cannot be written. It continues a
// prompt and trains three steps, with the reference's numbers.
func TestRobot(t *testing.T) {
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		t.Skip("no qemu-aarch64-static: Debian's qemu-user-static has it")
	}
	bin := build(t, "arm64")
	model, err := filepath.Abs(testdata + "/llama/chat")
	if err != nil {
		t.Fatal(err)
	}
	var text struct {
		Chats []struct {
			Messages []struct{ Role, Content string }
			IDs      []int32
		}
	}
	readJSON(t, testdata+"/llama/chat/tokenizer_golden.json", &text)
	var curve struct {
		Base       string
		Parameters struct {
			LR float64
		}
		Curve []struct{ Loss float64 }
	}
	readJSON(t, testdata+"/train/all-linear/case.json", &curve)
	dir := t.TempDir()
	readOnly := filepath.Join(dir, "cwd")
	if err := os.Mkdir(readOnly, 0o555); err != nil {
		t.Fatal(err)
	}
	for _, cpu := range []string{"cortex-a53", "cortex-a76"} {
		t.Run(cpu, func(t *testing.T) {
			run := func(args ...string) []byte {
				t.Helper()
				cmd := exec.Command(qemu, append([]string{"-cpu", cpu, bin}, args...)...)
				cmd.Dir, cmd.Env = readOnly, []string{"HOME=/nonexistent", "TMPDIR=/nonexistent"}
				out, err := cmd.Output()
				if err != nil {
					stderr := ""
					if e, ok := err.(*exec.ExitError); ok {
						stderr = string(e.Stderr)
					}
					t.Fatalf("%q: %v\n%s", args, err, stderr)
				}
				return out
			}
			for _, c := range text.Chats {
				if len(c.Messages) != 1 || c.Messages[0].Role != "user" {
					continue
				}
				var got struct{ IDs []int32 }
				if err := json.Unmarshal(run("generate", "--model", model, "--chat", c.Messages[0].Content, "--max-tokens", fmt.Sprint(len(c.IDs)), "--json"), &got); err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(got.IDs) != fmt.Sprint(c.IDs) {
					t.Errorf("%q: ids %v, want %v", c.Messages[0].Content, got.IDs, c.IDs)
				}
				break
			}
			base, err := filepath.Abs(filepath.Join(testdata, curve.Base))
			if err != nil {
				t.Fatal(err)
			}
			start, err := filepath.Abs(testdata + "/train/all-linear")
			if err != nil {
				t.Fatal(err)
			}
			out := run("finetune", "--model", base, "--data", start+"/data.jsonl", "--init-adapter", start+"/init", "--out", filepath.Join(dir, cpu),
				"--steps", "3", "--batch", "2", "--lr", fmt.Sprint(curve.Parameters.LR), "--no-shuffle", "--json")
			for i, line := range strings.Split(strings.TrimSpace(string(out)), "\n")[:3] {
				var r struct{ Loss float64 }
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					t.Fatal(err)
				}
				if want := curve.Curve[i].Loss; !(math.Abs(r.Loss/want-1) <= 1e-5) {
					t.Errorf("step %d: loss %v, want %v", i+1, r.Loss, want)
				}
			}
		})
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(path, err)
	}
}
