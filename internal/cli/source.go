package cli

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/format/gguf"
	"github.com/tenon-ml/tenon/format/tokenizer"
)

// openTokenizer reads the tokenizer of a model: the one in a GGUF file, in a
// Hugging Face folder, in the folder of a .safetensors file, or a
// tokenizer.json itself.
func openTokenizer(path string) (*tokenizer.Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir() || filepath.Base(path) == "tokenizer.json":
		return tokenizer.Load(path)
	case isGGUF(path):
		f, err := gguf.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return tokenizerOfGGUF(f)
	case filepath.Ext(path) == ".safetensors" || filepath.Ext(path) == ".json" && isIndex(path):
		return tokenizer.Load(filepath.Dir(path))
	}
	return tokenizer.Load(path)
}

// isIndex tells the index of a sharded checkpoint from other JSON files.
func isIndex(path string) bool {
	m, err := filepath.Match("*.index.json", filepath.Base(path))
	return m && err == nil
}

// tokenizerOfGGUF builds the tokenizer that a GGUF file holds.
func tokenizerOfGGUF(f *gguf.File) (*tokenizer.Tokenizer, error) {
	m := tokenizer.Metadata{Path: f.Path()}
	var errs []error
	// get reads a key if the file has it.
	get := func(key string, read func(key string) error) {
		if err := read("tokenizer.ggml." + key); err != nil && !errors.Is(err, gguf.ErrNoKey) {
			errs = append(errs, err)
		}
	}
	text := func(dst *string) func(string) error {
		return func(key string) (err error) { *dst, err = f.String(key); return err }
	}
	texts := func(dst *[]string) func(string) error {
		return func(key string) (err error) { *dst, err = f.Strings(key); return err }
	}
	id := func(dst **int64) func(string) error {
		return func(key string) error {
			n, err := f.Int(key)
			if err == nil {
				v := int64(n)
				*dst = &v
			}
			return err
		}
	}
	flag := func(dst **bool) func(string) error {
		return func(key string) error {
			b, err := f.Bool(key)
			if err == nil {
				*dst = &b
			}
			return err
		}
	}
	get("model", text(&m.Model))
	get("pre", text(&m.Pre))
	get("tokens", texts(&m.Tokens))
	get("merges", texts(&m.Merges))
	get("token_type", func(key string) error {
		types, err := f.Ints(key)
		for _, t := range types {
			if t < math.MinInt32 || t > math.MaxInt32 {
				return fmt.Errorf("%s: key %q: %d, want a token type", f.Path(), key, t)
			}
			m.Types = append(m.Types, int32(t))
		}
		return err
	})
	get("bos_token_id", id(&m.BOS))
	get("eos_token_id", id(&m.EOS))
	get("eot_token_id", id(&m.EOT))
	get("eom_token_id", id(&m.EOM))
	get("unknown_token_id", id(&m.Unk))
	get("padding_token_id", id(&m.Pad))
	get("add_bos_token", flag(&m.AddBOS))
	get("add_eos_token", flag(&m.AddEOS))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return tokenizer.FromGGUF(m)
}
