package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// bpe is the byte-pair encoding model: a word's characters are symbols, and of
// all neighbouring pairs that a merge knows, the one of lowest rank (the
// leftmost of equals) becomes one symbol, until none is left (Sennrich, Haddow
// and Birch, arXiv:1508.07909).
type bpe struct {
	vocab        map[string]int32
	chars        [0x144]int32       // ids of the byte-level alphabet, -1: none
	merges       map[uint64]bpeRule // by pairKey
	bytes        *[256]int32        // byte fallback: the tokens <0x00> to <0xFF>, -1: none; nil: no fallback
	unk          int32              // -1: an unknown character is left out
	fuseUnk      bool               // a run of unknown characters is one unk
	ignoreMerges bool               // a word that is a token is that token
}

type bpeRule struct{ rank, id int32 }

func pairKey(a, b int32) uint64 { return uint64(a)<<32 | uint64(b) }

// bpeConfig is what a file says of a BPE model.
type bpeConfig struct {
	vocab        map[string]int32
	merges       [][2]string
	unk          string
	fuseUnk      bool
	byteFallback bool
	ignoreMerges bool
}

func newBPE(c bpeConfig) (*bpe, error) {
	for token, id := range c.vocab {
		if id < 0 || id >= maxID {
			return nil, fmt.Errorf("vocab: token %q: id %d, want 0 to %d", token, id, maxID-1)
		}
	}
	m := &bpe{
		vocab:        c.vocab,
		merges:       make(map[uint64]bpeRule, len(c.merges)),
		unk:          -1,
		fuseUnk:      c.fuseUnk,
		ignoreMerges: c.ignoreMerges,
	}
	for rank, pair := range c.merges {
		a, okA := c.vocab[pair[0]]
		b, okB := c.vocab[pair[1]]
		ab, okAB := c.vocab[pair[0]+pair[1]]
		if !okA || !okB || !okAB {
			return nil, fmt.Errorf("merges: merge %d of %q and %q: both and what they make must be in the vocabulary", rank, pair[0], pair[1])
		}
		m.merges[pairKey(a, b)] = bpeRule{int32(rank), ab}
	}
	for i := range m.chars {
		m.chars[i] = -1
	}
	alphabet := 0
	for _, r := range byteChars {
		if id, ok := c.vocab[string(r)]; ok {
			m.chars[r] = id
			alphabet++
		}
	}
	fallbacks := 0
	if c.byteFallback {
		m.bytes, fallbacks = byteTokens(c.vocab)
	}
	if c.unk != "" {
		if id, ok := c.vocab[c.unk]; ok {
			m.unk = id
		} else if alphabet < 256 && fallbacks < 256 {
			// With the whole alphabet, or a token for each byte, the unknown token is never asked for.
			return nil, fmt.Errorf("unk_token: %q is not in the vocabulary", c.unk)
		}
	}
	return m, nil
}

// parseBPE reads the model object of a tokenizer.json.
func parseBPE(raw json.RawMessage) (*bpe, error) {
	var f struct {
		Dropout      *float64        `json:"dropout"`
		Unk          string          `json:"unk_token"`
		Prefix       string          `json:"continuing_subword_prefix"`
		Suffix       string          `json:"end_of_word_suffix"`
		FuseUnk      bool            `json:"fuse_unk"`
		ByteFallback bool            `json:"byte_fallback"`
		IgnoreMerges bool            `json:"ignore_merges"`
		Vocab        json.RawMessage `json:"vocab"`
		Merges       json.RawMessage `json:"merges"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	switch {
	case f.Vocab == nil || f.Merges == nil:
		return nil, fmt.Errorf("model: type %q: no vocab or no merges", "BPE")
	case f.Dropout != nil && *f.Dropout != 0:
		return nil, fmt.Errorf("model: dropout %v is not supported, want null", *f.Dropout)
	case f.Prefix != "":
		return nil, fmt.Errorf("model: continuing_subword_prefix %q is not supported, want null", f.Prefix)
	case f.Suffix != "":
		return nil, fmt.Errorf("model: end_of_word_suffix %q is not supported, want null", f.Suffix)
	}
	if err := atMost("model: vocab", f.Vocab, `":`, maxID); err != nil {
		return nil, err
	}
	var vocab map[string]int32
	if err := json.Unmarshal(f.Vocab, &vocab); err != nil {
		return nil, fmt.Errorf("model: vocab: %w", err)
	}
	if vocab == nil {
		return nil, fmt.Errorf("model: type %q: no vocab or no merges", "BPE")
	}
	merges, err := parseMerges(f.Merges)
	if err != nil {
		return nil, err
	}
	m, err := newBPE(bpeConfig{vocab, merges, f.Unk, f.FuseUnk, f.ByteFallback, f.IgnoreMerges})
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return m, nil
}

// parseMerges reads both forms of the list: ["a b", …] and [["a","b"], …].
func parseMerges(raw json.RawMessage) ([][2]string, error) {
	if err := atMost("model: merges", raw, `"`, 4*maxMerges); err != nil {
		return nil, err
	}
	if err := atMost("model: merges", raw, ",", 4*maxMerges); err != nil {
		return nil, err
	}
	var pairs [][]string
	if err := json.Unmarshal(raw, &pairs); err == nil {
		out := make([][2]string, len(pairs))
		for i, p := range pairs {
			if len(p) != 2 {
				return nil, fmt.Errorf("model: merges: merge %d has %d parts, want 2", i, len(p))
			}
			out[i] = [2]string(p)
		}
		return out, nil
	}
	var lines []string
	if err := json.Unmarshal(raw, &lines); err != nil {
		return nil, fmt.Errorf("model: merges: want a list of \"a b\" or of [\"a\",\"b\"]: %w", err)
	}
	return splitMerges(lines)
}

// splitMerges reads merges written as two tokens with one space between; lines
// that begin with #version are the header of a merges.txt.
func splitMerges(lines []string) ([][2]string, error) {
	out := make([][2]string, 0, len(lines))
	for i, line := range lines {
		if strings.HasPrefix(line, "#version") {
			continue
		}
		a, b, ok := strings.Cut(line, " ")
		if !ok || strings.Contains(b, " ") {
			return nil, fmt.Errorf("merges: merge %d: %q, want two tokens with one space between", i, line)
		}
		out = append(out, [2]string{a, b})
	}
	return out, nil
}

func (m *bpe) tokenID(token string) (int32, bool) {
	id, ok := m.vocab[token]
	return id, ok
}

func (m *bpe) each(f func(string, int32)) {
	for token, id := range m.vocab {
		f(token, id)
	}
}

func (m *bpe) size() int { return len(m.vocab) }

// bpeSymbol is a symbol of the word, in a doubly linked list over the slice.
type bpeSymbol struct {
	id         int32 // -1: merged into the one before it
	prev, next int32 // -1: none
}

// bpeMerge is a merge that was possible when it was queued. Its order, rank
// then position, is the order of key.
type bpeMerge struct {
	key uint64 // rank<<32 | position
	id  int32  // what the pair becomes
}

// mergeQueue is a heap of merges, the smallest key on top.
type mergeQueue []bpeMerge

type bpeScratch struct {
	symbols []bpeSymbol
	queue   mergeQueue
}

// appendIDs keeps the possible merges in a heap, so that a word of n characters
// costs n·log n steps however long it is.
func (m *bpe) appendIDs(dst []int32, word string, sc *scratch) []int32 {
	if m.ignoreMerges {
		if id, ok := m.vocab[word]; ok {
			return append(dst, id)
		}
	}
	s := &sc.bpe
	m.characters(s, word)
	switch len(s.symbols) {
	case 0:
		return dst
	case 1:
		return append(dst, s.symbols[0].id)
	}
	s.queue = s.queue[:0]
	for i := range len(s.symbols) - 1 {
		m.offer(s, int32(i))
	}
	for len(s.queue) > 0 {
		top := s.queue.pop()
		at := int32(uint32(top.key))
		left := &s.symbols[at]
		if left.id < 0 || left.next < 0 {
			continue
		}
		right := &s.symbols[left.next]
		// A symbol of the pair may have changed since it was queued.
		if rule, ok := m.merges[pairKey(left.id, right.id)]; !ok || rule.id != top.id {
			continue
		}
		left.id, right.id = top.id, -1
		left.next = right.next
		if left.next >= 0 {
			s.symbols[left.next].prev = at
			m.offer(s, at)
		}
		if left.prev >= 0 {
			m.offer(s, left.prev)
		}
	}
	for i := int32(0); i >= 0; i = s.symbols[i].next {
		dst = append(dst, s.symbols[i].id)
	}
	return dst
}

// byteTokens returns the tokens that stand for single bytes, and how many
// there are.
func byteTokens(vocab map[string]int32) (ids *[256]int32, n int) {
	ids = new([256]int32)
	for b := range ids {
		id, ok := vocab[fmt.Sprintf("<0x%02X>", b)]
		if !ok {
			id = -1
		} else {
			n++
		}
		ids[b] = id
	}
	return ids, n
}

// characters makes each character of word a symbol: the character's token, or
// else its bytes' tokens if all of them exist, or else the unknown token. As in
// the crate, an unknown token is written when the next known character comes,
// behind bytes that came between.
func (m *bpe) characters(s *bpeScratch, word string) {
	s.symbols = s.symbols[:0]
	add := func(id int32) {
		n := int32(len(s.symbols))
		s.symbols = append(s.symbols, bpeSymbol{id: id, prev: n - 1, next: n + 1})
	}
	unknown := false // an unk waits to be written
	for i := 0; i < len(word); {
		r, n := utf8.DecodeRuneInString(word[i:])
		id := int32(-1)
		if int(r) < len(m.chars) {
			id = m.chars[r]
		}
		if id < 0 {
			if v, ok := m.vocab[word[i:i+n]]; ok {
				id = v
			}
		}
		switch {
		case id >= 0:
			if unknown {
				add(m.unk)
				unknown = false
			}
			add(id)
		case m.bytes != nil && m.hasBytes(word[i:i+n]):
			for _, b := range []byte(word[i : i+n]) {
				add(m.bytes[b])
			}
		case m.unk >= 0:
			if unknown && !m.fuseUnk {
				add(m.unk)
			}
			unknown = true
		}
		i += n
	}
	if unknown {
		add(m.unk)
	}
	if n := len(s.symbols); n > 0 {
		s.symbols[n-1].next = -1
	}
}

func (m *bpe) hasBytes(s string) bool {
	for _, b := range []byte(s) {
		if m.bytes[b] < 0 {
			return false
		}
	}
	return true
}

// offer queues the merge of the symbol at position at with its successor, if
// there is one.
func (m *bpe) offer(s *bpeScratch, at int32) {
	left := s.symbols[at]
	if rule, ok := m.merges[pairKey(left.id, s.symbols[left.next].id)]; ok {
		s.queue.push(bpeMerge{uint64(rule.rank)<<32 | uint64(at), rule.id})
	}
}

func (h *mergeQueue) push(x bpeMerge) {
	q := append(*h, x)
	i := len(q) - 1
	for i > 0 {
		up := (i - 1) / 2
		if q[up].key <= x.key {
			break
		}
		q[i] = q[up]
		i = up
	}
	q[i] = x
	*h = q
}

func (h *mergeQueue) pop() bpeMerge {
	q := *h
	top, x := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	for i := 0; len(q) > 0; {
		down := 2*i + 1
		if down+1 < len(q) && q[down+1].key < q[down].key {
			down++
		}
		if down >= len(q) || q[down].key >= x.key {
			q[i] = x
			break
		}
		q[i] = q[down]
		i = down
	}
	*h = q
	return top
}
