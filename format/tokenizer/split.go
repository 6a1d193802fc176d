package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// match returns the length of the pattern's match at the beginning of s, which
// is not empty, or 0.
type match func(s string) int

// behavior says what becomes of a match when a text is split.
type behavior int

const (
	isolated           behavior = iota // it is a word of its own
	removed                            // it goes away
	mergedWithPrevious                 // it belongs to the text before it
	mergedWithNext                     // it belongs to the text behind it
	contiguous                         // neighbouring matches are one word
)

var behaviors = map[string]behavior{
	"Isolated":           isolated,
	"Removed":            removed,
	"MergedWithPrevious": mergedWithPrevious,
	"MergedWithNext":     mergedWithNext,
	"Contiguous":         contiguous,
}

// parseSplit reads the pre-tokenizer that splits by a pattern: a string, or one
// of the regular expressions in patterns.
func parseSplit(raw json.RawMessage) (preTokenizer, error) {
	var f struct {
		Pattern struct {
			String *string
			Regex  *string
		} `json:"pattern"`
		Behavior string `json:"behavior"`
		Invert   bool   `json:"invert"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	b, ok := behaviors[f.Behavior]
	if !ok {
		return nil, fmt.Errorf("type %q: behavior %q, want Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous", "Split", f.Behavior)
	}
	var m match
	switch p := f.Pattern; {
	case p.String != nil && *p.String != "":
		m = matchString(*p.String)
	case p.Regex != nil:
		if m, ok = patterns[*p.Regex]; !ok {
			return nil, fmt.Errorf("type %q: the regular expression %q is not supported, want that of GPT-2, Llama 3, Qwen 2 or Mistral Nemo", "Split", *p.Regex)
		}
	default:
		return nil, fmt.Errorf("type %q: no pattern", "Split")
	}
	return splitter(m, b, f.Invert), nil
}

func matchString(want string) match {
	return func(s string) int {
		if strings.HasPrefix(s, want) {
			return len(want)
		}
		return 0
	}
}

// splitter splits by the matches of m; inverted, by what lies between them.
func splitter(m match, b behavior, invert bool) preTokenizer {
	if b == isolated { // the same either way round
		return func(dst []string, s string, _ bool) []string { return splitAll(dst, s, m) }
	}
	return func(dst []string, s string, _ bool) []string {
		for _, p := range join(findAll(s, m, invert), b) {
			dst = append(dst, s[p.start:p.end])
		}
		return dst
	}
}

// part is a match, or the text between two.
type part struct {
	start, end int
	match      bool
}

// findAll returns the parts of s, in order.
func findAll(s string, m match, invert bool) []part {
	var parts []part
	gap := 0
	for i := 0; i < len(s); {
		n := m(s[i:])
		if n == 0 {
			_, w := utf8.DecodeRuneInString(s[i:])
			i += w
			continue
		}
		if gap < i {
			parts = append(parts, part{gap, i, invert})
		}
		parts = append(parts, part{i, i + n, !invert})
		i += n
		gap = i
	}
	if gap < len(s) {
		parts = append(parts, part{gap, len(s), invert})
	}
	return parts
}

// join makes words of parts, in place. A match joins a neighbour that is none,
// so of several matches in a row only the one beside the text does.
func join(parts []part, b behavior) []part {
	if b == removed {
		return slices.DeleteFunc(parts, func(p part) bool { return p.match })
	}
	if b == mergedWithNext { // the same, seen from the end
		slices.Reverse(parts)
	}
	words := parts[:0]
	before := false // whether the part before was a match
	for _, p := range parts {
		joins := p.match && !before
		if b == contiguous {
			joins = p.match == before
		}
		before = p.match
		if n := len(words); joins && n > 0 {
			words[n-1].start = min(words[n-1].start, p.start)
			words[n-1].end = max(words[n-1].end, p.end)
		} else {
			words = append(words, p)
		}
	}
	if b == mergedWithNext {
		slices.Reverse(words)
	}
	return words
}

// splitAll appends the matches of m and what lies between them, in order.
func splitAll(dst []string, s string, m match) []string {
	gap := 0
	for i := 0; i < len(s); {
		n := m(s[i:])
		if n == 0 {
			_, w := utf8.DecodeRuneInString(s[i:])
			i += w
			continue
		}
		if gap < i {
			dst = append(dst, s[gap:i])
		}
		dst = append(dst, s[i:i+n])
		i += n
		gap = i
	}
	if gap < len(s) {
		dst = append(dst, s[gap:])
	}
	return dst
}
