package demo

import (
	"embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/format/tokenizer"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// End is the token that ends a text.
const End = "<|end|>"

// files is the base model, a Hugging Face folder that examples/demo-base/train.sh
// has trained.
//
//go:embed base/config.json base/model.safetensors base/tokenizer.json
var files embed.FS

// read returns a file of the base.
func read(name string) ([]byte, error) { return files.ReadFile("base/" + name) }

// LoadBase returns the embedded base and its tokenizer. It opens no file.
func LoadBase(dev tensor.Device) (*llama.Model, *tokenizer.Tokenizer, error) {
	text, err := read("config.json")
	if err != nil {
		return nil, nil, err
	}
	c, err := llama.ParseConfig(text)
	if err != nil {
		return nil, nil, fmt.Errorf("embedded config.json: %w", err)
	}
	tok, err := baseTokenizer()
	if err != nil {
		return nil, nil, err
	}
	w, err := baseWeights()
	if err != nil {
		return nil, nil, err
	}
	m, err := llama.Load(c, w, dev)
	return m, tok, err
}

// weights is the embedded safetensors file. It was written by tenon and is
// compared with what format/safetensors reads from it by a test, so that little
// has to be checked here.
type weights struct {
	data    []byte
	tensors map[string]stored
}

type stored struct {
	DType   string `json:"dtype"`
	Shape   []int  `json:"shape"`
	Offsets [2]int `json:"data_offsets"`
}

func baseWeights() (*weights, error) {
	b, err := read("model.safetensors")
	if err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint64(b))
	w := &weights{data: b[8+n:]}
	if err := json.Unmarshal(b[8:8+n], &w.tensors); err != nil {
		return nil, fmt.Errorf("embedded model.safetensors: %w", err)
	}
	delete(w.tensors, "__metadata__")
	return w, nil
}

func (w *weights) Names() []string { return slices.Sorted(maps.Keys(w.tensors)) }

func (w *weights) Shape(name string) (shape []int, ok bool) {
	t, ok := w.tensors[name]
	return t.Shape, ok
}

func (w *weights) Decode(dst []float32, name string) error {
	t := w.tensors[name]
	if t.DType != "BF16" {
		return fmt.Errorf("embedded model.safetensors: tensor %q: dtype %s, want BF16", name, t.DType)
	}
	tensor.BF16.Decode(dst, w.data[t.Offsets[0]:t.Offsets[1]])
	return nil
}

func (w *weights) PathOf(string) string { return "embedded model.safetensors" }

// baseTokenizer makes the tokenizer out of the tokens and merges of the embedded
// tokenizer.json.
func baseTokenizer() (*tokenizer.Tokenizer, error) {
	text, err := read("tokenizer.json")
	if err != nil {
		return nil, err
	}
	var f struct {
		Model struct {
			Vocab  map[string]int
			Merges [][2]string
		}
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("embedded tokenizer.json: %w", err)
	}
	tokens := make([]string, len(f.Model.Vocab))
	for token, id := range f.Model.Vocab {
		tokens[id] = token
	}
	var merges []string
	for _, m := range f.Model.Merges {
		merges = append(merges, m[0]+" "+m[1])
	}
	return tokenizer.FromGGUF(Vocabulary(tokens, merges))
}

// vocabulary describes a byte-level BPE as a GGUF file does, which is the form in
// which format/tokenizer takes one that is no file.
type vocabulary map[string]any

// Vocabulary describes the base's tokenizer: words are split as SmolLM2's are,
// with each digit by itself, and the first token is End.
func Vocabulary(tokens, merges []string) tokenizer.Metadata {
	types := slices.Repeat([]int32{1}, len(tokens))
	types[0] = 3 // control
	return vocabulary{
		"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types,
		"tokenizer.ggml.merges": merges, "tokenizer.ggml.eos_token_id": uint32(0), "tokenizer.ggml.add_bos_token": false,
	}
}

func (v vocabulary) Path() string { return "embedded tokenizer.json" }

func (v vocabulary) Value(key string) (any, bool) {
	x, ok := v[key]
	return x, ok
}

// ByteRune returns the character by which byte-level BPE writes a byte: itself if
// it is printable, else the next one from U+0100 on.
func ByteRune(b byte) rune {
	printable := func(b int) bool { return b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae }
	if printable(int(b)) {
		return rune(b)
	}
	next := rune(0x100)
	for i := range int(b) {
		if !printable(i) {
			next++
		}
	}
	return next
}

// WriteJSONL writes samples as a data file of `tenon finetune`.
func WriteJSONL(path string, data []Sample) error {
	var b strings.Builder
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	for _, s := range data {
		if err := out.Encode(s); err != nil {
			return err
		}
	}
	return os.WriteFile(path, []byte(b.String()), 0o666)
}
