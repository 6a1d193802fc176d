package tokenizer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// normalForm returns a Unicode normal form as the crate computes it, which is
// that of Unicode 12: what was added later is neither decomposed, composed nor
// reordered. (golang.org/x/text knows later versions, and interrupts runs of
// more than 30 marks, which the crate does not.) The mappings of x/text are
// used for what Unicode 12 has; the standard promises that they never change.
func normalForm(form norm.Form) normalizer {
	full, compose := norm.NFD, form == norm.NFC || form == norm.NFKC
	if form == norm.NFKC || form == norm.NFKD {
		full = norm.NFKD
	}
	return func(s string) string {
		if isASCII(s) {
			return s
		}
		rs := decompose(s, full)
		reorder(rs)
		if compose {
			rs = composed(rs)
		}
		var b strings.Builder
		b.Grow(len(s))
		for _, r := range rs {
			b.WriteRune(r.char)
		}
		return b.String()
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// classed is a character with its canonical combining class.
type classed struct {
	char  rune
	class uint8
}

func combiningClass(r rune) uint8 {
	if !unicode.Is(combiningTable, r) {
		return 0
	}
	return norm.NFD.PropertiesString(string(r)).CCC()
}

func decompose(s string, full norm.Form) []classed {
	out := make([]classed, 0, len(s))
	for _, r := range s {
		if r < utf8.RuneSelf || !(r >= 0xAC00 && r <= 0xD7A3 || unicode.Is(decomposingTable, r)) {
			out = append(out, classed{r, combiningClass(r)})
			continue
		}
		for _, d := range full.String(string(r)) {
			out = append(out, classed{d, combiningClass(d)})
		}
	}
	return out
}

// reorder sorts each run of marks by class, keeping the order of equals.
func reorder(rs []classed) {
	for i := 0; i < len(rs); i++ {
		j := i
		for j < len(rs) && rs[j].class > 0 {
			j++
		}
		if j-i > 1 {
			slices.SortStableFunc(rs[i:j], func(a, b classed) int { return int(a.class) - int(b.class) })
		}
		i = j
	}
}

// composed is the canonical composition algorithm (Unicode 3.11, D117), in
// place: a mark joins the last starter unless something between them blocks it.
func composed(rs []classed) []classed {
	out := rs[:0]
	starter := -1
	for _, r := range rs {
		if starter >= 0 {
			last := out[len(out)-1]
			blocked := len(out)-1 > starter && last.class >= r.class
			if !blocked {
				if c, ok := composePair(out[starter].char, r.char); ok {
					out[starter].char = c
					continue
				}
			}
		}
		if r.class == 0 {
			starter = len(out)
		}
		out = append(out, r)
	}
	return out
}

func composePair(a, b rune) (rune, bool) {
	var buf [utf8.UTFMax]byte
	n := utf8.EncodeRune(buf[:], b)
	if norm.NFC.Properties(buf[:n]).BoundaryBefore() { // is no second part of anything
		return 0, false
	}
	s := norm.NFC.String(string(a) + string(b))
	c, n := utf8.DecodeRuneInString(s)
	if n != len(s) {
		return 0, false
	}
	return c, c >= 0xAC00 && c <= 0xD7A3 || unicode.Is(decomposingTable, c)
}
