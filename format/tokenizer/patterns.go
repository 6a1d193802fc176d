package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// The regular expressions of byte-level tokenizers have look-aheads, which Go's
// regexp does not do. Each is written out here as a scanner that reads every
// character once or twice, with Unicode as Oniguruma has it in the crate.
const (
	patternGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

	patternQwen2 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// patterns are the regular expressions that Split knows.
var patterns = map[string]match{
	patternGPT2:   matchGPT2,
	patternLlama3: matchLlama3,
	patternQwen2:  matchQwen2,
}

// class of a character in these patterns. Every character has one.
type class uint8

const (
	other  class = iota // [^\s\p{L}\p{N}]
	letter              // \p{L}
	number              // \p{N}
	space               // \s
)

// asciiClass is class for the characters that most text is made of.
var asciiClass = func() (t [utf8.RuneSelf]class) {
	for c := range t {
		t[c] = classOf(rune(c))
	}
	return t
}()

func classOf(r rune) class {
	switch {
	case unicode.Is(letterTable, r):
		return letter
	case unicode.Is(numberTable, r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// first returns the class and the length of the first character of s; the
// length is 0 if s is empty.
func first(s string) (class, int) {
	if len(s) == 0 {
		return other, 0
	}
	if c := s[0]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, n := utf8.DecodeRuneInString(s)
	return classOf(r), n
}

// run returns the length of the characters of class c that s begins with.
func run(s string, c class) int {
	i := 0
	for {
		k, n := first(s[i:])
		if n == 0 || k != c {
			return i
		}
		i += n
	}
}

// matchGPT2 matches patternGPT2.
func matchGPT2(s string) int {
	if n := contraction(s); n > 0 {
		return n
	}
	i := 0
	c, n := first(s)
	if s[0] == ' ' {
		if c, n = first(s[1:]); n == 0 {
			return 1
		}
		i = 1
	}
	if c == space {
		return spaces(s)
	}
	return i + n + run(s[i+n:], c)
}

// spaces matches \s+(?!\S)|\s+ where s begins with white space: up to the end
// of the text, or else all but the last, which belongs to the word behind.
func spaces(s string) int {
	end := run(s, space)
	if end == len(s) {
		return end
	}
	if _, n := utf8.DecodeLastRuneInString(s[:end]); n < end {
		return end - n
	}
	return end
}

// contraction matches 's|'t|'re|'ve|'m|'ll|'d.
func contraction(s string) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	switch s[1] {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if len(s) > 2 && s[2] == 'e' {
			return 3
		}
	case 'l':
		if len(s) > 2 && s[2] == 'l' {
			return 3
		}
	}
	return 0
}

func matchLlama3(s string) int { return matchCL100K(s, 3) }
func matchQwen2(s string) int  { return matchCL100K(s, 1) }

// matchCL100K matches patternLlama3, with a number of at most digits numerals.
func matchCL100K(s string, digits int) int {
	if n := anyCaseContraction(s); n > 0 {
		return n
	}
	c, n := first(s)
	switch c {
	case letter:
		return n + run(s[n:], letter)
	case number:
		i := n
		for range digits - 1 {
			if c, n = first(s[i:]); n == 0 || c != number {
				break
			}
			i += n
		}
		return i
	}
	// [^\r\n\p{L}\p{N}]?\p{L}+
	if s[0] != '\r' && s[0] != '\n' {
		if w := run(s[n:], letter); w > 0 {
			return n + w
		}
	}
	// ` ?[^\s\p{L}\p{N}]+[\r\n]*`
	i := 0
	if s[0] == ' ' {
		i = 1
	}
	if w := run(s[i:], other); w > 0 {
		i += w
		for i < len(s) && (s[i] == '\r' || s[i] == '\n') {
			i++
		}
		return i
	}
	// \s*[\r\n]+
	end := run(s, space)
	for i := end; i > 0; i-- {
		if s[i-1] == '\r' || s[i-1] == '\n' {
			return i
		}
	}
	return spaces(s)
}

// anyCaseContraction matches (?i:'s|'t|'re|'ve|'m|'ll|'d). The long s (U+017F)
// is an s without regard to case.
func anyCaseContraction(s string) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	if len(s) > 2 && s[1:3] == "\u017f" {
		return 3
	}
	low := [3]byte{'\'', s[1] | 0x20}
	if len(s) == 2 {
		return contraction(string(low[:2]))
	}
	low[2] = s[2] | 0x20
	return contraction(string(low[:]))
}
