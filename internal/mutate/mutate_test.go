package mutate

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Mutants follow from the seed, are as many as asked for, and mostly differ.
func TestMutants(t *testing.T) {
	config, lines := read(t, "llama/mha/config.json"), []byte("{\"text\":\"a\"}\n{\"input_ids\":[1,2]}\n")
	for name, make := range map[string]func(seed uint64) iter.Seq[Mutant]{
		"JSON":        func(s uint64) iter.Seq[Mutant] { return JSON(s, 300, config) },
		"Lines":       func(s uint64) iter.Seq[Mutant] { return Lines(s, 300, lines) },
		"Index":       func(s uint64) iter.Seq[Mutant] { return Index(s, 300, config) },
		"Safetensors": func(s uint64) iter.Seq[Mutant] { return Safetensors(s, 300, read(t, "llama/mha/model.safetensors")) },
		"GGUF":        func(s uint64) iter.Seq[Mutant] { return GGUF(s, 300, read(t, "gguf/llama.gguf")) },
		"Protobuf": func(s uint64) iter.Seq[Mutant] {
			return Protobuf(s, 300, []byte("\x0a\x08\x0a\x01a\x15\x00\x00\x00\x00\x12\x02\x08\x01"))
		},
		"Template": func(s uint64) iter.Seq[Mutant] {
			return Template(s, 300, "{% for m in messages %} {{ m.content }} {% endfor %}")
		},
	} {
		collect := func(seed uint64) (out [][]byte, different int) {
			seen := map[string]bool{}
			for m := range make(seed) {
				out = append(out, append([]byte(m.About), m.Data...))
				seen[string(m.Data)] = true
			}
			return out, len(seen)
		}
		a, different := collect(1)
		b, _ := collect(1)
		c, _ := collect(2)
		if len(a) != 300 || different < 150 {
			t.Errorf("%s: %d mutants, %d different", name, len(a), different)
		}
		if !bytes.Equal(bytes.Join(a, nil), bytes.Join(b, nil)) {
			t.Errorf("%s: the same seed gives other mutants", name)
		}
		if bytes.Equal(bytes.Join(a, nil), bytes.Join(c, nil)) {
			t.Errorf("%s: another seed gives the same mutants", name)
		}
	}
}

// A document without changes is written as it was read.
func TestJSONTree(t *testing.T) {
	for _, doc := range []string{`{"b":[1,2.50,{"a":null}],"a":"x","a":-1e3}`, `[]`, `{}`, `"a"`} {
		if got := string(parseJSON([]byte(doc)).bytes()); got != doc {
			t.Errorf("%s is written %s", doc, got)
		}
	}
}

func TestProtobufTree(t *testing.T) {
	doc := []byte("\x0a\x08\x0a\x01a\x15\x00\x00\x00\x00\x12\x02\x08\x01\x19\x00\x00\x00\x00\x00\x00\x00\x00")
	if got := protoBytes(protoFields(doc)); !bytes.Equal(got, doc) {
		t.Errorf("%q is written %q", doc, got)
	}
}

// recorder is a test that notes its failures.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Errorf(format string, a ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, a...))
}
func (r *recorder) Fatalf(format string, a ...any) { r.Errorf(format, a...) }
func (r *recorder) Helper()                        {}

// The guard itself must be able to fail.
func TestGuard(t *testing.T) {
	never := make(chan bool)
	for about, c := range map[string]struct {
		f   func() error
		bad bool
	}{
		"fine":      {func() error { return nil }, false},
		"refused":   {func() error { return errors.New("f: no") }, false},
		"panic":     {func() error { panic("no") }, true},
		"two lines": {func() error { return errors.New("f: a\nb") }, true},
		"no name":   {func() error { return errors.New("no") }, true},
		"control":   {func() error { return errors.New("f: \x1b[31m") }, true},
		"long":      {func() error { return errors.New("f: " + string(make([]byte, 2<<20))) }, true},
		"endless":   {func() error { <-never; return nil }, true},
	} {
		r := &recorder{TB: t}
		guard(r, time.Second, about, c.f, "f: ")
		if (len(r.failures) > 0) != c.bad {
			t.Errorf("%s: failures %q", about, r.failures)
		}
	}
	if !testing.Short() && resident("VmHWM:") > 0 {
		debug.FreeOSMemory() // what other tests left would be used again, and not grow
		r := &recorder{TB: t}
		Guard(r, "large", func() error {
			b := make([]byte, maxMemory+1<<29)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			return nil
		})
		if len(r.failures) != 1 {
			t.Errorf("large: failures %q", r.failures)
		}
	}
}
