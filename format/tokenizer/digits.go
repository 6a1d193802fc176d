package tokenizer

import (
	"encoding/json"
	"unicode"
	"unicode/utf8"
)

// parseDigits reads the pre-tokenizer that cuts numerals from the rest: each
// alone, or in runs.
func parseDigits(raw json.RawMessage) (preTokenizer, error) {
	var f struct {
		Individual bool `json:"individual_digits"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	return digits(f.Individual), nil
}

func digits(individual bool) preTokenizer {
	behavior := contiguous
	if individual {
		behavior = isolated
	}
	return splitter(matchNumeric, behavior, false)
}

// matchNumeric matches one character that Rust's char::is_numeric accepts.
func matchNumeric(s string) int {
	if c := s[0]; c < utf8.RuneSelf {
		if c >= '0' && c <= '9' {
			return 1
		}
		return 0
	}
	r, n := utf8.DecodeRuneInString(s)
	if unicode.Is(numericTable, r) {
		return n
	}
	return 0
}
