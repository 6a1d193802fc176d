package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// normalizer rewrites the text before it is split.
type normalizer func(string) string

// parseNormalizer reads the normalizer of a tokenizer.json; null is nil.
func parseNormalizer(raw json.RawMessage, depth int, g *growth) (normalizer, error) {
	typ, err := typeOf(raw)
	if err != nil || typ == "" {
		return nil, wrapKey("normalizer", err)
	}
	if err := g.add(1); err != nil {
		return nil, wrapKey("normalizer", err)
	}
	switch typ {
	case "Sequence":
		return parseNormalizers(raw, depth, g)
	case "NFC":
		return normalForm(norm.NFC), nil
	case "NFD":
		return normalForm(norm.NFD), nil
	case "NFKC":
		return normalForm(norm.NFKC), nil
	case "NFKD":
		return normalForm(norm.NFKD), nil
	case "Lowercase":
		return lowercase, nil
	case "Strip":
		return parseStrip(raw)
	case "Prepend":
		return parsePrepend(raw)
	case "Replace":
		return parseReplace(raw, g)
	}
	return nil, wrapKey("normalizer", unsupported(typ, "NFC, NFD, NFKC, NFKD, Lowercase, Strip, Prepend, Replace or Sequence"))
}

func parseNormalizers(raw json.RawMessage, depth int, g *growth) (normalizer, error) {
	if depth >= maxDepth {
		return nil, fmt.Errorf("normalizer: Sequences nested deeper than %d", maxDepth)
	}
	var f struct {
		Normalizers []json.RawMessage `json:"normalizers"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, wrapKey("normalizer", err)
	}
	var all []normalizer
	for _, r := range f.Normalizers {
		n, err := parseNormalizer(r, depth+1, g)
		if err != nil {
			return nil, err
		}
		if n != nil {
			all = append(all, n)
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	return func(s string) string {
		for _, n := range all {
			s = n(s)
		}
		return s
	}, nil
}

func parseStrip(raw json.RawMessage) (normalizer, error) {
	var f struct {
		Left  bool `json:"strip_left"`
		Right bool `json:"strip_right"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, wrapKey("normalizer", err)
	}
	return func(s string) string {
		if f.Left {
			s = strings.TrimLeftFunc(s, unicode.IsSpace)
		}
		if f.Right {
			s = strings.TrimRightFunc(s, unicode.IsSpace)
		}
		return s
	}, nil
}

// maxPrepend bounds what is written before every piece of a text.
const maxPrepend = 1 << 12

func parsePrepend(raw json.RawMessage) (normalizer, error) {
	var f struct {
		Prepend string `json:"prepend"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, wrapKey("normalizer", err)
	}
	if len(f.Prepend) > maxPrepend {
		return nil, fmt.Errorf("normalizer: type %q: %d bytes, want at most %d", "Prepend", len(f.Prepend), maxPrepend)
	}
	return func(s string) string {
		if s == "" {
			return s
		}
		return f.Prepend + s
	}, nil
}

func parseReplace(raw json.RawMessage, g *growth) (normalizer, error) {
	from, to, err := parseReplaceFields(raw, g)
	if err != nil {
		return nil, wrapKey("normalizer", err)
	}
	return func(s string) string { return strings.ReplaceAll(s, from, to) }, nil
}

// parseReplaceFields reads a Replace of the normalizer or of the decoder.
func parseReplaceFields(raw json.RawMessage, g *growth) (from, to string, err error) {
	var f struct {
		Pattern struct{ String, Regex *string } `json:"pattern"`
		Content string                          `json:"content"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return "", "", err
	}
	if f.Pattern.String == nil || *f.Pattern.String == "" {
		return "", "", fmt.Errorf("type %q: only a string is supported as pattern", "Replace")
	}
	return *f.Pattern.String, f.Content, g.add(float64(len(f.Content)) / float64(len(*f.Pattern.String)))
}

// lowercase maps character by character, as the crate does: no final sigma.
func lowercase(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		if r == 'İ' { // the one that becomes two
			b.WriteString("i\u0307")
		} else if low, ok := lowerTable[r]; ok {
			b.WriteRune(low)
		} else {
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}
