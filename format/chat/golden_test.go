package chat

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/format/tokenizer"
)

type goldenCase struct {
	Messages []Message      `json:"messages"`
	Prompt   bool           `json:"prompt"`
	Vars     map[string]any `json:"vars"`
	Text     string         `json:"text"`
	Error    string         `json:"error"`
	IDs      []int32        `json:"ids"`
	Mask     []int          `json:"mask"`
}

type goldenTemplate struct {
	Name   string       `json:"name"`
	Source string       `json:"source"`
	Plain  string       `json:"plain"`
	Cases  []goldenCase `json:"cases"`
}

func gunzip(tb testing.TB, path string) []byte {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func readGolden(tb testing.TB) (templates, marked []goldenTemplate) {
	tb.Helper()
	var g struct{ Templates, Marked []goldenTemplate }
	if err := json.Unmarshal(gunzip(tb, "../../testdata/chat/golden.json.gz"), &g); err != nil {
		tb.Fatal(err)
	}
	return g.Templates, g.Marked
}

func mustParse(tb testing.TB, source, name string) *Template {
	tb.Helper()
	t, err := Parse(source, name)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func TestRenderGolden(t *testing.T) {
	templates, marked := readGolden(t)
	for _, g := range slices.Concat(templates, marked) {
		t.Run(g.Name, func(t *testing.T) {
			tmpl := mustParse(t, g.Source, g.Name)
			for i, c := range g.Cases {
				got, err := tmpl.Render(c.Messages, c.Prompt, c.Vars)
				if c.Error != "" {
					if err == nil {
						t.Errorf("case %d: no error, want %q; got %q", i, c.Error, got)
					}
					var refusal *Refusal
					if errors.As(err, &refusal) && refusal.Message != c.Error {
						t.Errorf("case %d: refused with %q, want %q", i, refusal.Message, c.Error)
					}
					continue
				}
				if err != nil {
					t.Errorf("case %d: %v", i, err)
				} else if got != c.Text {
					t.Errorf("case %d:\n got %q\nwant %q", i, got, c.Text)
				}
			}
		})
	}
}

func testTokenizer(tb testing.TB) *tokenizer.Tokenizer {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "tokenizer.json")
	if err := os.WriteFile(path, gunzip(tb, "../../testdata/tokenizer/gpt2.json.gz"), 0o666); err != nil {
		tb.Fatal(err)
	}
	tok, err := tokenizer.Load(path)
	if err != nil {
		tb.Fatal(err)
	}
	return tok
}

// What is learned must be what transformers' assistant mask says, and the same
// without the marks in the template.
func TestLabelsGolden(t *testing.T) {
	tok := testTokenizer(t)
	_, marked := readGolden(t)
	for _, g := range marked {
		for name, source := range map[string]string{"marked": g.Source, "plain": g.Plain} {
			if source == "" {
				continue
			}
			t.Run(g.Name+"/"+name, func(t *testing.T) {
				tmpl := mustParse(t, source, g.Name)
				for i, c := range g.Cases {
					ids, labels, err := tmpl.Labels(c.Messages, c.Vars, tok)
					if g.Name == "chatml" && name == "plain" && c.Messages[0].Role == "assistant" {
						// Nothing comes before this turn, and nothing
						// is not how the conversation begins.
						if err == nil {
							t.Errorf("case %d: no error", i)
						}
						continue
					}
					if err != nil {
						t.Errorf("case %d: %v", i, err)
						continue
					}
					want := slices.Clone(c.IDs)
					for k, m := range c.Mask {
						if m == 0 {
							want[k] = IgnoreLabel
						}
					}
					if !slices.Equal(ids, c.IDs) {
						t.Errorf("case %d: ids %v, want %v", i, ids, c.IDs)
					} else if !slices.Equal(labels, want) {
						t.Errorf("case %d: %q\n got %v\nwant %v\n ids %v", i, c.Text, labels, want, ids)
					}
				}
			})
		}
	}
}
