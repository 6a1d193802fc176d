package tokenizer

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"unicode"
	"unicode/utf8"
)

// Metadata is the metadata of a GGUF file; format/gguf's File is one.
type Metadata interface {
	// Path names the file, for errors.
	Path() string
	// Value returns the value of a key: an integer type, bool, string, or a
	// slice of one; ok is false if the file does not have the key.
	Value(key string) (v any, ok bool)
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
// the pre-tokenizer that tokenizer.ggml.pre names, "default" if there is no such
// key. Control and user-defined
// tokens are found inside the text as they are written; control tokens are the
// special ones. Without tokenizer.ggml.add_bos_token, BOS is added where
// llama.cpp adds it: for Llama 3.
func FromGGUF(m Metadata) (*Tokenizer, error) {
	t, err := fromGGUF(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Path(), err)
	}
	return t, nil
}

func fromGGUF(m Metadata) (*Tokenizer, error) {
	kind, _, err1 := value[string](m, "tokenizer.ggml.model")
	name, named, err2 := value[string](m, "tokenizer.ggml.pre")
	tokens, _, err3 := value[[]string](m, "tokenizer.ggml.tokens")
	types, _, err4 := value[[]int32](m, "tokenizer.ggml.token_type")
	lines, _, err5 := value[[]string](m, "tokenizer.ggml.merges")
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, err
	}
	if kind != "gpt2" {
		return nil, wrapKey("tokenizer.ggml.model", unsupported(kind, `"gpt2"`))
	}
	if !named { // as in files from before the key was there
		name = "default"
	}
	pre, ok := presGGUF[name]
	if !ok {
		return nil, wrapKey("tokenizer.ggml.pre", unsupported(name, fmt.Sprintf("one of %q", slices.Sorted(maps.Keys(presGGUF)))))
	}
	if len(types) != 0 && len(types) != len(tokens) {
		return nil, fmt.Errorf("tokenizer.ggml.token_type: %d types, want one for each of %d tokens", len(types), len(tokens))
	}
	if len(tokens) == 0 || len(tokens) > maxID {
		return nil, fmt.Errorf("tokenizer.ggml.tokens: %d tokens, want 1 to %d", len(tokens), maxID)
	}
	vocab := make(map[string]int32, len(tokens))
	var added []addedToken
	for id, token := range tokens {
		if other, ok := vocab[token]; ok {
			return nil, fmt.Errorf("tokenizer.ggml.tokens: %q is token %d and token %d", token, other, id)
		}
		vocab[token] = int32(id)
		if len(types) > 0 && (types[id] == ggufControl || types[id] == ggufUserDefined) {
			added = append(added, addedToken{ID: int64(id), Content: token, Special: types[id] == ggufControl})
		}
	}
	merges, err := splitMerges(lines)
	if err != nil {
		return nil, wrapKey("tokenizer.ggml", err)
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
	return t, t.readGGUF(m, pre, len(tokens))
}

// readGGUF reads which tokens are special and which are added.
func (t *Tokenizer) readGGUF(m Metadata, pre preGGUF, tokens int) error {
	var eot, eom int32 // the ends of a turn and of a message
	for _, x := range []struct {
		key string
		id  *int32
	}{
		{"tokenizer.ggml.bos_token_id", &t.bos},
		{"tokenizer.ggml.eos_token_id", &t.eos},
		{"tokenizer.ggml.eot_token_id", &eot},
		{"tokenizer.ggml.eom_token_id", &eom},
		{"tokenizer.ggml.unknown_token_id", &t.unk},
		{"tokenizer.ggml.padding_token_id", &t.pad},
	} {
		*x.id = -1
		v, ok := m.Value(x.key)
		if !ok {
			continue
		}
		id, ok := integer(v)
		if !ok || id < 0 || id >= int64(tokens) {
			return fmt.Errorf("%s: %v, want an integer from 0 to %d", x.key, v, tokens-1)
		}
		*x.id = int32(id)
	}
	for _, id := range []int32{t.eos, eot, eom} {
		if id >= 0 && !slices.Contains(t.stops, id) {
			t.stops = append(t.stops, id)
		}
	}
	addBOS, ok, err := value[bool](m, "tokenizer.ggml.add_bos_token")
	if err != nil {
		return err
	}
	if (addBOS || !ok && pre.addBOS) && t.bos >= 0 {
		t.prefix = []int32{t.bos}
	}
	addEOS, _, err := value[bool](m, "tokenizer.ggml.add_eos_token")
	if err != nil {
		return err
	}
	if addEOS && t.eos >= 0 {
		t.suffix = []int32{t.eos}
	}
	return nil
}

// value returns the value of a key if the file has it; it is an error if it is
// of another type.
func value[T any](m Metadata, key string) (v T, ok bool, err error) {
	a, ok := m.Value(key)
	if !ok {
		return v, false, nil
	}
	if v, ok = a.(T); !ok {
		return v, false, fmt.Errorf("%s: is a %T, want a %T", key, a, v)
	}
	return v, true, nil
}

// integer reads any of GGUF's integer types.
func integer(v any) (int64, bool) {
	switch r := reflect.ValueOf(v); {
	case r.CanInt():
		return r.Int(), true
	case r.CanUint() && r.Uint() <= math.MaxInt64:
		return int64(r.Uint()), true
	}
	return 0, false
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
