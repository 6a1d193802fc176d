package tenon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/format/chat"
	"github.com/tenon-ml/tenon/format/gguf"
	"github.com/tenon-ml/tenon/format/tokenizer"
	"github.com/tenon-ml/tenon/train"
)

// OpenTokenizer reads the tokenizer of a model: the one in a GGUF file, in a
// Hugging Face folder, in the folder of a .safetensors file, or a
// tokenizer.json itself.
func OpenTokenizer(path string) (*tokenizer.Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir() || filepath.Base(path) == "tokenizer.json":
		return tokenizer.Load(path)
	case IsGGUF(path):
		f, err := gguf.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return tokenizer.FromGGUF(f)
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

// NewEncoder returns what turns data lines into tokens of a model. The
// tokenizer is opened when the first line asks for it: data that is tokenised
// already needs none.
func NewEncoder(path string) train.Encoder {
	open := sync.OnceValues(func() (*tokenizer.Tokenizer, error) { return OpenTokenizer(path) })
	openChat := sync.OnceValues(func() (*chat.Template, error) { return OpenTemplate(path) })
	return train.Encoder{
		Text: func(text string) ([]int32, error) {
			tok, err := open()
			if err != nil {
				return nil, err
			}
			return tok.Encode(text, false), nil
		},
		Marks: func() (bos []int32, eos int32, err error) {
			tok, err := open()
			if err != nil {
				return nil, -1, err
			}
			if id, ok := tok.BOS(); ok && tok.AddsBOS() {
				bos = []int32{id}
			}
			eos, ok := tok.EOS()
			if !ok {
				eos = -1
			}
			return bos, eos, nil
		},
		Chat: func(messages json.RawMessage) (ids, labels []int32, err error) {
			tok, err := open()
			if err != nil {
				return nil, nil, err
			}
			template, err := openChat()
			if err != nil {
				return nil, nil, err
			}
			var m []chat.Message
			if err := json.Unmarshal(messages, &m); err != nil {
				return nil, nil, err
			}
			return template.Labels(m, SpecialTokens(tok), tok)
		},
	}
}

// OpenTemplate reads the chat template of a model.
func OpenTemplate(path string) (*chat.Template, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return named(path)(chat.Load(path))
	}
	if !IsGGUF(path) {
		return named(path)(chat.Load(filepath.Dir(path)))
	}
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	source, err := f.String("tokenizer.chat_template")
	if errors.Is(err, gguf.ErrNoKey) {
		return named(path)(nil, chat.ErrNone)
	}
	if err != nil {
		return nil, err
	}
	return chat.Parse(source, path)
}

// named makes the error about a model without a template name the model.
func named(path string) func(*chat.Template, error) (*chat.Template, error) {
	return func(t *chat.Template, err error) (*chat.Template, error) {
		if errors.Is(err, chat.ErrNone) && !strings.HasPrefix(err.Error(), path) {
			err = fmt.Errorf("%s: %w", path, err)
		}
		return t, err
	}
}

// SpecialTokens are the variables by which templates write special tokens.
func SpecialTokens(tok *tokenizer.Tokenizer) map[string]any {
	vars := map[string]any{}
	for name, get := range map[string]func() (int32, bool){"bos_token": tok.BOS, "eos_token": tok.EOS, "unk_token": tok.Unk, "pad_token": tok.Pad} {
		if id, ok := get(); ok {
			if text, ok := tok.IDToToken(id); ok {
				vars[name] = text
			}
		}
	}
	return vars
}
