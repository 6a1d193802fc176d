package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/format/tokenizer"
)

func newTokenize(e *env) *cobra.Command {
	var model, text, file string
	var decode, noSpecial, asJSON bool
	cmd := &cobra.Command{
		Use:   "tokenize --model PATH (--text TEXT | --file FILE.jsonl)",
		Short: "Turn text into token ids, or ids into text",
		Long: `Turn text into token ids, as the model's tokenizer does, or with --decode ids
into text.

--text prints one JSON array of ids. --file reads one JSON string a line and
prints one JSON array a line. With --decode, --text is ids ("1,2,3" or a JSON
array) and prints the text, with --json as a JSON string; --file reads one JSON
array a line and prints one JSON string a line.`,
		Example: `  tenon tokenize --model SmolLM2.gguf --text "Hello, world"
  tenon tokenize --model model/tokenizer.json --file texts.jsonl > ids.jsonl
  tenon tokenize --model SmolLM2.gguf --decode --text 19556,28,905`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := require(cmd, "model"); err != nil {
				return err
			}
			if err := exactlyOne(cmd, "text", "file"); err != nil {
				return err
			}
			var ids []int32
			if decode && cmd.Flags().Changed("text") {
				var err error
				if ids, err = parseIDs(text); err != nil {
					return usagef("--text: %w", err)
				}
			}
			tok, err := tenon.OpenTokenizer(model)
			if err != nil {
				return err
			}
			w := bufio.NewWriter(e.stdout)
			switch {
			case cmd.Flags().Changed("file"):
				err = tokenizeFile(w, file, func(line []byte) (any, error) {
					return tokenizeLine(tok, line, decode, noSpecial)
				})
			case decode && asJSON:
				err = writeJSON(w, tok.Decode(ids, noSpecial))
			case decode:
				_, err = fmt.Fprintln(w, tok.Decode(ids, noSpecial))
			default:
				err = writeJSON(w, encode(tok, text, noSpecial))
			}
			return errors.Join(err, w.Flush())
		},
	}
	f := cmd.Flags()
	f.StringVar(&model, "model", "", "Hugging Face folder, .safetensors or .gguf file, or a tokenizer.json (required)")
	f.StringVar(&text, "text", "", "text to encode, or ids to decode")
	f.StringVar(&file, "file", "", "JSONL file of strings to encode, or of arrays of ids to decode")
	f.BoolVar(&decode, "decode", false, "turn ids into text")
	f.BoolVar(&noSpecial, "no-special", false, "add no BOS or EOS; decoding, leave special tokens out")
	f.BoolVar(&asJSON, "json", false, "print decoded text as a JSON string")
	return cmd
}

// encode returns a slice that JSON writes as an array even when it is empty.
func encode(tok *tokenizer.Tokenizer, text string, noSpecial bool) []int32 {
	if ids := tok.Encode(text, !noSpecial); ids != nil {
		return ids
	}
	return []int32{}
}

// tokenizeFile writes for each line of a file what convert makes of it.
func tokenizeFile(w io.Writer, path string, convert func(line []byte) (any, error)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<16)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		v, err := convert(line)
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		if err := writeJSON(w, v); err != nil {
			return err
		}
	}
}

// tokenizeLine converts one line: a JSON string to ids, or an array of ids to
// a string.
func tokenizeLine(tok *tokenizer.Tokenizer, line []byte, decode, noSpecial bool) (any, error) {
	line = bytes.Trim(line, " \t\r\n")
	if decode {
		// Pointers, since null would leave an int32 zero without an error.
		var v []*int32
		if err := json.Unmarshal(line, &v); err != nil || v == nil {
			return nil, errors.New("want a JSON array of token ids")
		}
		ids := make([]int32, len(v))
		for i, p := range v {
			if p == nil {
				return nil, errors.New("want a JSON array of token ids")
			}
			ids[i] = *p
		}
		return tok.Decode(ids, noSpecial), nil
	}
	var s *string
	if err := json.Unmarshal(replaceInvalid(line), &s); err != nil || s == nil {
		return nil, errors.New("want a JSON string")
	}
	return encode(tok, *s, noSpecial), nil
}

// parseIDs reads token ids: numbers between commas, with or without the
// brackets of a JSON array.
func parseIDs(s string) ([]int32, error) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "[") {
		s = "[" + s + "]"
	}
	var v []*int32
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		return nil, fmt.Errorf("want token ids such as 1,2,3")
	}
	ids := make([]int32, len(v))
	for i, p := range v {
		if p == nil || *p < 0 {
			return nil, fmt.Errorf("want token ids such as 1,2,3")
		}
		ids[i] = *p
	}
	return ids, nil
}

// replaceInvalid puts U+FFFD in the place of each maximal part of a character
// that is not valid UTF-8, as Python's errors="replace" and Unicode's "best
// practice" do; encoding/json would put one in the place of each byte.
func replaceInvalid(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	out := make([]byte, 0, len(b)+8)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r != utf8.RuneError || n > 1 {
			out, b = append(out, b[:n]...), b[n:]
			continue
		}
		out = append(out, "\ufffd"...)
		b = b[invalidPart(b):]
	}
	return out
}

// invalidPart returns the length of the ill-formed part at the start of b: the
// longest start of some character's encoding, at least one byte.
//
// Source: The Unicode Standard 16, 3.9, table 3-7 and "U+FFFD Substitution of
// Maximal Subparts".
func invalidPart(b []byte) int {
	lo, hi, want := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		want = 1
	case c >= 0xe0 && c <= 0xef:
		want = 2
		if c == 0xe0 {
			lo = 0xa0
		} else if c == 0xed {
			hi = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		want = 3
		if c == 0xf0 {
			lo = 0x90
		} else if c == 0xf4 {
			hi = 0x8f
		}
	}
	n := 1
	for ; n <= want && n < len(b) && b[n] >= lo && b[n] <= hi; n++ {
		lo, hi = 0x80, 0xbf
	}
	return n
}
