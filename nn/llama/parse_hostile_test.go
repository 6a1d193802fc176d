package llama

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParseConfig looks for texts that make the reader of configurations panic,
// accept what Check refuses, or complain in more than one line.
func FuzzParseConfig(f *testing.F) {
	files, err := filepath.Glob("../../testdata/families/*/config*.json")
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
		for i := range c.NumHiddenLayers {
			families[c.ModelType].window(&c, i)
		}
		c.RoPE.frequencies(make([]float32, c.HeadDim/2), 10)
	})
}
