package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
)

// maxAffixes bounds what a post-processor adds to a text.
const maxAffixes = 1 << 10

// parsePostProcessor reads the post_processor of a tokenizer.json: the ids that
// it writes before and behind a text.
func parsePostProcessor(raw json.RawMessage, depth int) (prefix, suffix []int32, err error) {
	typ, err := typeOf(raw)
	if err != nil || typ == "" {
		return nil, nil, wrapKey("post_processor", err)
	}
	switch typ {
	case "Sequence":
		return parsePostProcessors(raw, depth)
	case "ByteLevel": // concerns offsets only
		return nil, nil, nil
	case "TemplateProcessing":
		prefix, suffix, err = parseTemplateProcessing(raw)
	case "RobertaProcessing", "BertProcessing":
		prefix, suffix, err = parseBertProcessing(raw)
	default:
		err = unsupported(typ, "ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing or Sequence")
	}
	return prefix, suffix, wrapKey("post_processor", err)
}

func parsePostProcessors(raw json.RawMessage, depth int) (prefix, suffix []int32, err error) {
	if depth >= maxDepth {
		return nil, nil, fmt.Errorf("post_processor: Sequences nested deeper than %d", maxDepth)
	}
	var f struct {
		Processors []json.RawMessage `json:"processors"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, nil, wrapKey("post_processor", err)
	}
	for _, r := range f.Processors {
		p, s, err := parsePostProcessor(r, depth+1)
		if err != nil {
			return nil, nil, err
		}
		// The later ones surround what the earlier ones wrote.
		prefix, suffix = slices.Concat(p, prefix), slices.Concat(suffix, s)
		if len(prefix)+len(suffix) > maxAffixes {
			return nil, nil, fmt.Errorf("post_processor: adds more than %d tokens", maxAffixes)
		}
	}
	return prefix, suffix, nil
}

// parseTemplateProcessing reads the template for a single text: special tokens
// and, once, the text itself.
func parseTemplateProcessing(raw json.RawMessage) (prefix, suffix []int32, err error) {
	type named struct {
		ID string `json:"id"`
	}
	var f struct {
		Single []struct {
			SpecialToken, Sequence *named
		} `json:"single"`
		SpecialTokens map[string]struct {
			IDs []int32 `json:"ids"`
		} `json:"special_tokens"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, nil, err
	}
	sequences := 0
	for _, piece := range f.Single {
		switch {
		case piece.Sequence != nil && piece.Sequence.ID == "A":
			sequences++
		case piece.SpecialToken != nil:
			t, ok := f.SpecialTokens[piece.SpecialToken.ID]
			if !ok {
				return nil, nil, fmt.Errorf("type %q: special token %q is not in special_tokens", "TemplateProcessing", piece.SpecialToken.ID)
			}
			for _, id := range t.IDs {
				if id < 0 || id >= maxID {
					return nil, nil, fmt.Errorf("type %q: special token %q: id %d, want 0 to %d", "TemplateProcessing", piece.SpecialToken.ID, id, maxID-1)
				}
			}
			if len(prefix)+len(suffix)+len(t.IDs) > maxAffixes {
				return nil, nil, fmt.Errorf("type %q: single: adds more than %d tokens", "TemplateProcessing", maxAffixes)
			}
			if sequences == 0 {
				prefix = append(prefix, t.IDs...)
			} else {
				suffix = append(suffix, t.IDs...)
			}
		default:
			return nil, nil, fmt.Errorf("type %q: single: want special tokens and the sequence A", "TemplateProcessing")
		}
	}
	if sequences != 1 {
		return nil, nil, fmt.Errorf("type %q: single: has the sequence A %d times, want once", "TemplateProcessing", sequences)
	}
	return prefix, suffix, nil
}

// parseBertProcessing reads cls and sep, each written as [token, id].
func parseBertProcessing(raw json.RawMessage) (prefix, suffix []int32, err error) {
	var f struct{ Cls, Sep []json.RawMessage }
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, nil, err
	}
	id := func(key string, pair []json.RawMessage) ([]int32, error) {
		var n int32
		if len(pair) != 2 || json.Unmarshal(pair[1], &n) != nil || n < 0 || n >= maxID {
			return nil, fmt.Errorf("%s: want [token, id]", key)
		}
		return []int32{n}, nil
	}
	if prefix, err = id("cls", f.Cls); err != nil {
		return nil, nil, err
	}
	suffix, err = id("sep", f.Sep)
	return prefix, suffix, err
}
