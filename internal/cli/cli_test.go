package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/asm"
)

// result is what a command left behind.
type result struct {
	code        int
	stdout, err string
}

// tenonCmd runs the command with these arguments.
func tenonCmd(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Main(args, strings.NewReader(""), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// failed checks that a command failed with one line on stderr that holds all
// of the texts, and with nothing on stdout.
func (r result) failed(t *testing.T, texts ...string) {
	t.Helper()
	if r.code != exitFailed {
		t.Errorf("status %d, want %d; stderr %q", r.code, exitFailed, r.err)
	}
	if strings.Count(r.err, "\n") != 1 || !strings.HasSuffix(r.err, "\n") {
		t.Errorf("stderr is %q, want one line", r.err)
	}
	if r.stdout != "" {
		t.Errorf("stdout is %q, want nothing", r.stdout)
	}
	for _, s := range texts {
		if !strings.Contains(r.err, s) {
			t.Errorf("stderr is %q, want %q in it", r.err, s)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"frobnicate"}, `tenon: unknown command "frobnicate"`},
		{[]string{"help", "frobnicate"}, `tenon: unknown command "frobnicate"`},
		{[]string{"--frobnicate"}, "tenon: unknown flag: --frobnicate"},
	} {
		r := tenonCmd(t, c.args...)
		if r.code != exitUsage || !strings.HasPrefix(r.err, c.want+"\n") || !strings.Contains(r.err, "Usage:") || r.stdout != "" {
			t.Errorf("%v: status %d, stdout %q, stderr %q", c.args, r.code, r.stdout, r.err)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		if r := tenonCmd(t, arg); r.code != exitDone || !strings.HasPrefix(r.stdout, "tenon ") || !strings.Contains(r.stdout, asm.Tier()) || r.err != "" {
			t.Errorf("%s: %+v", arg, r)
		}
	}
}

func TestHelp(t *testing.T) {
	if r := tenonCmd(t); r.code != exitDone || !strings.Contains(r.stdout, "Usage:") || r.err != "" {
		t.Errorf("%+v", r)
	}
	// Each command's help shows an example of it.
	for _, c := range newRoot(&env{}).Commands() {
		if r := tenonCmd(t, c.Name(), "--help"); r.code != exitDone || !strings.Contains(r.stdout, "  tenon "+c.Name()+" ") || r.err != "" {
			t.Errorf("%s: %+v", c.Name(), r)
		}
		if !strings.Contains(c.Example, "tenon "+c.Name()) {
			t.Errorf("%s has no example", c.Name())
		}
	}
}

func TestOneLine(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("plain: \"ä\" 漢字"), "plain: \"ä\" 漢字"},
		{errors.New("a\nb\x1b[31m\u202e"), `a\nb\x1b[31m\u202e`},
		{errors.New("bad \xff byte, real \ufffd"), `bad \xff byte, real ` + "\ufffd"},
		{errors.Join(errors.New("one"), errors.New("two\n")), `one; two\n`},
		{fmt.Errorf("x: %w, %w", errors.New("one"), errors.New("two")), "x: one, two"},
		{errors.Join(errors.New("one")), "one"},
	} {
		if got := oneLine(c.err); got != c.want {
			t.Errorf("%q: got %s, want %s", c.err, got, c.want)
		}
	}
}
