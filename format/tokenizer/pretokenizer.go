package tokenizer

import (
	"encoding/json"
	"fmt"
)

// preTokenizer appends to dst the words of s, which is not empty; no word is
// empty. Start tells that s begins the whole text, with no added token before
// it. A pre-tokenizer type is one file.
type preTokenizer func(dst []string, s string, start bool) []string

// maxDepth bounds Sequences within Sequences.
const maxDepth = 8

// growth is by how much the steps of a pipeline read so far can lengthen a
// text, and how many they are. It keeps a short file from asking for steps that
// each double what the one before has made.
type growth struct {
	factor        float64
	steps         int
	onlySequences bool // of the steps
}

// add counts one more step.
func (g *growth) add(factor float64) error {
	g.factor = max(g.factor, 1) * max(factor, 1)
	g.steps++
	if g.factor > 1<<12 || g.steps > 1<<8 {
		return fmt.Errorf("%d steps that make a text up to %.0f times as long, want at most %d and %d", g.steps, g.factor, 1<<8, 1<<12)
	}
	return nil
}

// parsePreTokenizer reads the pre_tokenizer of a tokenizer.json; null is nil.
func parsePreTokenizer(raw json.RawMessage, depth int, g *growth) (preTokenizer, error) {
	typ, err := typeOf(raw)
	if err != nil || typ == "" {
		return nil, wrapKey("pre_tokenizer", err)
	}
	factor := 1.0
	switch typ {
	case "ByteLevel":
		factor = 2 // a byte becomes a character of up to two
	case "Metaspace":
		factor = 4 // a space becomes a character of up to four
	}
	first := g.steps == 0 || g.onlySequences
	if err := g.add(factor); err != nil {
		return nil, wrapKey("pre_tokenizer", err)
	}
	g.onlySequences = first && typ == "Sequence"
	var p preTokenizer
	switch typ {
	case "Sequence":
		return parsePreTokenizers(raw, depth, g)
	case "ByteLevel":
		p, err = parseByteLevel(raw)
	case "Split":
		p, err = parseSplit(raw)
	case "Digits":
		p, err = parseDigits(raw)
	case "Metaspace":
		p, err = parseMetaspace(raw, first)
	default:
		err = unsupported(typ, "ByteLevel, Split, Digits, Metaspace or Sequence")
	}
	return p, wrapKey("pre_tokenizer", err)
}

func parsePreTokenizers(raw json.RawMessage, depth int, g *growth) (preTokenizer, error) {
	if depth >= maxDepth {
		return nil, fmt.Errorf("pre_tokenizer: Sequences nested deeper than %d", maxDepth)
	}
	var f struct {
		Pretokenizers []json.RawMessage `json:"pretokenizers"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, wrapKey("pre_tokenizer", err)
	}
	var all []preTokenizer
	for _, r := range f.Pretokenizers {
		p, err := parsePreTokenizer(r, depth+1, g)
		if err != nil {
			return nil, err
		}
		if p != nil {
			all = append(all, p)
		}
	}
	return inSequence(all...), nil
}

// inSequence gives each word of one pre-tokenizer to the next.
func inSequence(all ...preTokenizer) preTokenizer {
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	first, rest := all[0], inSequence(all[1:]...)
	return func(dst []string, s string, start bool) []string {
		var few [16]string
		for _, w := range first(few[:0], s, start) {
			dst = rest(dst, w, false) // the first step alone heeds start
		}
		return dst
	}
}

// typeOf returns the "type" of an object, "" for null.
func typeOf(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var f struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return "", err
	}
	if f.Type == "" {
		return "", fmt.Errorf("no type")
	}
	return f.Type, nil
}

func unsupported(typ, want string) error {
	return fmt.Errorf("type %q is not supported, want %s", typ, want)
}

func wrapKey(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", key, err)
}
