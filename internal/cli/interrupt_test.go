//go:build unix

package cli

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An interrupted run finishes its step, saves its state, leaves what --out held
// alone and says how to go on. What it says works, and leads to the result that
// the run would have had.
func TestInterrupt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's")
	plant(t, dir, map[string]string{"d.jsonl": `{"input_ids": [1,2,3,4,5,6]}`})
	args := []string{"finetune", "--model", testdata + "/llama/mha", "--data", dir + "/d.jsonl", "--steps", "2000", "--lr", "1e-3", "--json", "--rank-pattern", "q_proj=3"}
	done(t, append(args, "--out", dir+"/whole")...)
	want := tree(t, dir+"/whole")
	for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		out := filepath.Join(dir, fmt.Sprint("out", code))
		plant(t, dir, map[string]string{filepath.Base(out) + "/adapter_config.json": "old"})
		var stderr strings.Builder
		got := Main(append(args, "--out", out), strings.NewReader(""), &signalling{n: 3, signal: signal}, &stderr)
		message, command, ok := strings.Cut(strings.TrimSpace(stderr.String()), "go on by: ")
		if got != code || !ok || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(message, "interrupted; the state is in") {
			t.Fatalf("status %d, stderr %q", got, stderr.String())
		}
		held := tree(t, out)
		if held["adapter_config.json"] != "old" || len(held) != 7 {
			t.Errorf("--out holds %v", held)
		}
		if entries := names(t, dir); strings.Contains(entries, ".tmp") || strings.Contains(entries, ".lock") {
			t.Errorf("the folder holds %s", entries)
		}
		words := shellWords(command)
		if words[0] != "tenon" {
			t.Fatalf("the command is %q", words)
		}
		done(t, words[1:]...)
		for name, content := range want {
			if got := tree(t, out)[name]; got != content {
				t.Errorf("%v: %s is another than of a run that was not interrupted", signal, name)
			}
		}
	}
}

// What is interrupted at a step whose checkpoint is damaged saves it again.
func TestInterruptAtDamaged(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d.jsonl": `{"input_ids": [1,2,3,4,5,6]}`})
	out := filepath.Join(dir, "out")
	done(t, "finetune", "--model", testdata+"/llama/mha", "--data", dir+"/d.jsonl", "--steps", "2000", "--json", "--out", out, "--save-every", "1000")
	if err := os.RemoveAll(filepath.Join(out, "checkpoint-2000")); err != nil {
		t.Fatal(err)
	}
	plant(t, out, map[string]string{"checkpoint-1001/trainer_state.json": "{}"})
	var stderr strings.Builder
	code := Main([]string{"finetune", "--json", "--resume", out}, strings.NewReader(""), &signalling{n: 1, signal: syscall.SIGINT}, &stderr)
	list, err := checkpointSteps(out)
	if err != nil || code != 130 || len(list) < 2 {
		t.Fatalf("status %d, checkpoints %v, %v", code, list, err)
	}
	if _, err := readCheckpoint(filepath.Join(out, checkpointName(list[len(list)-1]))); err != nil {
		t.Error(err)
	}
}

// The other commands end with the same statuses.
func TestInterruptGenerate(t *testing.T) {
	var stderr strings.Builder
	code := Main([]string{"generate", "--model", testdata + "/llama/chat", "--prompt", "a", "--max-tokens", "200"},
		strings.NewReader(""), &signalling{n: 1, signal: syscall.SIGTERM}, &stderr)
	if code != 143 || stderr.String() != "tenon generate: interrupted\n" {
		t.Errorf("status %d, stderr %q", code, stderr.String())
	}
}

// signalling is a writer that sends this process a signal at the n-th write.
type signalling struct {
	n      int
	signal syscall.Signal
}

func (w *signalling) Write(p []byte) (int, error) {
	if w.n--; w.n == 0 {
		came := make(chan os.Signal, 1)
		signal.Notify(came, w.signal)
		defer signal.Stop(came)
		if err := syscall.Kill(os.Getpid(), w.signal); err != nil {
			return 0, err
		}
		<-came
		time.Sleep(100 * time.Millisecond) // and the command has it too
	}
	return len(p), nil
}

// shellWords splits a command line as a shell does, as far as it has words and
// single quotes.
func shellWords(line string) []string {
	var words []string
	var word strings.Builder
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\'':
			quoted = !quoted
		case c == '\\' && !quoted:
			i++
			word.WriteByte(line[i])
		case c == ' ' && !quoted:
			words = append(words, word.String())
			word.Reset()
		default:
			word.WriteByte(c)
		}
	}
	return append(words, word.String())
}
