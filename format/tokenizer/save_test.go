package tokenizer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// savable are tokenizers of every kind that Save writes.
func savable(t *testing.T) map[string]*Tokenizer {
	t.Helper()
	all := map[string]*Tokenizer{}
	for _, name := range []string{"gpt2", "prefix", "llama3", "qwen2", "behaviors", "unk", "llama-legacy", "llama-normalized", "mistral", "metaspace", "metaspace-never", "tekken"} {
		all["json-"+name] = trained(t, name)
	}
	gguf := func(name string, m metadata) {
		tok, err := FromGGUF(m)
		if err != nil {
			t.Fatal(err)
		}
		all["gguf-"+name] = tok
	}
	for pre, name := range map[string]string{"gpt-2": "gpt2", "smollm": "smollm", "llama-bpe": "llama3", "dbrx": "llama3", "qwen2": "qwen2", "tekken": "tekken", "default": "gpt2"} {
		m := ggufOf(t, name, pre)
		types := slices.Repeat([]int32{pieceNormal}, len(m["tokenizer.ggml.tokens"].([]string)))
		types[0], types[1], types[300] = pieceControl, pieceControl, pieceUser
		m["tokenizer.ggml.token_type"] = types
		m["tokenizer.ggml.add_eos_token"] = pre == "qwen2"
		gguf(pre, m)
	}
	for _, name := range []string{"sp-llama", "sp-nodummy"} {
		gguf(name, ggufOfModel(t, name))
	}
	gguf("spaces", equalSpaces(t, 2, 4, 8, 16))
	return all
}

// What Save writes is the same tokenizer when it is read again. With
// TENON_SAVE_DIR the folders stay there with the ids of all test strings, for
// testdata/gen/tokenizer_save.py to compare with the reference libraries.
func TestSave(t *testing.T) {
	texts := testStrings(t)
	for name, tok := range savable(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if keep := os.Getenv("TENON_SAVE_DIR"); keep != "" {
				dir = filepath.Join(keep, name)
				if err := os.MkdirAll(dir, 0o777); err != nil {
					t.Fatal(err)
				}
			}
			const template = "{% for m in messages %}<{{ m.role }}>\n{% endfor %}"
			if err := tok.Save(dir, template); err != nil {
				t.Fatal(err)
			}
			back, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			type result struct {
				IDs     []int32
				Decoded string
			}
			results := make([]result, len(texts))
			differ := 0
			for i, text := range texts {
				ids := tok.Encode(text, true)
				results[i] = result{ids, tok.Decode(ids, true)}
				if got := back.Encode(text, true); !slices.Equal(got, ids) {
					if differ++; differ < 5 {
						t.Errorf("%.200q: %q, want %q", text, tokensOf(back, got), tokensOf(tok, ids))
					}
				}
				if got := back.Decode(ids, false); got != tok.Decode(ids, false) {
					t.Errorf("Decode(%v) = %q, want %q", ids, got, tok.Decode(ids, false))
				}
			}
			if differ > 0 {
				t.Errorf("%d differences", differ)
			}
			if back.bos != tok.bos || back.eos != tok.eos || back.pad != tok.pad || back.VocabSize() != tok.VocabSize() {
				t.Errorf("BOS %d, EOS %d, padding %d of %d tokens, want %d, %d, %d of %d", back.bos, back.eos, back.pad, back.VocabSize(), tok.bos, tok.eos, tok.pad, tok.VocabSize())
			}
			var config struct {
				Template string `json:"chat_template"`
			}
			if _, err := readJSON(filepath.Join(dir, "tokenizer_config.json"), &config); err != nil || config.Template != template {
				t.Errorf("chat template %q, %v", config.Template, err)
			}
			if os.Getenv("TENON_SAVE_DIR") != "" {
				writeJSON(t, filepath.Join(dir, "ids.json"), results)
			}
		})
	}
}

// equalSpaces is a GGUF file whose runs of spaces have equal scores, as
// Mistral's have, and only those of some lengths.
func equalSpaces(t *testing.T, lengths ...int) metadata {
	m := ggufOfModel(t, "sp-llama")
	tokens := m["tokenizer.ggml.tokens"].([]string)
	for id, token := range tokens {
		n := len(token) / len(spmSpace)
		switch {
		case n < 2 || strings.Trim(token, spmSpace) != "":
		case slices.Contains(lengths, n):
			m["tokenizer.ggml.scores"].([]float32)[id] = -1e9
		default:
			tokens[id] = fmt.Sprintf("<run of %d>", n)
		}
	}
	return m
}

func TestSaveErrors(t *testing.T) {
	change := func(f func(tokens []string, scores []float32, types []int32)) metadata {
		m := ggufOfModel(t, "sp-llama")
		f(m["tokenizer.ggml.tokens"].([]string), m["tokenizer.ggml.scores"].([]float32), m["tokenizer.ggml.token_type"].([]int32))
		return m
	}
	same := change(func(_ []string, scores []float32, _ []int32) { clear(scores) })
	bytes := change(func(tokens []string, _ []float32, _ []int32) {
		tokens[slices.Index(tokens, "<0x41>")] = "<byte>"
	})
	loose := change(func(tokens []string, _ []float32, _ []int32) {
		tokens[slices.Index(tokens, "th")] = "\U0001fa77\U0001fa78"
	})
	notText := ggufOf(t, "gpt2", "gpt-2")
	notText["tokenizer.ggml.tokens"].([]string)[0] = "\xff"
	model, err := Load(spmFolder(t, "sp-llama", object{}))
	if err != nil {
		t.Fatal(err)
	}
	for want, tok := range map[string]*Tokenizer{
		"such as \"▁▁\"":      mustGGUF(t, equalSpaces(t, 2, 3, 4, 5, 6, 8, 12, 16)),
		"of the same score":   mustGGUF(t, same),
		"no token <0x41>":     mustGGUF(t, bytes),
		"not both tokens":     mustGGUF(t, loose),
		"is not UTF-8":        mustGGUF(t, notText),
		"the tokenizer.model": model,
	} {
		dir := t.TempDir()
		err := tok.Save(dir, "")
		if err == nil || !strings.HasPrefix(err.Error(), dir) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that names the file and %q", err, want)
		}
	}
	if err := trained(t, "unk").Save(filepath.Join(t.TempDir(), "none"), ""); err == nil {
		t.Error("no error for a folder that does not exist")
	}
}

func mustGGUF(t *testing.T, m metadata) *Tokenizer {
	t.Helper()
	tok, err := FromGGUF(m)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// A vocabulary is written in the order of its ids.
func TestOrderedVocab(t *testing.T) {
	got, err := json.Marshal(orderedVocab{"b": 0, "\"": 2, "a": 1})
	if want := `{"b":0,"a":1,"\"":2}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}
