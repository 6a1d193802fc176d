package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each of these would run for long, or fail the process, if nothing bounded it.
func TestBounds(t *testing.T) {
	for name, c := range map[string]struct{ source, want string }{
		"loops":     {"{% for a in range(4000) %}{% for b in range(4000) %}{% endfor %}{% endfor %}", "turns of loops"},
		"range":     {"{% for a in range(1000000000) %}{% endfor %}", "range"},
		"recursion": {"{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "deep"},
		"recursive": {"{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "deep"},
		"output":    {"{% set x = 'x' * 1000000 %}{% for a in range(1000) %}{{ x }}{% endfor %}", "writes more"},
		"include":   {"{% include '/etc/passwd' %}", "include"},
		"import":    {"{% import '/etc/passwd' as p %}", "import"},
		"extends":   {"{% extends '/etc/passwd' %}", "extends"},
		"brackets":  {"{{ " + strings.Repeat("(", 100_000) + " }}", "nested"},
		"remainder": {"{{ 1 % 0 }}", "division by zero"},
		"long":      {strings.Repeat("x", maxSource+1), "bytes"},
		"unclosed":  {"{% if x %}", "EOF"},
		"unknown":   {"{% frobnicate %}", "frobnicate"},
		"arguments": {"{% generation x %}{% endgeneration %}", "generation"},
	} {
		t.Run(name, func(t *testing.T) {
			tmpl, err := Parse(c.source, "a.jinja")
			if err == nil {
				_, err = tmpl.Render([]Message{{Role: "user", Content: "x"}}, true, nil)
			}
			if err == nil {
				t.Fatal("no error")
			}
			if s := err.Error(); !strings.HasPrefix(s, "a.jinja: ") || !strings.Contains(s, c.want) || strings.Contains(s, "\n") || len(s) > 400 {
				t.Errorf("error %.500q, want one short line that names the file and %q", s, c.want)
			}
		})
	}
}

func TestRefusal(t *testing.T) {
	tmpl := mustParse(t, "{{ raise_exception('no ' ~ messages[0].role) }}", "t")
	_, err := tmpl.Render([]Message{{Role: "x"}}, false, nil)
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Message != "no x" || refusal.Template != "t" {
		t.Errorf("error %v, want a Refusal with the message %q", err, "no x")
	}
}

func TestStrftime(t *testing.T) {
	tmpl := mustParse(t, "{{ strftime_now('%d %b %Y|%B %A %H:%M:%S %j %%') }}", "t")
	tmpl.now = func() time.Time { return time.Date(2024, 7, 6, 5, 4, 3, 0, time.UTC) }
	got, err := tmpl.Render(nil, false, nil)
	if want := "06 Jul 2024|July Saturday 05:04:03 188 %"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// Values from Python 3.
func TestStrings(t *testing.T) {
	for expr, want := range map[string]string{
		`' a  b c '.split()`:               `["a", "b", "c"]`,
		`' a  b c '.split(None, 1)`:        `["a", "b c "]`,
		`'a,b,,c'.split(',')`:              `["a", "b", "", "c"]`,
		`'a,b,c'.split(',', 1)`:            `["a", "b,c"]`,
		`'a,b,c'.rsplit(',', 1)`:           `["a,b", "c"]`,
		`' a  b c '.rsplit(None, 1)`:       `[" a  b", "c"]`,
		`'a b'.split(maxsplit=0)`:          `["a b"]`,
		`''.split()`:                       `[]`,
		`'xxaxx'.strip('x')`:               `"a"`,
		`'\x1c a\u2028'.strip()`:           `"a"`,
		`'  a '.lstrip()`:                  `"a "`,
		`'  a '.rstrip(' ')`:               `"  a"`,
		`'x-y'.split('-')[-1]`:             `"y"`,
		`[5][-1]`:                          `5`,
		`[[5, 6]][-1][ - 2 ]`:              `5`,
		`'[-1]' ~ "x[-1]"`:                 `"[-1]x[-1]"`,
		`3 in [-1]`:                        `false`,
		`'\'[-1]'`:                         `"'[-1]"`,
		`{'a': {'b': none}, 'c': 1.5e300}`: `{"a": {"b": null}, "c": 1.5e+300}`,
	} {
		tmpl, err := Parse("{{ ("+expr+") | tojson }}", "t")
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if got, err := tmpl.Render(nil, false, nil); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", expr, got, err, want)
		}
	}
}

func TestToJSONOptions(t *testing.T) {
	vars := map[string]any{"v": map[string]any{"a": []any{1.0, "é😀\x01"}, "b": map[string]any{}}}
	for expr, want := range map[string]string{
		"v | tojson":                               `{"a": [1, "é😀\u0001"], "b": {}}`,
		"v | tojson(ensure_ascii=true)":            `{"a": [1, "\u00e9\ud83d\ude00\u0001"], "b": {}}`,
		"v | tojson(indent=1)":                     "{\n \"a\": [\n  1,\n  \"é😀\\u0001\"\n ],\n \"b\": {}\n}",
		"v | tojson(separators=(',', ':'))":        `{"a":[1,"é😀\u0001"],"b":{}}`,
		"missing | tojson(sort_keys=true)":         "null",
		"v | tojson(indent=none) | length":         "31",
		"[true, false, none, 3, 0.5]|tojson":       "[true, false, null, 3, 0.5]",
		"'\"\\\\\\n\\t' | tojson":                  `"\"\\\n\t"`,
		"(1, 2) | tojson(indent=0)":                "[\n1,\n2\n]",
		"v.a | tojson(indent=2)|replace('\n','~')": "[~  1,~  \"é😀\\u0001\"~]",
	} {
		tmpl, err := Parse("{{ "+expr+" }}", "t")
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if got, err := tmpl.Render(nil, false, vars); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", expr, got, err, want)
		}
	}
}

func TestMessageJSON(t *testing.T) {
	for in, want := range map[string]*Message{
		`{"role":"user","content":"x"}`:                       {Role: "user", Content: "x"},
		`{"content":"","role":"user","name":"n"}`:             {Role: "user", Extra: map[string]any{"name": "n"}},
		`{"role":"assistant","content":null,"tool_calls":[]}`: {Role: "assistant", Extra: map[string]any{"content": nil, "tool_calls": []any{}}},
		`{"role":"user","content":[{"type":"text"}]}`:         {Role: "user", Extra: map[string]any{"content": []any{map[string]any{"type": "text"}}}},
		`{"role":"user"}`:                                     nil,
		`{"content":"x"}`:                                     nil,
		`{"role":1,"content":"x"}`:                            nil,
		`[]`:                                                  nil,
	} {
		var m Message
		err := json.Unmarshal([]byte(in), &m)
		if want == nil {
			if err == nil {
				t.Errorf("%s: no error", in)
			}
		} else if diff := cmp.Diff(*want, m); err != nil || diff != "" {
			t.Errorf("%s: %v %s", in, err, diff)
		}
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string // rendered, or a part of the error
		fails bool
	}{
		"string": {files: map[string]string{"tokenizer_config.json": `{"bos_token":"<s>","eos_token":{"content":"</s>","lstrip":false},"chat_template":"{{ bos_token }}|{{ eos_token }}|{{ pad_token }}"}`}, want: "<s>|</s>|"},
		"jinja":  {files: map[string]string{"chat_template.jinja": "file", "tokenizer_config.json": `{"chat_template":"config"}`}, want: "file"},
		"list":   {files: map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"tool_use","template":"t"},{"name":"default","template":"d"}]}`}, want: "d"},
		"map":    {files: map[string]string{"tokenizer_config.json": `{"chat_template":"{{ bos_token }}{{ eos_token }}","eos_token":"E"}`, "special_tokens_map.json": `{"bos_token":"B","eos_token":"x"}`}, want: "BE"},
		"none":   {files: map[string]string{"tokenizer_config.json": `{"chat_template":null}`}, want: "no chat template", fails: true},
		"empty":  {files: nil, want: "no chat template", fails: true},
		"named":  {files: map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"x","template":"t"}]}`}, want: "default", fails: true},
		"number": {files: map[string]string{"tokenizer_config.json": `{"chat_template":3}`}, want: "chat_template", fails: true},
		"broken": {files: map[string]string{"tokenizer_config.json": `{"chat`}, want: "tokenizer_config.json", fails: true},
		"syntax": {files: map[string]string{"chat_template.jinja": "{% if %}"}, want: "chat_template.jinja", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range c.files {
				write(t, dir, file, content)
			}
			tmpl, err := Load(dir)
			if c.fails {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), dir) {
					t.Fatalf("error %v, want the path and %q", err, c.want)
				}
				if none := name == "none" || name == "empty"; errors.Is(err, ErrNone) != none {
					t.Errorf("errors.Is(%v, ErrNone) is %v", err, !none)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tmpl.Render(nil, false, nil); err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestLabelsInconsistent(t *testing.T) {
	// The last turn is written differently from the others.
	tmpl := mustParse(t, "{% for m in messages %}{{ m.role }}:{{ '!' if loop.last else '' }}{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:!{% endif %}", "t")
	_, _, err := tmpl.Labels([]Message{{Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}, {Role: "user", Content: "c"}}, nil, testTokenizer(t))
	if err == nil || !strings.Contains(err.Error(), "message 1") {
		t.Errorf("error %v, want one that names message 1", err)
	}
}

// The header of the turn and what follows its end are not learned; the content
// and the end of turn are.
func TestLabelsText(t *testing.T) {
	tok := testTokenizer(t)
	tmpl := mustParse(t, "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}", "t")
	ids, labels, err := tmpl.Labels([]Message{{Role: "system", Content: "s"}, {Role: "user", Content: "u"}, {Role: "assistant", Content: "one"}, {Role: "user", Content: "v"}, {Role: "assistant", Content: "two 2"}}, nil, tok)
	if err != nil {
		t.Fatal(err)
	}
	var learned []string
	for i := 0; i < len(ids); i++ {
		j := i
		for j < len(ids) && labels[j] != IgnoreLabel {
			j++
		}
		if j > i {
			learned = append(learned, tok.Decode(ids[i:j], false))
			i = j
		}
	}
	if want := []string{"one<|im_end|>", "two 2<|im_end|>"}; !slices.Equal(learned, want) {
		t.Errorf("learned %q, want %q", learned, want)
	}
}

func TestConcurrent(t *testing.T) {
	templates, _ := readGolden(t)
	g := templates[0]
	tmpl := mustParse(t, g.Source, g.Name)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i, c := range g.Cases {
				if got, err := tmpl.Render(c.Messages, c.Prompt, c.Vars); c.Error == "" && (err != nil || got != c.Text) {
					t.Errorf("case %d: got %q, %v", i, got, err)
				}
			}
		})
	}
	wg.Wait()
}

// unbounded are the expressions that may allocate without bound.
var unbounded = regexp.MustCompile(`\*|[^{]%[^}]|just|center|indent|zfill|lipsum|format|expandtabs|wordwrap|batch|slice`)

func FuzzParse(f *testing.F) {
	templates, marked := readGolden(f)
	for _, g := range slices.Concat(templates, marked) {
		f.Add(g.Source)
	}
	f.Add("{% for x in messages recursive %}{{ loop(x) }}{% endfor %}")
	f.Add("{{ messages[-1][-2:] }}{% set a.b = 1 %}")
	f.Fuzz(func(t *testing.T, source string) {
		if unbounded.MatchString(source) {
			return
		}
		tmpl, err := Parse(source, "t")
		if err != nil {
			return
		}
		if _, err := tmpl.Render([]Message{{Role: "user", Content: "x"}, {Role: "assistant", Content: "y"}}, true, map[string]any{"bos_token": "<s>"}); err != nil && !strings.HasPrefix(err.Error(), "t: ") {
			t.Errorf("error %q does not name the template", err)
		}
	})
}

func ExampleTemplate_Render() {
	t, err := Parse("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", "chatml")
	if err != nil {
		panic(err)
	}
	text, err := t.Render([]Message{{Role: "user", Content: "Hello"}}, true, nil)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%q\n", text)
	// Output: "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
}
