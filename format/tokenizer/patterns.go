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

	patternTekken = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`

	// What llama.cpp's "default" applies besides GPT-2's.
	patternPunctuation = `[\p{P}\$\+<=>\^~\|]+`
	patternNumber      = `\p{N}+`
	patternThreeDigits = `[0-9][0-9][0-9]`
)

// patterns are the regular expressions that Split knows.
var patterns = map[string]match{
	patternGPT2:   matchGPT2,
	patternLlama3: matchLlama3,
	patternQwen2:  matchQwen2,
	patternTekken: matchTekken,

	patternPunctuation: matchPunctuation,
	patternNumber:      matchNumber,
	patternThreeDigits: matchThreeDigits,
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

// cases are the sets of patternTekken that a character is in.
type cases uint8

const (
	caseUpper cases = 1 << iota // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
	caseLower                   // [\p{Ll}\p{Lm}\p{Lo}\p{M}]
)

func casesOf(r rune) cases {
	switch {
	case r < utf8.RuneSelf:
		switch {
		case r >= 'a' && r <= 'z':
			return caseLower
		case r >= 'A' && r <= 'Z':
			return caseUpper
		}
		return 0
	case unicode.Is(lowerLetterTable, r):
		return caseLower
	case unicode.Is(upperLetterTable, r):
		return caseUpper
	case unicode.Is(letterTable, r), unicode.Is(markTable, r):
		return caseUpper | caseLower
	}
	return 0
}

// matchTekken matches patternTekken.
func matchTekken(s string) int {
	c, n := first(s)
	// [^\r\n\p{L}\p{N}]? is a mark or any other character; without it the
	// match may begin with the same mark.
	if c != letter && c != number && s[0] != '\r' && s[0] != '\n' {
		if w := casedWord(s[n:], true); w > 0 {
			return n + w
		}
	}
	if w := casedWord(s, true); w > 0 {
		return w
	}
	if c != letter && c != number && s[0] != '\r' && s[0] != '\n' {
		if w := casedWord(s[n:], false); w > 0 {
			return n + w
		}
	}
	if w := casedWord(s, false); w > 0 {
		return w
	}
	if c == number {
		return n
	}
	i := 0
	if s[0] == ' ' {
		i = 1
	}
	if w := run(s[i:], other); w > 0 {
		i += w
		for i < len(s) && (s[i] == '\r' || s[i] == '\n' || s[i] == '/') {
			i++
		}
		return i
	}
	end := run(s, space)
	for i := end; i > 0; i-- {
		if s[i-1] == '\r' || s[i-1] == '\n' {
			return i
		}
	}
	return spaces(s)
}

// casedWord matches U*L+ at the beginning of s, or else, when lower is false,
// U+L*, where U and L are the sets of cases.
func casedWord(s string, lower bool) int {
	upper, last := 0, 0 // the end of U*, and of the longest U* that L may follow
	for upper < len(s) {
		r, n := utf8.DecodeRuneInString(s[upper:])
		c := casesOf(r)
		if c&caseUpper == 0 {
			break
		}
		if c&caseLower != 0 {
			last = upper + n // U* gives this character back to L+
		}
		upper += n
	}
	end := upper
	for end < len(s) {
		r, n := utf8.DecodeRuneInString(s[end:])
		if casesOf(r)&caseLower == 0 {
			break
		}
		end += n
	}
	switch {
	case end > upper:
		return end
	case lower:
		return last
	}
	return upper
}

// matchPunctuation matches [\p{P}\$\+<=>\^~\|]+.
func matchPunctuation(s string) int {
	i := 0
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch r {
		case '$', '+', '<', '=', '>', '^', '~', '|':
		default:
			if !unicode.Is(punctuationTable, r) {
				return i
			}
		}
		i += n
	}
	return i
}

// matchNumber matches \p{N}+.
func matchNumber(s string) int { return run(s, number) }

// matchThreeDigits matches [0-9][0-9][0-9].
func matchThreeDigits(s string) int {
	if len(s) < 3 {
		return 0
	}
	for i := range 3 {
		if s[i] < '0' || s[i] > '9' {
			return 0
		}
	}
	return 3
}
