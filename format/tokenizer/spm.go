package tokenizer

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// Types of pieces: the same numbers in a SentencePiece file and in GGUF.
const (
	pieceNormal  = 1
	pieceUnknown = 2
	pieceControl = 3
	pieceUser    = 4
	pieceUnused  = 5
	pieceByte    = 6
)

// spm is the BPE model of SentencePiece (arXiv:1808.06226): of all neighbours
// that together are a piece, the ones whose piece has the highest score (the
// leftmost of equals) become one symbol. There are no merges; neighbours that
// are no pieces themselves may join too.
type spm struct {
	vocab   map[string]int32
	rank    []int32 // by id: the place of its score, highest first; -1: never made by joining
	unused  []bool  // by id: made by joining, but not written; nil: none
	user    matcher // pieces that are symbols wherever they occur, and never join
	bytes   *[256]int32
	unk     int32 // -1: an unknown character without bytes is left out
	longest int   // bytes of the longest piece
}

// spmPiece is a piece as a file has it.
type spmPiece struct {
	text  string
	score float32
	kind  int32
}

// newSPM builds the model; joins tells which types of pieces joining may make.
func newSPM(pieces []spmPiece, joins func(kind int32) bool) (*spm, error) {
	if len(pieces) == 0 || len(pieces) > maxID {
		return nil, fmt.Errorf("%d pieces, want 1 to %d", len(pieces), maxID)
	}
	m := &spm{vocab: make(map[string]int32, len(pieces)), rank: make([]int32, len(pieces)), unk: -1}
	var order []int32
	for i, p := range pieces {
		id := int32(i)
		if other, ok := m.vocab[p.text]; ok {
			return nil, fmt.Errorf("piece %q is %d and %d", p.text, other, id)
		}
		if math.IsNaN(float64(p.score)) {
			return nil, fmt.Errorf("piece %q: score is not a number", p.text)
		}
		m.vocab[p.text] = id
		m.rank[id] = -1
		if joins(p.kind) {
			order = append(order, id)
			m.longest = max(m.longest, len(p.text))
		}
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(pieces[b].score, pieces[a].score) })
	rank := int32(-1)
	for i, id := range order {
		if i == 0 || pieces[id].score != pieces[order[i-1]].score {
			rank++
		}
		m.rank[id] = rank
	}
	return m, nil
}

func (m *spm) tokenID(token string) (int32, bool) {
	id, ok := m.vocab[token]
	return id, ok
}

func (m *spm) each(f func(string, int32)) {
	for token, id := range m.vocab {
		f(token, id)
	}
}

func (m *spm) size() int { return len(m.vocab) }

// spmSymbol is a part of the word, in a doubly linked list over the slice; it
// is empty once it has joined the one before it.
type spmSymbol struct {
	start, end int32
	prev, next int32 // -1: none
	fixed      bool  // a user-defined piece
}

type spmScratch struct {
	symbols []spmSymbol
	queue   mergeQueue
	left    map[int32]int32 // of unused pieces: where they were joined last
}

// appendIDs costs n·log n steps for a word of n characters, as bpe's does.
func (m *spm) appendIDs(dst []int32, word string, sc *scratch) []int32 {
	s := &sc.spm
	s.symbols, s.queue = s.symbols[:0], s.queue[:0]
	clear(s.left)
	for i := 0; i < len(word); {
		n := m.user.prefix(word[i:])
		fixed := n > 0
		if !fixed {
			_, n = utf8.DecodeRuneInString(word[i:])
		}
		k := int32(len(s.symbols))
		s.symbols = append(s.symbols, spmSymbol{int32(i), int32(i + n), k - 1, k + 1, fixed})
		i += n
	}
	if len(s.symbols) == 0 {
		return dst
	}
	s.symbols[len(s.symbols)-1].next = -1
	for i := range len(s.symbols) - 1 {
		m.offer(s, word, int32(i))
	}
	for len(s.queue) > 0 {
		top := s.queue.pop()
		at := int32(uint32(top.key))
		left := &s.symbols[at]
		if left.start == left.end || left.next < 0 {
			continue
		}
		right := &s.symbols[left.next]
		// A symbol of the pair may have changed since it was queued.
		if right.end-left.start != top.id {
			continue
		}
		left.end, right.start = right.end, right.end
		left.next = right.next
		if left.next >= 0 {
			s.symbols[left.next].prev = at
			m.offer(s, word, at)
		}
		if left.prev >= 0 {
			m.offer(s, word, left.prev)
		}
	}
	unknown := false
	for i := int32(0); i >= 0; i = s.symbols[i].next {
		dst = m.appendPiece(dst, word[s.symbols[i].start:s.symbols[i].end], s, &unknown)
	}
	return dst
}

// offer queues the joining of the symbol at position at with its successor, if
// that makes a piece; the queue's id is the length in bytes of what it makes.
func (m *spm) offer(s *spmScratch, word string, at int32) {
	left := s.symbols[at]
	right := s.symbols[left.next]
	n := right.end - left.start
	if left.fixed || right.fixed || int(n) > m.longest {
		return
	}
	id, ok := m.vocab[word[left.start:right.end]]
	if !ok || m.rank[id] < 0 {
		return
	}
	s.queue.push(bpeMerge{uint64(m.rank[id])<<32 | uint64(at), n})
	if m.unused != nil && m.unused[id] {
		if s.left == nil {
			s.left = map[int32]int32{}
		}
		s.left[id] = left.end - left.start
	}
}

// appendPiece appends the ids of a symbol. An unused piece is undone into the
// two that made it; an unknown one becomes its bytes, or else, with the unknown
// ones beside it, the unknown piece.
func (m *spm) appendPiece(dst []int32, piece string, s *spmScratch, unknown *bool) []int32 {
	id, ok := m.vocab[piece]
	if ok && m.unused != nil && m.unused[id] {
		if n, joined := s.left[id]; joined {
			dst = m.appendPiece(dst, piece[:n], s, unknown)
			return m.appendPiece(dst, piece[n:], s, unknown)
		}
	}
	if ok && id != m.unk {
		*unknown = false
		return append(dst, id)
	}
	return m.appendUnknown(dst, piece, unknown)
}

func (m *spm) appendUnknown(dst []int32, piece string, unknown *bool) []int32 {
	if m.bytes != nil {
		n := len(dst)
		for _, b := range []byte(piece) {
			if m.bytes[b] >= 0 {
				dst = append(dst, m.bytes[b])
			}
		}
		if len(dst) == n+len(piece) {
			*unknown = false
			return dst
		}
		dst = dst[:n]
	}
	if m.unk >= 0 && !*unknown {
		dst = append(dst, m.unk)
	}
	*unknown = true
	return dst
}
