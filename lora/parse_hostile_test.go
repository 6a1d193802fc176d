package lora

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzParseConfig looks for texts that make the reader of configurations panic,
// accept what Check refuses, or complain in more than one line.
func FuzzParseConfig(f *testing.F) {
	files, err := filepath.Glob("../testdata/lora*/*/adapter/adapter_config.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			if s := err.Error(); s == "" || strings.Contains(s, "\n") {
				t.Errorf("%q, want one line", s)
			}
			return
		}
		if err := c.Check(); err != nil {
			t.Errorf("accepted, but %v", err)
		}
		if m, err := c.matcher(); err == nil {
			for _, name := range []string{"", "model.layers.0.self_attn.q_proj", "lm_head", "model.embed_tokens"} {
				m.targeted(name)
				m.excluded(name)
				if r, _ := m.rank(name); r < 1 {
					t.Errorf("rank %d for %q", r, name)
				}
			}
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q, want one line", err)
		}
		// What is written is read as the same.
		text, err := c.JSON()
		if err != nil {
			t.Fatalf("writing it: %v", err)
		}
		again, err := ParseConfig(text)
		if err != nil {
			t.Fatalf("reading what was written, %s: %v", text, err)
		}
		again.raw, c.raw = nil, nil
		if d := cmp.Diff(c, again, cmp.AllowUnexported(Config{}), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("written and read again: %s", d)
		}
	})
}
