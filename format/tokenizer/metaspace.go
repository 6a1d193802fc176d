package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// metaspace is what the pre-tokenizer and the decoder of that name are told:
// the character that stands for a space, and where one is put before a text.
type metaspace struct {
	space  string
	scheme string // always, first (at the beginning of the text only) or never
	split  bool   // each space begins a word; otherwise all is one word
}

func parseMetaspaceFields(raw json.RawMessage) (metaspace, error) {
	f := struct {
		Replacement    string `json:"replacement"`
		PrependScheme  string `json:"prepend_scheme"`
		AddPrefixSpace *bool  `json:"add_prefix_space"` // of old files
		Split          *bool  `json:"split"`
	}{PrependScheme: "always"}
	if err := json.Unmarshal(raw, &f); err != nil {
		return metaspace{}, err
	}
	if utf8.RuneCountInString(f.Replacement) != 1 {
		return metaspace{}, fmt.Errorf("type %q: replacement %q, want one character", "Metaspace", f.Replacement)
	}
	switch f.PrependScheme {
	case "always", "first", "never":
	default:
		return metaspace{}, fmt.Errorf("type %q: prepend_scheme %q, want always, first or never", "Metaspace", f.PrependScheme)
	}
	if f.AddPrefixSpace != nil && !*f.AddPrefixSpace && f.PrependScheme != "never" {
		return metaspace{}, fmt.Errorf("type %q: add_prefix_space is false, but prepend_scheme is %q", "Metaspace", f.PrependScheme)
	}
	return metaspace{f.Replacement, f.PrependScheme, f.Split == nil || *f.Split}, nil
}

// parseMetaspace reads SentencePiece's pre-tokenizer: spaces become ▁, one is
// put before the text unless it begins with one, and each begins a word.
// Whether a text begins the whole is only known to the first step.
func parseMetaspace(raw json.RawMessage, firstStep bool) (preTokenizer, error) {
	m, err := parseMetaspaceFields(raw)
	if err != nil {
		return nil, err
	}
	if m.scheme == "first" && !firstStep {
		return nil, fmt.Errorf("type %q: prepend_scheme %q is only supported for the first pre-tokenizer", "Metaspace", m.scheme)
	}
	return m.words, nil
}

func (m metaspace) words(dst []string, s string, start bool) []string {
	s = strings.ReplaceAll(s, " ", m.space)
	if (m.scheme == "always" || m.scheme == "first" && start) && !strings.HasPrefix(s, m.space) {
		s = m.space + s
	}
	if !m.split {
		return append(dst, s)
	}
	for {
		_, n := utf8.DecodeRuneInString(s)
		end := strings.Index(s[n:], m.space)
		if end < 0 {
			return append(dst, s)
		}
		dst = append(dst, s[:n+end])
		s = s[n+end:]
	}
}
