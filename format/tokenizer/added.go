package tokenizer

import (
	"fmt"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token that is cut out of the text before the model sees it.
type addedToken struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // not between word characters
	LStrip     bool   `json:"lstrip"`      // takes the white space before it
	RStrip     bool   `json:"rstrip"`      // and after it
	Normalized bool   `json:"normalized"`  // is looked for in the normalised text
	Special    bool   `json:"special"`     // is left out of decoded text when asked

	pattern string // Content, normalised if Normalized
}

// addedVocabulary is the crate's AddedVocabulary: tokens looked for in the text
// as written, and tokens looked for once it is normalised.
type addedVocabulary struct {
	ids      map[string]int32
	byID     map[int32]*addedToken
	specials map[string]bool

	raw, normalized matcher
}

// maxAdded bounds the text of all added tokens, which the matchers hold in a
// form some hundred times as large. Real files have a few thousand bytes.
const maxAdded = 1 << 20

// newAddedVocabulary gives each token the id that the model has for it, or the
// next one behind the vocabulary, as the crate does; it ignores what the file
// says the id is, so a file that says something else would be read differently
// by its reader and its writer, and is refused.
func newAddedVocabulary(tokens []addedToken, m model, normalize normalizer) (addedVocabulary, error) {
	v := addedVocabulary{
		ids:      make(map[string]int32, len(tokens)),
		byID:     make(map[int32]*addedToken, len(tokens)),
		specials: map[string]bool{},
	}
	next := int32(m.size())
	total := 0
	for i := range tokens {
		a := &tokens[i]
		if total += len(a.Content); total > maxAdded {
			return v, fmt.Errorf("added_tokens: more than %d bytes of text", maxAdded)
		}
		if a.Content == "" {
			continue
		}
		id, ok := v.ids[a.Content]
		if !ok {
			if id, ok = m.tokenID(a.Content); !ok {
				id = next
				next++
			}
		}
		if a.ID >= 0 && a.ID != int64(id) {
			return v, fmt.Errorf("added_tokens: token %q: id %d, want %d (its id in the vocabulary, or the next one behind it)", a.Content, a.ID, id)
		}
		a.pattern = a.Content
		if a.Normalized && normalize != nil {
			a.pattern = normalize(a.Content)
			if a.pattern == "" {
				return v, fmt.Errorf("added_tokens: token %q: nothing is left of it when normalised", a.Content)
			}
		}
		v.ids[a.Content] = id
		v.byID[id] = a
		if a.Special {
			v.specials[a.Content] = true
		}
	}
	for id, a := range v.byID {
		m := &v.raw
		if a.Normalized {
			m = &v.normalized
		}
		if other := m.add(a, id); other != nil {
			return v, fmt.Errorf("added_tokens: tokens %q and %q are the same when normalised", a.Content, other.Content)
		}
	}
	return v, nil
}

// matcher finds tokens in a text: the leftmost, and of those the longest. It is
// a trie over bytes, tried wherever a token's first byte occurs.
type matcher struct {
	nodes []matchNode
	first [256]int32 // the root's nodes by their byte; 0: none
}

type matchNode struct {
	next  map[byte]int32
	token *addedToken
	id    int32
}

// add returns the token that already has the pattern, if one has.
func (m *matcher) add(a *addedToken, id int32) *addedToken {
	if len(m.nodes) == 0 {
		m.nodes = append(m.nodes, matchNode{next: map[byte]int32{}})
	}
	n := int32(0)
	for _, c := range []byte(a.pattern) {
		to, ok := m.nodes[n].next[c]
		if !ok {
			to = int32(len(m.nodes))
			if m.nodes[n].next == nil {
				m.nodes[n].next = map[byte]int32{}
			}
			m.nodes[n].next[c] = to
			m.nodes = append(m.nodes, matchNode{})
		}
		n = to
	}
	m.first[a.pattern[0]] = m.nodes[0].next[a.pattern[0]]
	if t := m.nodes[n].token; t != nil {
		return t
	}
	m.nodes[n].token, m.nodes[n].id = a, id
	return nil
}

// prefix returns the length of the longest token that s begins with, or 0.
func (m *matcher) prefix(s string) int {
	if len(m.nodes) == 0 || s == "" {
		return 0
	}
	longest := 0
	for n, j := m.first[s[0]], 1; n != 0; j++ {
		if m.nodes[n].token != nil {
			longest = j
		}
		if j == len(s) {
			break
		}
		n = m.nodes[n].next[s[j]]
	}
	return longest
}

// find returns the first match at or after from, as a node and its span; the
// node is nil when there is none.
func (m *matcher) find(s string, from int) (hit *matchNode, start, end int) {
	for i := from; i < len(s); i++ {
		n := m.first[s[i]]
		if n == 0 {
			continue
		}
		for j := i + 1; ; j++ {
			if m.nodes[n].token != nil {
				hit, start, end = &m.nodes[n], i, j
			}
			if j == len(s) {
				break
			}
			var ok bool
			if n, ok = m.nodes[n].next[s[j]]; !ok {
				break
			}
		}
		if hit != nil {
			return hit, start, end
		}
	}
	return nil, 0, 0
}

// cutPiece is a part of a text: an added token, or text between them (id -1).
type cutPiece struct {
	text string
	id   int32
}

// cut yields the parts of s that are not empty, in order.
func (m *matcher) cut(s string) iter.Seq[cutPiece] {
	return func(yield func(cutPiece) bool) {
		done := 0 // the text before it has been yielded
		for at := 0; len(m.nodes) > 0; {
			hit, start, end := m.find(s, at)
			if hit == nil {
				break
			}
			at = end
			a := hit.token
			if a.SingleWord && (wordBefore(s[:start]) || wordAfter(s[end:])) {
				continue
			}
			if a.LStrip {
				start = max(len(strings.TrimRightFunc(s[:start], unicode.IsSpace)), done)
			}
			if a.RStrip {
				end = len(s) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
			}
			if done < start && !yield(cutPiece{s[done:start], -1}) {
				return
			}
			if start < end && !yield(cutPiece{s[start:end], hit.id}) {
				return
			}
			done = end
		}
		if done < len(s) {
			yield(cutPiece{s[done:], -1})
		}
	}
}

func wordBefore(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && unicode.Is(wordTable, r)
}

func wordAfter(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && unicode.Is(wordTable, r)
}
