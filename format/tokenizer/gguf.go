package tokenizer

import (
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"
)

// Metadata is what a GGUF file says of its tokenizer; the comments name the
// keys. A nil pointer is a key that the file does not have.
type Metadata struct {
	Path string // of the file, for errors

	Model  string   // tokenizer.ggml.model
	Pre    string   // tokenizer.ggml.pre
	Tokens []string // tokenizer.ggml.tokens
	Types  []int32  // tokenizer.ggml.token_type, or empty
	Merges []string // tokenizer.ggml.merges

	BOS *int64 // tokenizer.ggml.bos_token_id
	EOS *int64 // tokenizer.ggml.eos_token_id
	EOT *int64 // tokenizer.ggml.eot_token_id, ends a turn
	EOM *int64 // tokenizer.ggml.eom_token_id, ends a message
	Unk *int64 // tokenizer.ggml.unknown_token_id
	Pad *int64 // tokenizer.ggml.padding_token_id

	AddBOS *bool // tokenizer.ggml.add_bos_token
	AddEOS *bool // tokenizer.ggml.add_eos_token
}

// Token types of GGUF that are cut out of the text.
const (
	ggufControl     = 3
	ggufUserDefined = 4
)

// preGGUF is what llama.cpp does for a name in tokenizer.ggml.pre.
type preGGUF struct {
	split        preTokenizer
	ignoreMerges bool
	addBOS       bool // unless the file says otherwise
}

var (
	preGPT2   = preGGUF{split: byteLevel(false, true)}
	preSmolLM = preGGUF{split: inSequence(digits(true), byteLevel(false, true))}
	preLlama3 = preGGUF{
		split:        inSequence(splitter(matchLlama3, isolated, false), byteLevel(false, false)),
		ignoreMerges: true,
		addBOS:       true,
	}
	preQwen2   = preGGUF{split: inSequence(splitter(matchQwen2, isolated, false), byteLevel(false, false))}
	preDefault = preGGUF{split: inSequence(
		splitter(matchPunctuation, isolated, false),
		splitter(matchGPT2, isolated, false),
		splitter(matchNumber, isolated, false),
		splitter(matchThreeDigits, isolated, false),
		byteLevel(false, false),
	)}
)

var presGGUF = map[string]preGGUF{
	"gpt-2":     preGPT2,
	"smollm":    preSmolLM,
	"llama-bpe": preLlama3,
	"llama3":    preLlama3,
	"llama-v3":  preLlama3,
	"qwen2":     preQwen2,
	"default":   preDefault,
}

// FromGGUF builds the tokenizer of a GGUF file: a byte-level BPE ("gpt2") with
// the pre-tokenizer that tokenizer.ggml.pre names. Control and user-defined
// tokens are found inside the text as they are written; control tokens are the
// special ones.
func FromGGUF(m Metadata) (*Tokenizer, error) {
	t, err := fromGGUF(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Path, err)
	}
	return t, nil
}

func fromGGUF(g Metadata) (*Tokenizer, error) {
	if g.Model != "gpt2" {
		return nil, wrapKey("tokenizer.ggml.model", unsupported(g.Model, `"gpt2"`))
	}
	pre, ok := presGGUF[g.Pre]
	if !ok {
		names := slices.Sorted(func(yield func(string) bool) {
			for n := range presGGUF {
				if !yield(n) {
					return
				}
			}
		})
		return nil, wrapKey("tokenizer.ggml.pre", unsupported(g.Pre, fmt.Sprintf("one of %q", names)))
	}
	if len(g.Types) != 0 && len(g.Types) != len(g.Tokens) {
		return nil, fmt.Errorf("tokenizer.ggml.token_type: %d types, want one for each of %d tokens", len(g.Types), len(g.Tokens))
	}
	if len(g.Tokens) == 0 || len(g.Tokens) > maxID {
		return nil, fmt.Errorf("tokenizer.ggml.tokens: %d tokens, want 1 to %d", len(g.Tokens), maxID)
	}
	vocab := make(map[string]int32, len(g.Tokens))
	var added []addedToken
	for id, token := range g.Tokens {
		if other, ok := vocab[token]; ok {
			return nil, fmt.Errorf("tokenizer.ggml.tokens: %q is token %d and token %d", token, other, id)
		}
		vocab[token] = int32(id)
		if len(g.Types) > 0 && (g.Types[id] == ggufControl || g.Types[id] == ggufUserDefined) {
			added = append(added, addedToken{ID: int64(id), Content: token, Special: g.Types[id] == ggufControl})
		}
	}
	merges, err := splitMerges(g.Merges)
	if err != nil {
		return nil, wrapKey("tokenizer.ggml.merges", err)
	}
	t := &Tokenizer{split: pre.split, byteLevel: true}
	if t.model, err = newBPE(bpeConfig{vocab: vocab, merges: merges, ignoreMerges: pre.ignoreMerges}); err != nil {
		return nil, wrapKey("tokenizer.ggml", err)
	}
	if t.added, err = newAddedVocabulary(added, t.model, nil); err != nil {
		return nil, err
	}
	if err := t.finish(); err != nil {
		return nil, err
	}
	var eot, eom int32
	for _, x := range []struct {
		key string
		in  *int64
		out *int32
	}{
		{"bos", g.BOS, &t.bos}, {"eos", g.EOS, &t.eos}, {"eot", g.EOT, &eot},
		{"eom", g.EOM, &eom}, {"unknown", g.Unk, &t.unk}, {"padding", g.Pad, &t.pad},
	} {
		*x.out = -1
		if x.in == nil {
			continue
		}
		if *x.in < 0 || *x.in >= int64(len(g.Tokens)) {
			return nil, fmt.Errorf("tokenizer.ggml.%s_token_id: %d, want 0 to %d", x.key, *x.in, len(g.Tokens)-1)
		}
		*x.out = int32(*x.in)
	}
	for _, id := range []int32{t.eos, eot, eom} {
		if id >= 0 && !slices.Contains(t.stops, id) {
			t.stops = append(t.stops, id)
		}
	}
	addBOS, addEOS := pre.addBOS, false
	if g.AddBOS != nil {
		addBOS = *g.AddBOS
	}
	if g.AddEOS != nil {
		addEOS = *g.AddEOS
	}
	if addBOS && t.bos >= 0 {
		t.prefix = []int32{t.bos}
	}
	if addEOS && t.eos >= 0 {
		t.suffix = []int32{t.eos}
	}
	return t, nil
}

// The patterns that llama.cpp's "default" applies besides GPT-2's.

// matchPunctuation matches [\p{P}\$\+<=>\^~\|]+.
func matchPunctuation(s string) int {
	i := 0
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch r {
		case '$', '+', '<', '=', '>', '^', '~', '|':
		default:
			if !unicode.IsPunct(r) {
				return i
			}
		}
		i += n
	}
	return i
}

// matchNumber matches \p{N}+.
func matchNumber(s string) int { return run(s, number) }

// matchThreeDigits matches [0-9][0-9][0-9].
func matchThreeDigits(s string) int {
	if len(s) < 3 {
		return 0
	}
	for i := range 3 {
		if s[i] < '0' || s[i] > '9' {
			return 0
		}
	}
	return 3
}
