package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/tenon-ml/tenon/internal/mapped"
)

// ErrNone is the error for a model that has no chat template.
var ErrNone = errors.New("no chat template")

// Load reads the chat template of a Hugging Face folder: chat_template.jinja,
// or else chat_template in tokenizer_config.json, which is a string or a list
// of named ones, of which it takes the one named default. The special tokens
// that the folder's files name (bos_token, eos_token, …) become variables. If
// there is no template the error is ErrNone.
//
// The template of a GGUF file is the string of its key
// tokenizer.chat_template: give it to Parse.
func Load(dir string) (*Template, error) {
	config := filepath.Join(dir, "tokenizer_config.json")
	vars := map[string]any{}
	var f map[string]json.RawMessage
	for _, path := range []string{filepath.Join(dir, "special_tokens_map.json"), config} {
		var err error
		if f, err = readObject(path); err != nil {
			return nil, err
		}
		for _, key := range []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"} {
			if s, ok := tokenText(f[key]); ok {
				vars[key] = s
			}
		}
	}
	source, name, err := readTemplate(dir, config, f["chat_template"])
	if err != nil {
		return nil, err
	}
	t, err := Parse(source, name)
	if err != nil {
		return nil, err
	}
	t.vars = vars
	return t, nil
}

func readTemplate(dir, config string, inConfig json.RawMessage) (source, name string, err error) {
	path := filepath.Join(dir, "chat_template.jinja")
	if data, err := mapped.ReadFile(path, maxSource); err == nil {
		return string(data), path, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	if len(inConfig) == 0 || string(inConfig) == "null" {
		return "", "", fmt.Errorf("%s: %w in chat_template.jinja or tokenizer_config.json", dir, ErrNone)
	}
	if json.Unmarshal(inConfig, &source) == nil {
		return source, config, nil
	}
	var named []struct{ Name, Template string }
	if err := json.Unmarshal(inConfig, &named); err != nil {
		return "", "", fmt.Errorf("%s: chat_template: want a string or a list of {name, template}", config)
	}
	for _, t := range named {
		if t.Name == "default" {
			return t.Template, config, nil
		}
	}
	return "", "", fmt.Errorf("%s: chat_template: none of %d templates is named default", config, len(named))
}

// tokenText returns a token that is written as a string or as an object.
func tokenText(raw json.RawMessage) (string, bool) {
	var s string
	var f struct {
		Content *string `json:"content"`
	}
	if len(raw) == 0 || string(raw) == "null" {
		return "", false
	}
	if json.Unmarshal(raw, &s) == nil {
		return s, true
	}
	if json.Unmarshal(raw, &f) == nil && f.Content != nil {
		return *f.Content, true
	}
	return "", false
}

// maxFile bounds the bytes of a tokenizer_config.json, which may name each token
// of a vocabulary.
const maxFile = 1 << 26

// readObject reads a JSON object from a file, empty if there is no such file.
func readObject(path string) (map[string]json.RawMessage, error) {
	data, err := mapped.ReadFile(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var f map[string]json.RawMessage
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}
