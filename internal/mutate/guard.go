package mutate

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// What a reader may take for a file of a few kilobytes or megabytes.
const (
	patience  = time.Minute // seconds at the most, but for the race detector on a busy machine
	maxMemory = 1 << 30     // resident
	maxLine   = 1 << 20     // of an error
)

// Rounds is how many mutants a test tries: few of them, fewer with -short, or as
// many as the environment's TENON_MUTANTS says.
func Rounds(t testing.TB, few int) int {
	v := os.Getenv("TENON_MUTANTS")
	switch {
	case v == "" && testing.Short():
		return few / 4
	case v == "":
		return few
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("TENON_MUTANTS is %q, want a number", v)
	}
	return n
}

// Guard calls f in another goroutine, and fails the test if it panics, does not come
// to an end, takes more than a gigabyte, or returns an error that is not one
// printable line with all of the names in it.
func Guard(t testing.TB, about string, f func() error, names ...string) (ok bool) {
	t.Helper()
	return guard(t, patience, about, f, names...)
}

func guard(t testing.TB, patience time.Duration, about string, f func() error, names ...string) (ok bool) {
	t.Helper()
	// From here on the system notes the highest resident size anew.
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	before := resident("VmRSS:")
	type result struct {
		err   error
		panic any
		stack []byte
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if r.panic = recover(); r.panic != nil {
				r.stack = debug.Stack()
			}
			done <- r
		}()
		r.err = f()
	}()
	var r result
	select {
	case r = <-done:
	case <-time.After(patience):
		stack := make([]byte, 1<<20)
		t.Fatalf("%s: still at it after %v\n%s", about, patience, stack[:runtime.Stack(stack, true)])
		return false
	}
	if n := resident("VmHWM:") - before; n > maxMemory {
		t.Errorf("%s: took %d bytes", about, n)
		debug.FreeOSMemory()
	}
	if r.panic != nil {
		t.Errorf("%s: panic: %v\n%s", about, r.panic, r.stack)
		return false
	}
	if r.err == nil {
		return true
	}
	Line(t, about, r.err.Error(), names...)
	return false
}

// Line fails the test if a message is not one printable line with all of the names
// in it.
func Line(t testing.TB, about, message string, names ...string) {
	t.Helper()
	bad := func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }
	switch {
	case message == "" || len(message) > maxLine:
		t.Errorf("%s: an error of %d bytes: %.300q", about, len(message), message)
	case strings.ContainsFunc(message, bad), !utf8.ValidString(message):
		t.Errorf("%s: not one printable line: %.600q", about, message)
	}
	for _, name := range names {
		if !strings.Contains(message, name) {
			t.Errorf("%s: %.600q, want %q in it", about, message, name)
		}
	}
}

// resident reads a size from the system's report, 0 where there is none.
func resident(key string) int {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(b, []byte(key))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kb, err := strconv.Atoi(string(fields[0]))
	if err != nil {
		return 0
	}
	return kb << 10
}
