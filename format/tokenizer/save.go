package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parts are the parts of a tokenizer.json as they are written there.
type parts struct {
	normalizer, preTokenizer, decoder json.RawMessage
}

// orNull is what is written for a part that there is not.
func orNull(part json.RawMessage) json.RawMessage {
	if len(part) == 0 {
		return json.RawMessage("null")
	}
	return part
}

// Save writes tokenizer.json, tokenizer_config.json and special_tokens_map.json
// into a folder, so that transformers' AutoTokenizer, the Rust tokenizers
// library and Load read from it a tokenizer that gives the same ids. A chat
// template, if it is not empty, is written into tokenizer_config.json.
//
// It writes what was read from a tokenizer.json or a GGUF file. The scores of a
// GGUF file of model "llama" become merges, as transformers derives them; scores
// that merges cannot express (some equal ones, and pieces made from characters
// that are no tokens) are an error. So is a tokenizer read from a tokenizer.model,
// whose normalisation a tokenizer.json does not express: copy that file.
func (t *Tokenizer) Save(dir, chatTemplate string) error {
	model, err := t.modelJSON()
	if err == nil {
		err = t.validText()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, "tokenizer.json"), err)
	}
	added := []addedToken{}
	for _, id := range slices.Sorted(maps.Keys(t.added.byID)) {
		a := *t.added.byID[id]
		a.ID = int64(id)
		added = append(added, a)
	}
	file := struct {
		Version       string          `json:"version"`
		Truncation    any             `json:"truncation"`
		Padding       any             `json:"padding"`
		AddedTokens   []addedToken    `json:"added_tokens"`
		Normalizer    json.RawMessage `json:"normalizer"`
		PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
		PostProcessor any             `json:"post_processor"`
		Decoder       json.RawMessage `json:"decoder"`
		Model         any             `json:"model"`
	}{
		Version: "1.0", AddedTokens: added, Normalizer: orNull(t.parts.normalizer), PreTokenizer: orNull(t.parts.preTokenizer),
		PostProcessor: t.postProcessorJSON(), Decoder: orNull(t.parts.decoder), Model: model,
	}
	config := map[string]any{
		"added_tokens_decoder": decoderOf(added), "clean_up_tokenization_spaces": false, "tokenizer_class": "PreTrainedTokenizerFast",
		"add_bos_token": t.AddsBOS(), "add_eos_token": t.AddsEOS(),
	}
	special := map[string]string{}
	for key, id := range map[string]int32{"bos_token": t.bos, "eos_token": t.eos, "pad_token": t.pad, "unk_token": t.unk} {
		if token, ok := t.IDToToken(id); ok {
			special[key], config[key] = token, token
		}
	}
	if chatTemplate != "" {
		config["chat_template"] = chatTemplate
	}
	return errors.Join(
		writeJSONFile(filepath.Join(dir, "tokenizer.json"), file),
		writeJSONFile(filepath.Join(dir, "tokenizer_config.json"), config),
		writeJSONFile(filepath.Join(dir, "special_tokens_map.json"), special),
	)
}

// validText refuses tokens that JSON cannot hold.
func (t *Tokenizer) validText() error {
	for id, token := range t.tokens {
		if !utf8.ValidString(token) {
			return fmt.Errorf("token %d: %q is not UTF-8", id, token)
		}
	}
	return nil
}

// decoderOf is the added_tokens_decoder of a tokenizer_config.json.
func decoderOf(added []addedToken) map[string]any {
	out := map[string]any{}
	for _, a := range added {
		out[strconv.FormatInt(a.ID, 10)] = map[string]any{
			"content": a.Content, "lstrip": a.LStrip, "normalized": a.Normalized, "rstrip": a.RStrip, "single_word": a.SingleWord, "special": a.Special,
		}
	}
	return out
}

// postProcessorJSON is a template that writes the prefix and the suffix.
func (t *Tokenizer) postProcessorJSON() any {
	if len(t.prefix)+len(t.suffix) == 0 {
		return nil
	}
	type object = map[string]any
	tokens := object{}
	sequence := func(name string, typ int) object { return object{"Sequence": object{"id": name, "type_id": typ}} }
	around := func(name string, typ int) (all []object) {
		special := func(id int32) object {
			token, _ := t.IDToToken(id)
			tokens[token] = object{"id": token, "ids": []int32{id}, "tokens": []string{token}}
			return object{"SpecialToken": object{"id": token, "type_id": typ}}
		}
		for _, id := range t.prefix {
			all = append(all, special(id))
		}
		all = append(all, sequence(name, typ))
		for _, id := range t.suffix {
			all = append(all, special(id))
		}
		return all
	}
	single := around("A", 0)
	return object{"type": "TemplateProcessing", "single": single, "pair": slices.Concat(single, around("B", 1)), "special_tokens": tokens}
}

// bpeJSON is the model of a tokenizer.json.
type bpeJSON struct {
	Type         string       `json:"type"`
	Dropout      any          `json:"dropout"`
	Unk          *string      `json:"unk_token"`
	Prefix       any          `json:"continuing_subword_prefix"`
	Suffix       any          `json:"end_of_word_suffix"`
	FuseUnk      bool         `json:"fuse_unk"`
	ByteFallback bool         `json:"byte_fallback"`
	IgnoreMerges bool         `json:"ignore_merges"`
	Vocab        orderedVocab `json:"vocab"`
	Merges       [][2]string  `json:"merges"`
}

// orderedVocab is written in the order of ids.
type orderedVocab map[string]int32

func (v orderedVocab) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, token := range slices.SortedFunc(maps.Keys(v), func(x, y string) int { return cmp.Or(cmp.Compare(v[x], v[y]), cmp.Compare(x, y)) }) {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(token)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		fmt.Fprintf(&b, ":%d", v[token])
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (t *Tokenizer) modelJSON() (any, error) {
	out := bpeJSON{Type: "BPE", Merges: [][2]string{}}
	switch m := t.model.(type) {
	case *bpe:
		out.Vocab, out.FuseUnk, out.ByteFallback, out.IgnoreMerges = m.vocab, m.fuseUnk, m.bytes != nil, m.ignoreMerges
		if token, ok := t.modelToken(m.unk); ok {
			out.Unk = &token
		}
		keys := slices.SortedFunc(maps.Keys(m.merges), func(a, b uint64) int { return cmp.Compare(m.merges[a].rank, m.merges[b].rank) })
		for _, key := range keys {
			left, _ := t.modelToken(int32(key >> 32))
			right, _ := t.modelToken(int32(uint32(key)))
			out.Merges = append(out.Merges, [2]string{left, right})
		}
	case *spm:
		if t.parts.decoder == nil {
			return nil, errors.New("a tokenizer read from a tokenizer.model is not written as a tokenizer.json: copy the tokenizer.model")
		}
		if token, ok := t.modelToken(m.unk); ok {
			out.Unk = &token
		}
		out.Vocab, out.FuseUnk, out.ByteFallback = m.vocab, true, true
		var err error
		if out.Merges, err = m.merges(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// modelToken returns the token that the model has for an id.
func (t *Tokenizer) modelToken(id int32) (string, bool) {
	token, ok := t.IDToToken(id)
	if !ok {
		return "", false
	}
	back, ok := t.model.tokenID(token)
	return token, ok && back == id
}

// merges returns the merges that make what joining by score makes: each piece
// from each two pieces that it consists of, the highest score first.
func (m *spm) merges() ([][2]string, error) {
	for b, id := range m.bytes {
		if want := fmt.Sprintf("<0x%02X>", b); id < 0 || m.vocab[want] != id {
			return nil, fmt.Errorf("no token %s: without byte tokens the scores of a GGUF file cannot be written as merges", want)
		}
	}
	type merge struct {
		rank int32
		id   int32
		pair [2]string
	}
	var all []merge
	for piece, id := range m.vocab {
		if m.rank[id] < 0 {
			continue
		}
		for i := range piece {
			if i == 0 {
				continue
			}
			left, right := piece[:i], piece[i:]
			haveLeft, haveRight := m.joinable(left), m.joinable(right)
			switch {
			case haveLeft && haveRight:
				all = append(all, merge{m.rank[id], id, [2]string{left, right}})
			case (haveLeft || isRune(left)) && (haveRight || isRune(right)):
				return nil, fmt.Errorf("token %q is made from %q and %q, which are not both tokens: merges cannot express that", piece, left, right)
			}
		}
	}
	// Of equal scores the lower id comes first, as in transformers' conversion.
	slices.SortFunc(all, func(a, b merge) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.id, b.id), cmp.Compare(m.vocab[a.pair[0]], m.vocab[b.pair[0]]))
	})
	out := make([][2]string, len(all))
	equal := map[int32][]string{} // pieces by rank
	for i, x := range all {
		out[i] = x.pair
		if i == 0 || x.id != all[i-1].id {
			equal[x.rank] = append(equal[x.rank], x.pair[0]+x.pair[1])
		}
	}
	return out, m.checkEqual(out, equal)
}

// checkEqual compares the model with that of the merges where pieces have equal
// scores: there the leftmost pair joins first, which no order of merges says.
// It tries what differs if anything does: such pieces repeated and beside each
// other. (Mistral's runs of spaces have equal scores, and do not differ.)
func (m *spm) checkEqual(merges [][2]string, equal map[int32][]string) error {
	var other *bpe
	var sc scratch
	for _, rank := range slices.Sorted(maps.Keys(equal)) {
		pieces := equal[rank]
		if len(pieces) < 2 {
			continue
		}
		if other == nil {
			var err error
			if other, err = newBPE(bpeConfig{vocab: m.vocab, merges: merges, byteFallback: true}); err != nil {
				return err
			}
		}
		const most = 200 // pieces, evenly from the whole
		step := (len(pieces) + most - 1) / most
		for i := 0; i < len(pieces); i += step {
			p := pieces[i]
			var probes []string
			for n := range 9 {
				probes = append(probes, strings.Repeat(p, n+1))
			}
			if r, n := utf8.DecodeRuneInString(p); strings.Trim(p, string(r)) == "" {
				for k := range 100 {
					probes = append(probes, strings.Repeat(p[:n], k+1))
				}
			}
			for j := 0; j < len(pieces); j += step {
				probes = append(probes, p+pieces[j], spmSpace+p+pieces[j])
			}
			for _, text := range probes {
				if !slices.Equal(m.appendIDs(nil, text, &sc), other.appendIDs(nil, text, &sc)) {
					return fmt.Errorf("tokens of the same score, such as %q, join to something else in %q than merges can express", p, text)
				}
			}
		}
	}
	return nil
}

// joinable tells whether a symbol of that text can come about and has a token.
func (m *spm) joinable(s string) bool {
	id, ok := m.vocab[s]
	return ok && (m.rank[id] >= 0 || isRune(s))
}

func isRune(s string) bool { return utf8.RuneCountInString(s) == 1 }

// mustJSON is the JSON of a value that has one.
func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// writeJSONFile writes a file as transformers does: indented, text as it is.
func writeJSONFile(path string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, b.Bytes(), 0o666)
}
