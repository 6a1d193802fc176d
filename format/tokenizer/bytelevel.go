package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// parseByteLevel reads GPT-2's pre-tokenizer: cut by its pattern unless the
// file says that a Split before it has done so, then each byte is written as
// one character.
func parseByteLevel(raw json.RawMessage) (preTokenizer, error) {
	f := struct {
		AddPrefixSpace *bool `json:"add_prefix_space"`
		UseRegex       bool  `json:"use_regex"`
	}{UseRegex: true}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	if f.AddPrefixSpace == nil {
		return nil, fmt.Errorf("type %q: no add_prefix_space", "ByteLevel")
	}
	return byteLevel(*f.AddPrefixSpace, f.UseRegex), nil
}

func byteLevel(addPrefixSpace, useRegex bool) preTokenizer {
	return func(dst []string, s string, _ bool) []string {
		if addPrefixSpace && s[0] != ' ' {
			s = " " + s
		}
		first := len(dst)
		if useRegex {
			dst = splitAll(dst, s, matchGPT2)
		} else {
			dst = append(dst, s)
		}
		// One string holds all words' characters.
		var b strings.Builder
		b.Grow(len(s) + len(s)/4)
		for i := range len(s) {
			writeByteChar(&b, s[i])
		}
		all := b.String()
		at := 0
		for i := first; i < len(dst); i++ {
			end := at
			for j := range len(dst[i]) {
				end += utf8.RuneLen(byteChars[dst[i][j]])
			}
			dst[i] = all[at:end]
			at = end
		}
		return dst
	}
}

func writeByteChar(b *strings.Builder, c byte) {
	if r := byteChars[c]; r < utf8.RuneSelf {
		b.WriteByte(byte(r))
	} else {
		b.WriteRune(r)
	}
}
