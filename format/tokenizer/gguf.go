package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
)

// Metadata is the metadata of a GGUF file; format/gguf's File is one.
type Metadata interface {
	// Path names the file, for errors.
	Path() string
	// Value returns the value of a key: an integer type, bool, string, or a
	// slice of one; ok is false if the file does not have the key.
	Value(key string) (v any, ok bool)
}

// preGGUF is what llama.cpp does for a name in tokenizer.ggml.pre.
type preGGUF struct {
	json         string // the pre-tokenizer, as a tokenizer.json writes it
	normalizer   string // and the normalizer; "": none
	ignoreMerges bool
	addBOS       bool // unless the file says otherwise
}

// splitJSON is a Split by regular expressions, each by itself, and then the
// byte level.
func splitJSON(regexes ...string) string {
	steps := make([]any, 0, len(regexes)+1)
	for _, r := range regexes {
		steps = append(steps, map[string]any{"type": "Split", "pattern": map[string]string{"Regex": r}, "behavior": "Isolated", "invert": false})
	}
	steps = append(steps, json.RawMessage(`{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}`))
	return string(mustJSON(map[string]any{"type": "Sequence", "pretokenizers": steps}))
}

const (
	byteLevelJSON = `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`
	digitsJSON    = `{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},` + byteLevelJSON + `]}`
)

// presGGUF has the names that llama.cpp knows for models of the architectures
// llama, mistral, qwen2 and qwen3, grouped by what llama.cpp does for them.
// In two places llama.cpp does not do what the models were trained with, and
// their own tokenizer.json is followed: the pattern of tekken (Mistral Nemo and
// later), which llama.cpp only approximates, and Qwen's normal form C, which it
// leaves out.
var presGGUF = func() map[string]preGGUF {
	all := map[string]preGGUF{
		"default": {json: splitJSON(patternPunctuation, patternGPT2, patternNumber, patternThreeDigits)},
		"tekken":  {json: splitJSON(patternTekken), ignoreMerges: true, addBOS: true},
		"qwen2":   {json: splitJSON(patternQwen2), normalizer: `{"type":"NFC"}`},
	}
	for _, group := range []struct {
		pre   preGGUF
		names []string
	}{
		{preGGUF{json: byteLevelJSON}, []string{"gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "mellum", "a.x-4.0", "exaone4", "trillion"}},
		{preGGUF{json: digitsJSON}, []string{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"}},
		{preGGUF{json: splitJSON(patternLlama3), ignoreMerges: true, addBOS: true}, []string{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"}},
		{preGGUF{json: splitJSON(patternLlama3)}, []string{"dbrx", "smaug-bpe"}},
		{preGGUF{json: splitJSON(patternQwen2)}, []string{"deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"}},
	} {
		for _, name := range group.names {
			all[name] = group.pre
		}
	}
	return all
}()

// FromGGUF builds the tokenizer of a GGUF file.
//
// Model "gpt2" is a byte-level BPE with the pre-tokenizer that
// tokenizer.ggml.pre names, "default" if there is no such key. Without
// tokenizer.ggml.add_bos_token, BOS is added where llama.cpp adds it: for Llama
// 3, Mistral Nemo and what they name alike.
//
// Model "llama" is a SentencePiece BPE with scores and byte tokens, as llama.cpp
// reads it: spaces become ▁, one is put before the text and before what follows
// a special token (tokenizer.ggml.add_space_prefix, true if absent), and BOS is
// added unless the file says otherwise. It decodes as the tokenizer.json of such
// models does.
//
// Control, unknown and user-defined tokens are found inside the text as they
// are written; control and unknown ones are the special ones.
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
	if kind != "gpt2" && kind != "llama" {
		return nil, wrapKey("tokenizer.ggml.model", unsupported(kind, `"gpt2" or "llama"`))
	}
	if len(types) != 0 && len(types) != len(tokens) {
		return nil, fmt.Errorf("tokenizer.ggml.token_type: %d types, want one for each of %d tokens", len(types), len(tokens))
	}
	if len(tokens) == 0 || len(tokens) > maxID {
		return nil, fmt.Errorf("tokenizer.ggml.tokens: %d tokens, want 1 to %d", len(tokens), maxID)
	}
	if slices.Contains(tokens, "") { // llama.cpp gives them a name
		tokens = slices.Clone(tokens)
		for id, token := range tokens {
			if token == "" {
				tokens[id] = fmt.Sprintf("[EMPTY_%d]", id)
			}
		}
	}
	if kind == "llama" {
		return fromSPM(m, tokens, types)
	}
	if !named { // as in files from before the key was there
		name = "default"
	}
	pre, ok := presGGUF[name]
	if !ok {
		return nil, wrapKey("tokenizer.ggml.pre", unsupported(name, fmt.Sprintf("one of %q", slices.Sorted(maps.Keys(presGGUF)))))
	}
	vocab := make(map[string]int32, len(tokens))
	for id, token := range tokens {
		if other, ok := vocab[token]; ok {
			return nil, fmt.Errorf("tokenizer.ggml.tokens: %q is token %d and token %d", token, other, id)
		}
		vocab[token] = int32(id)
	}
	merges, err := splitMerges(lines)
	if err != nil {
		return nil, wrapKey("tokenizer.ggml", err)
	}
	t := &Tokenizer{byteLevel: true, parts: parts{json.RawMessage(pre.normalizer), json.RawMessage(pre.json), json.RawMessage(byteLevelJSON)}}
	if t.normalize, err = parseNormalizer(t.parts.normalizer, 0, new(growth)); err != nil {
		return nil, err
	}
	if t.split, err = parsePreTokenizer(t.parts.preTokenizer, 0, new(growth)); err != nil {
		return nil, err
	}
	if t.model, err = newBPE(bpeConfig{vocab: vocab, merges: merges, ignoreMerges: pre.ignoreMerges}); err != nil {
		return nil, wrapKey("tokenizer.ggml", err)
	}
	return t.readGGUF(m, tokens, types, map[string]int32{}, pre.addBOS)
}

// fromSPM builds the tokenizer of model "llama".
func fromSPM(m Metadata, tokens []string, types []int32) (*Tokenizer, error) {
	scores, _, err1 := value[[]float32](m, "tokenizer.ggml.scores")
	addPrefix, set, err2 := value[bool](m, "tokenizer.ggml.add_space_prefix")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if len(scores) != 0 && len(scores) != len(tokens) {
		return nil, fmt.Errorf("tokenizer.ggml.scores: %d scores, want one for each of %d tokens", len(scores), len(tokens))
	}
	pieces := make([]spmPiece, len(tokens))
	for id, token := range tokens {
		pieces[id] = spmPiece{text: token, kind: pieceNormal}
		if len(scores) > 0 {
			pieces[id].score = scores[id]
		}
		if len(types) > 0 {
			pieces[id].kind = types[id]
		}
	}
	model, err := newSPM(pieces, func(kind int32) bool { return kind != pieceControl && kind != pieceUser && kind != pieceUnknown })
	if err != nil {
		return nil, wrapKey("tokenizer.ggml.tokens", err)
	}
	model.bytes, _ = byteTokens(model.vocab)
	for b, id := range model.bytes {
		if id >= 0 {
			continue
		}
		if id, ok := model.vocab[string([]byte{byte(b)})]; ok {
			model.bytes[b] = id
		}
	}
	t := &Tokenizer{model: model, parts: partsSPM(addPrefix || !set)}
	if t.normalize, err = parseNormalizer(t.parts.normalizer, 0, new(growth)); err != nil {
		return nil, err
	}
	if t.decoder, _, err = parseDecoder(t.parts.decoder); err != nil {
		return nil, err
	}
	defaults := map[string]int32{"bos": 1, "eos": 2, "unknown": 0}
	if t, err = t.readGGUF(m, tokens, types, defaults, true); err != nil {
		return nil, err
	}
	model.unk = t.unk
	return t, nil
}

// partsSPM are the parts of a tokenizer.json that do what llama.cpp does before
// and after its SentencePiece model.
func partsSPM(addPrefix bool) parts {
	normalizers := `{"type":"Replace","pattern":{"String":" "},"content":"▁"}`
	decoders := `{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}`
	if addPrefix {
		normalizers = `{"type":"Prepend","prepend":"▁"},` + normalizers
		decoders += `,{"type":"Strip","content":" ","start":1,"stop":0}`
	}
	return parts{
		normalizer: json.RawMessage(`{"type":"Sequence","normalizers":[` + normalizers + `]}`),
		decoder:    json.RawMessage(`{"type":"Sequence","decoders":[` + decoders + `]}`),
	}
}

// readGGUF reads which tokens are special and which are added, and finishes the
// tokenizer.
func (t *Tokenizer) readGGUF(m Metadata, tokens []string, types []int32, defaults map[string]int32, addsBOS bool) (*Tokenizer, error) {
	var added []addedToken
	for id, kind := range types {
		switch kind {
		case pieceControl, pieceUser, pieceUnknown:
			added = append(added, addedToken{ID: int64(id), Content: tokens[id], Special: kind != pieceUser})
		}
	}
	if err := t.addTokens(added, nil); err != nil {
		return nil, err
	}
	if err := t.finish(); err != nil {
		return nil, err
	}
	var eot, eom int32 // the ends of a turn and of a message
	for _, x := range []struct {
		name string
		id   *int32
	}{
		{"bos", &t.bos},
		{"eos", &t.eos},
		{"eot", &eot},
		{"eom", &eom},
		{"unknown", &t.unk},
		{"padding", &t.pad},
	} {
		*x.id = -1
		if id, ok := defaults[x.name]; ok && int(id) < len(tokens) {
			*x.id = id
		}
		key := "tokenizer.ggml." + x.name + "_token_id"
		v, ok := m.Value(key)
		if !ok {
			continue
		}
		id, ok := integer(v)
		if !ok || id < 0 || id >= int64(len(tokens)) {
			return nil, fmt.Errorf("%s: %v, want an integer from 0 to %d", key, v, len(tokens)-1)
		}
		*x.id = int32(id)
	}
	for _, id := range []int32{t.eos, eot, eom} {
		if id >= 0 && !slices.Contains(t.stops, id) {
			t.stops = append(t.stops, id)
		}
	}
	addBOS, ok, err1 := value[bool](m, "tokenizer.ggml.add_bos_token")
	addEOS, _, err2 := value[bool](m, "tokenizer.ggml.add_eos_token")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	t.surround(addBOS || !ok && addsBOS, addEOS)
	return t, nil
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
