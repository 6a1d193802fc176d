// Package tokenizer turns text into token ids and back, as the Rust tokenizers
// crate of Hugging Face, SentencePiece and llama.cpp do: BPE of both kinds (byte
// level; SentencePiece's with byte fallback) from a tokenizer.json, a
// SentencePiece tokenizer.model, a Hugging Face folder, or the metadata of a GGUF
// file. Save writes a tokenizer in the form of a Hugging Face folder.
//
// Encoding is a pipeline. Added tokens are cut out of the text first; what lies
// between them is normalised, cut into words by the pre-tokenizer, and each
// word is encoded by the model; the post-processor adds BOS and EOS. Every
// stage is one of a few types named in the file; a type that is not known is an
// error when the file is loaded, never a silent difference later.
//
// The references are tokenizers 0.23.3 for a tokenizer.json, sentencepiece 0.2.3
// for a tokenizer.model, and llama.cpp (as in llama-cpp-python 0.3.36) for
// the model "llama" of GGUF: ids and text are identical to theirs, which the
// tests show on more than 5,000 strings for each of several tokenizers.
package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Tokenizer encodes and decodes text. It is immutable and safe for concurrent
// use.
type Tokenizer struct {
	added     addedVocabulary
	normalize normalizer   // nil: text as it is
	split     preTokenizer // nil: one word
	model     model
	prefix    []int32 // what the post-processor writes before the text
	suffix    []int32 // and after it

	parts     parts    // as a tokenizer.json writes them
	byteLevel bool     // the decoder is ByteLevel alone
	decoder   decoder  // another decoder; nil without byteLevel: tokens joined by spaces
	tokens    []string // id to token; "" with known false: a gap
	known     []bool
	pieces    []string // id to what it decodes to (raw bytes when byteLevel)
	special   []bool   // id to: left out when special tokens are skipped

	bos, eos, pad, unk int32 // -1: none
	stops              []int32
}

// model encodes one word. A model type is one file.
type model interface {
	// appendIDs appends the ids of word, which is not empty.
	appendIDs(dst []int32, word string, s *scratch) []int32
	tokenID(token string) (int32, bool)
	// each calls f with every token and its id.
	each(f func(token string, id int32))
	size() int
}

// scratch is the memory that one call of Encode reuses from word to word.
type scratch struct {
	words []string
	bpe   bpeScratch
	spm   spmScratch
}

// Encode returns the ids of text. With addSpecial, what the file's
// post-processor adds (BOS, EOS, or nothing) surrounds them. Special tokens
// written inside the text are recognised either way. Bytes that are not UTF-8
// are read as U+FFFD, as Python's errors="replace" reads them.
func (t *Tokenizer) Encode(text string, addSpecial bool) []int32 {
	if !utf8.ValidString(text) {
		text = string(appendLossy(make([]byte, 0, len(text)+8), text))
	}
	ids := make([]int32, 0, len(text)/3+8)
	if addSpecial {
		ids = append(ids, t.prefix...)
	}
	var s scratch
	start := true
	for piece := range t.added.raw.cut(text) {
		if piece.id >= 0 {
			ids = append(ids, piece.id)
			start = false
			continue
		}
		normal := piece.text
		if t.normalize != nil {
			normal = t.normalize(normal)
		}
		for piece := range t.added.normalized.cut(normal) {
			if piece.id >= 0 {
				ids = append(ids, piece.id)
			} else {
				ids = t.encodeWords(ids, piece.text, start, &s)
			}
			start = false
		}
		start = false
	}
	if addSpecial {
		ids = append(ids, t.suffix...)
	}
	return ids
}

// encodeWords appends the ids of a text that has no added token in it; start
// tells that there is nothing before it.
func (t *Tokenizer) encodeWords(ids []int32, text string, start bool, s *scratch) []int32 {
	if t.split == nil {
		return t.model.appendIDs(ids, text, s)
	}
	s.words = t.split(s.words[:0], text, start)
	for _, w := range s.words {
		ids = t.model.appendIDs(ids, w, s)
	}
	return ids
}

// Decode returns the text of ids, with or without the special tokens' own
// text. Ids that the tokenizer does not have are left out. A byte sequence that
// is no UTF-8 becomes U+FFFD, one for each maximal part of a character, as
// Python's bytes.decode(errors="replace") does it.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	if t.decoder != nil {
		return t.decodeSequence(ids, skipSpecial)
	}
	var b []byte
	first := true
	for _, id := range ids {
		p, ok := t.piece(id, skipSpecial)
		if !ok {
			continue
		}
		if !t.byteLevel && !first {
			b = append(b, ' ')
		}
		first = false
		b = append(b, p...)
	}
	if utf8.Valid(b) {
		return string(b)
	}
	return string(appendLossy(make([]byte, 0, len(b)+8), string(b)))
}

// piece returns what an id contributes to decoded text.
func (t *Tokenizer) piece(id int32, skipSpecial bool) (string, bool) {
	if id < 0 || int(id) >= len(t.known) || !t.known[id] || skipSpecial && t.special[id] {
		return "", false
	}
	return t.pieces[id], true
}

// BOS returns the id of the beginning-of-sequence token, if the file names one.
func (t *Tokenizer) BOS() (int32, bool) { return t.bos, t.bos >= 0 }

// EOS returns the id of the end-of-sequence token, if the file names one: the
// one that training appends.
func (t *Tokenizer) EOS() (int32, bool) { return t.eos, t.eos >= 0 }

// Pad returns the id of the padding token, if the file names one.
func (t *Tokenizer) Pad() (int32, bool) { return t.pad, t.pad >= 0 }

// Unk returns the id of the unknown token, if the file names one.
func (t *Tokenizer) Unk() (int32, bool) { return t.unk, t.unk >= 0 }

// Stops returns the ids that end generation: EOS and those that the folder's
// generation_config.json or the GGUF's end-of-turn keys name besides.
func (t *Tokenizer) Stops() []int32 { return slices.Clone(t.stops) }

// AddsBOS tells whether Encode with addSpecial puts BOS first.
func (t *Tokenizer) AddsBOS() bool {
	return t.bos >= 0 && len(t.prefix) > 0 && t.prefix[0] == t.bos
}

// AddsEOS tells whether Encode with addSpecial puts EOS last.
func (t *Tokenizer) AddsEOS() bool {
	return t.eos >= 0 && len(t.suffix) > 0 && t.suffix[len(t.suffix)-1] == t.eos
}

// Prefix returns what Encode with addSpecial puts before the text, Suffix what
// it puts behind: BOS and EOS, or whatever else the file says.
func (t *Tokenizer) Prefix() []int32 { return slices.Clone(t.prefix) }

// Suffix is described with Prefix.
func (t *Tokenizer) Suffix() []int32 { return slices.Clone(t.suffix) }

// VocabSize is one more than the largest id, added tokens included.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// TokenToID returns the id of a token as the vocabulary writes it (Ġ for a
// leading space).
func (t *Tokenizer) TokenToID(token string) (int32, bool) {
	if id, ok := t.added.ids[token]; ok {
		return id, true
	}
	return t.model.tokenID(token)
}

// IDToToken returns the token of an id as the vocabulary writes it.
func (t *Tokenizer) IDToToken(id int32) (string, bool) {
	if id < 0 || int(id) >= len(t.known) || !t.known[id] {
		return "", false
	}
	return t.tokens[id], true
}

// IsSpecial tells whether Decode with skipSpecial leaves the id out.
func (t *Tokenizer) IsSpecial(id int32) bool {
	return id >= 0 && int(id) < len(t.special) && t.special[id]
}

// maxID bounds token ids, so that a file cannot ask for tables of any size.
// The largest vocabularies in use have some 260,000 tokens.
const maxID = 1 << 22

// finish builds the tables that go from ids to text, once model, added tokens
// and decoder are there.
func (t *Tokenizer) finish() error {
	top := int32(-1)
	n := t.model.size() + len(t.added.byID)
	seen := func(token string, id int32) { top = max(top, id) }
	t.model.each(seen)
	for id := range t.added.byID {
		top = max(top, id)
	}
	// Gaps happen; a table that is nearly all gap is a file that lies.
	if limit := min(maxID, 1<<16+16*n); int(top) >= limit {
		return fmt.Errorf("vocab: token id %d, want less than %d for %d tokens", top, limit, n)
	}
	t.tokens = make([]string, top+1)
	t.known = make([]bool, top+1)
	t.special = make([]bool, top+1)
	text := make([]string, top+1) // what the decoder sees
	t.model.each(func(token string, id int32) {
		t.tokens[id], text[id], t.known[id] = token, token, true
	})
	for id, a := range t.added.byID {
		t.tokens[id], text[id], t.known[id] = a.Content, a.pattern, true
	}
	for id := range text {
		t.special[id] = t.known[id] && t.added.specials[text[id]]
	}
	t.pieces = text
	if !t.byteLevel {
		return nil
	}
	var all strings.Builder
	ends := make([]int, len(text))
	for id, token := range text {
		writeByteLevelDecoded(&all, token)
		ends[id] = all.Len()
	}
	t.pieces = make([]string, len(text))
	at := 0
	for id, end := range ends {
		t.pieces[id] = all.String()[at:end]
		at = end
	}
	return nil
}
