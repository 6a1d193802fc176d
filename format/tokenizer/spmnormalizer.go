package tokenizer

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

const spmSpace = "▁" // U+2581, a space in pieces

// spmNormalizer is what SentencePiece does with a text before it looks for
// pieces. The defaults of its file are all true.
type spmNormalizer struct {
	rules       *charsMap // nil: none (identity)
	user        *matcher  // user-defined pieces, which are not rewritten
	dummyPrefix bool      // a space is put before the text
	removeExtra bool      // runs of spaces become one; none at the ends
	escape      bool      // spaces are written ▁
	everyPiece  bool      // the text behind an added token gets the space too
}

// words is the pre-tokenizer of a SentencePiece model: the text, normalised, is
// one word.
func (z *spmNormalizer) words(dst []string, s string, start bool) []string {
	if s = z.normalize(s, z.dummyPrefix && (start || z.everyPiece)); s == "" {
		return dst
	}
	return append(dst, s)
}

func (z *spmNormalizer) normalize(s string, prefix bool) string {
	if z.removeExtra {
		for s != "" {
			to, n := z.first(s)
			if to != " " {
				break
			}
			s = s[n:]
		}
	}
	if s == "" {
		return ""
	}
	space := " "
	if z.escape {
		space = spmSpace
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/2 + len(space))
	if prefix {
		b.WriteString(space)
	}
	spaceBefore := z.removeExtra
	for s != "" {
		to, n := z.first(s)
		if spaceBefore {
			to = strings.TrimLeft(to, " ")
		}
		if to != "" {
			spaceBefore = z.removeExtra && to[len(to)-1] == ' '
			if z.escape {
				to = strings.ReplaceAll(to, " ", spmSpace)
			}
			b.WriteString(to)
		}
		s = s[n:]
	}
	out := b.String()
	if z.removeExtra {
		for strings.HasSuffix(out, space) {
			out = strings.TrimSuffix(out, space)
		}
	}
	return out
}

// first returns what the beginning of s becomes, and how long that beginning is.
func (z *spmNormalizer) first(s string) (to string, n int) {
	if n := z.user.prefix(s); n > 0 {
		return s[:n], n
	}
	if z.rules != nil {
		if to, n := z.rules.longest(s); n > 0 {
			return to, n
		}
	}
	_, n = utf8.DecodeRuneInString(s)
	return s[:n], n
}

// charsMap is a precompiled_charsmap: a double-array trie (Darts-clone) from
// texts to where their replacements begin in a block of texts that end with a
// zero byte.
type charsMap struct {
	trie []uint32
	to   string
}

// maxReplacement bounds the replacement of one match. The longest of the
// nmt_nfkc rules has 33 bytes.
const maxReplacement = 1 << 8

func parseCharsMap(data []byte) (*charsMap, error) {
	if len(data) == 0 {
		return nil, nil
	}
	if len(data) < 4 {
		return nil, fmt.Errorf("precompiled_charsmap: %d bytes, want at least 4", len(data))
	}
	size := binary.LittleEndian.Uint32(data)
	data = data[4:]
	if uint64(size) >= uint64(len(data)) || size%4 != 0 || size == 0 {
		return nil, fmt.Errorf("precompiled_charsmap: trie of %d bytes in %d", size, len(data))
	}
	m := &charsMap{trie: make([]uint32, size/4), to: string(data[size:])}
	for i := range m.trie {
		m.trie[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	for _, s := range strings.Split(m.to, "\x00") {
		if len(s) > maxReplacement || !utf8.ValidString(s) {
			return nil, fmt.Errorf("precompiled_charsmap: a replacement of %d bytes, want UTF-8 of at most %d", len(s), maxReplacement)
		}
	}
	return m, nil
}

// longest returns the replacement of the longest match at the beginning of s,
// and the length of the match.
func (m *charsMap) longest(s string) (to string, n int) {
	offset := func(unit uint32) uint32 { return unit >> 10 << (unit & (1 << 9) >> 6) }
	at := offset(m.trie[0])
	for i := range len(s) {
		at ^= uint32(s[i])
		if uint64(at) >= uint64(len(m.trie)) {
			break
		}
		unit := m.trie[at]
		if unit&(1<<31|0xff) != uint32(s[i]) {
			break
		}
		at ^= offset(unit)
		if unit>>8&1 == 1 && uint64(at) < uint64(len(m.trie)) {
			if value := m.trie[at] &^ (1 << 31); int(value) < len(m.to) {
				to, _, _ = strings.Cut(m.to[value:], "\x00")
				n = i + 1
			}
		}
	}
	if n < len(s) && n > 0 && !utf8.RuneStart(s[n]) { // a rule that cuts a character
		return "", 0
	}
	return to, n
}
