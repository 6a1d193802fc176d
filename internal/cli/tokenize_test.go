package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTokenize(t *testing.T) {
	const chat = testdata + "/llama/chat"
	ids := tenonCmd(t, "tokenize", "--model", chat, "--text", "hello")
	if ids.code != exitDone || !strings.HasPrefix(ids.stdout, "[") || ids.err != "" {
		t.Fatalf("%+v", ids)
	}
	for _, model := range []string{chat + "/tokenizer.json", chat + "/model.safetensors", testdata + "/llama/gguf/chat.F32.gguf"} {
		if got := tenonCmd(t, "tokenize", "--model", model, "--text", "hello"); got != ids {
			t.Errorf("%s: got %+v, want %+v", model, got, ids)
		}
	}
	for _, text := range []string{ids.stdout, strings.Trim(ids.stdout, "[]\n")} {
		if got := tenonCmd(t, "tokenize", "--model", chat, "--decode", "--no-special", "--text", text); got.stdout != "hello\n" {
			t.Errorf("%s: %+v", text, got)
		}
	}
	if got := tenonCmd(t, "tokenize", "--model", chat, "--decode", "--no-special", "--json", "--text", ids.stdout); got.stdout != "\"hello\"\n" {
		t.Errorf("%+v", got)
	}
	if got := tenonCmd(t, "tokenize", "--model", chat, "--no-special", "--text", ""); got.stdout != "[]\n" {
		t.Errorf("%+v", got)
	}
}

func TestTokenizeFile(t *testing.T) {
	const chat = testdata + "/llama/chat"
	dir := t.TempDir()
	texts, ids := filepath.Join(dir, "texts.jsonl"), filepath.Join(dir, "ids.jsonl")
	in := "\"hello <b> & \\u00e9\\n\"\n  \"\"\r\n\"漢字\"" // no line break at the end
	if err := os.WriteFile(texts, []byte(in), 0o666); err != nil {
		t.Fatal(err)
	}
	r := tenonCmd(t, "tokenize", "--model", chat, "--no-special", "--file", texts)
	if r.code != exitDone || strings.Count(r.stdout, "\n") != 3 || !strings.Contains(r.stdout, "\n[]\n") {
		t.Fatalf("%+v", r)
	}
	if err := os.WriteFile(ids, []byte(r.stdout), 0o666); err != nil {
		t.Fatal(err)
	}
	want := "\"hello <b> & é\\n\"\n\"\"\n\"漢字\"\n"
	if r := tenonCmd(t, "tokenize", "--model", chat, "--decode", "--file", ids); r.stdout != want {
		t.Errorf("got %q, want %q; %s", r.stdout, want, r.err)
	}
}

func TestTokenizeErrors(t *testing.T) {
	const chat = testdata + "/llama/chat"
	dir := t.TempDir()
	plant(t, dir, map[string]string{"bad.jsonl": "\"a\"\nb\n", "blank.jsonl": "\"a\"\n\n\"b\"\n", "null.jsonl": "null\n", "ids.jsonl": "[1]\n[null]\n", "none/x": ""})
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--model", chat, "--file", dir + "/bad.jsonl"}, []string{"bad.jsonl: line 2: want a JSON string"}},
		{[]string{"--model", chat, "--file", dir + "/blank.jsonl"}, []string{"blank.jsonl: line 2: want a JSON string"}},
		{[]string{"--model", chat, "--file", dir + "/null.jsonl"}, []string{"null.jsonl: line 1: want a JSON string"}},
		{[]string{"--model", chat, "--decode", "--file", dir + "/ids.jsonl"}, []string{"ids.jsonl: line 2: want a JSON array of token ids"}},
		{[]string{"--model", chat, "--file", dir + "/missing.jsonl"}, []string{"missing.jsonl"}},
		{[]string{"--model", dir + "/missing", "--text", "a"}, []string{"missing"}},
		{[]string{"--model", dir + "/none", "--text", "a"}, []string{"none/tokenizer.json"}},
	} {
		r := tenonCmd(t, append([]string{"tokenize"}, c.args...)...)
		r.stdout = "" // the lines before the bad one
		r.failed(t, c.want...)
	}
	for _, args := range [][]string{
		{"--text", "a"}, {"--model", chat}, {"--model", "", "--text", "a"}, {"--model", chat, "--text", "a", "--file", "b"},
		{"--model", chat, "--decode", "--text", "1,x"}, {"--model", chat, "--decode", "--text", "-1"}, {"--model", chat, "--text", "a", "b"},
	} {
		if r := tenonCmd(t, append([]string{"tokenize"}, args...)...); r.code != exitUsage || r.stdout != "" {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// The wanted texts are what Python's bytes.decode(errors="replace") gives.
func TestReplaceInvalid(t *testing.T) {
	for in, want := range map[string]string{
		"plain é":          "plain é",
		"\xff":             "\ufffd",
		"\xe2\x82":         "\ufffd",
		"\xe2\x82x":        "\ufffdx",
		"\xe2\x28\xa1":     "\ufffd(\ufffd",
		"\xf0\x9f\x98":     "\ufffd",
		"\xf0\x80\x80\x80": "\ufffd\ufffd\ufffd\ufffd",
		"\xed\xa0\x80":     "\ufffd\ufffd\ufffd",
		"\xc0\xaf":         "\ufffd\ufffd",
		"\xf4\x90\x80\x80": "\ufffd\ufffd\ufffd\ufffd",
		"\xe0\x80\xe0\xa0": "\ufffd\ufffd\ufffd",
		"a\ufffdb\x80":     "a\ufffdb\ufffd",
	} {
		if got := string(replaceInvalid([]byte(in))); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
