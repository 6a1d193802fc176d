package tenon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/bnb"
	"github.com/tenon-ml/tenon/format/gguf"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/internal/mapped"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// maxShard is the size above which a checkpoint is written in several files,
// as transformers does.
const maxShard = min(5_000_000_000, math.MaxInt)

// StoredTypes are the element types that a checkpoint can be written in, with
// their names in config.json.
var StoredTypes = map[string]struct {
	dtype tensor.DType
	torch string
}{
	"f32":  {tensor.F32, "float32"},
	"bf16": {tensor.BF16, "bfloat16"},
	"f16":  {tensor.F16, "float16"},
}

// maxCompanion bounds the bytes of such a file: of a tokenizer.json.
const maxCompanion = 1 << 29

// companions are the files of a Hugging Face folder that a checkpoint made from
// it takes over as they are.
var companions = []string{
	"generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
}

// Savable reports why SaveCheckpoint cannot write the model, to be known before a
// long run and not at its end.
func (m *Model) Savable() error {
	if m.LM.Config.RoPE.Divisors != nil {
		return fmt.Errorf("%s: tensor %q: its RoPE scaling cannot be written into a config.json", m.Path, ropeFactors)
	}
	return nil
}

// SaveCheckpoint writes the model's own weights as a Hugging Face checkpoint
// into a folder, with its configuration and the tokenizer's files.
func (m *Model) SaveCheckpoint(dir, stored string, warn func(string, ...any)) error {
	contents := func(p *autograd.Value) (*tensor.Tensor, error) { return p.T, nil }
	return m.save(dir, formOf(stored), m.LM.Tied(), contents, warn)
}

// form is how a checkpoint's weights are written.
type form struct {
	torch string                    // the element type's name in config.json
	dtype func(string) tensor.DType // the type of a tensor that is not quantised

	// quant is how the weights of linear layers, but the head's, are quantised; not if its
	// type is Invalid. report, if there is one, is told of each.
	quant  tensor.QuantOptions
	report func(QuantError)
}

// formOf returns the form in which all weights have a type, a key of StoredTypes.
func formOf(stored string) form {
	t := StoredTypes[stored]
	return form{torch: t.torch, dtype: func(string) tensor.DType { return t.dtype }}
}

// save is SaveCheckpoint for parameters that have their contents somewhere else: what
// contents returns is good until it is called again. tied says that the head is the
// embedding.
func (m *Model) save(dir string, f form, tied bool, contents func(*autograd.Value) (*tensor.Tensor, error), warn func(string, ...any)) error {
	if err := m.Savable(); err != nil {
		return err
	}
	if err := m.writeWeights(dir, f, tied, contents); err != nil {
		return err
	}
	if err := m.writeConfig(dir, f, tied); err != nil {
		return err
	}
	return m.copyCompanions(dir, warn)
}

// maxQuantShard is maxShard where weights are quantised: the quantised ones of a file
// are in memory at once.
const maxQuantShard = 512 << 20

func (m *Model) writeWeights(dir string, f form, tied bool, contents func(*autograd.Value) (*tensor.Tensor, error)) error {
	shard := maxShard
	linear := map[string]bool{}
	if f.quant.DType != tensor.Invalid {
		shard, linear = maxQuantShard, linearWeights(m.LM.Config)
	}
	var entries []safetensors.Entry
	var failed error // which names the model instead of the file that is not made
	fail := func(format string, a ...any) error {
		failed = fmt.Errorf(m.Path+": tensor "+format, a...)
		return failed
	}
	for name, p := range nn.Params(m.LM) {
		if tied && name == "lm_head.weight" {
			continue // a parameter of its own, with the embedding's contents
		}
		dt := f.dtype(name)
		if linear[name] {
			entries = append(entries, bnb.Entries(name, p.Shape(), f.quant, torchNames[dt], func() (*tensor.Tensor, error) {
				w, err := contents(p)
				if err != nil {
					failed = err
					return nil, err
				}
				q, err := tensor.Quantize(m.Device, w.F32(), w.Shape(), f.quant)
				if err != nil {
					return nil, fail("%q: %w", name, err)
				}
				if f.report != nil {
					f.report(quantError(name, w.F32(), q))
				}
				return q, nil
			})...)
			continue
		}
		entries = append(entries, safetensors.Entry{
			Name: name, DType: dt, Shape: p.Shape(),
			Data: func(out io.Writer) error {
				w, err := contents(p)
				if err != nil {
					failed = err
					return err
				}
				for x := range values(w) {
					if !tensor.Finite(x) || !fits(dt, x) {
						return fail("%q is not finite in %s", name, dt)
					}
					if err := safetensors.FromFloats(name, dt, w.Shape(), x).Data(out); err != nil {
						return err
					}
				}
				return nil
			},
		})
	}
	if err := safetensors.WriteSharded(dir, entries, map[string]string{"format": "pt"}, shard); failed != nil {
		return failed
	} else if err != nil {
		return err
	}
	return nil
}

// torchNames are the names of the types of StoredTypes in config.json.
var torchNames = func() map[tensor.DType]string {
	out := map[tensor.DType]string{}
	for _, t := range StoredTypes {
		out[t.dtype] = t.torch
	}
	return out
}()

// writeConfig writes config.json.
func (m *Model) writeConfig(dir string, f form, tied bool) error {
	config := map[string]json.RawMessage{}
	for k, v := range m.LM.Config.Raw {
		config[k] = v
	}
	delete(config, "quantization_config") // of weights that have been decoded
	// An adapter may have untied the head, or replicated layers.
	changed := map[string]any{
		"tie_word_embeddings": tied, "num_hidden_layers": m.LM.Config.NumHiddenLayers, "layer_types": m.LM.Config.LayerTypes,
	}
	if f.quant.DType != tensor.Invalid {
		changed["quantization_config"] = bnb.ConfigFor(f.quant, f.torch)
	}
	for key, v := range changed {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if string(text) != "null" {
			config[key] = text
		}
	}
	name, err := json.Marshal(f.torch)
	if err != nil {
		return err
	}
	// transformers 4 reads torch_dtype, 5 dtype.
	if _, old := config["torch_dtype"]; old {
		config["torch_dtype"] = name
	}
	if _, old := config["torch_dtype"]; !old || config["dtype"] != nil {
		config["dtype"] = name
	}
	return writeIndented(filepath.Join(dir, "config.json"), config)
}

// copyCompanions writes the files that stand beside the weights.
func (m *Model) copyCompanions(dir string, warn func(string, ...any)) error {
	from := m.Path
	if info, err := os.Stat(from); err != nil {
		return err
	} else if !info.IsDir() {
		if IsGGUF(from) {
			return m.writeCompanions(dir, warn)
		}
		from = filepath.Dir(from)
	}
	for _, name := range companions {
		b, err := mapped.ReadFile(filepath.Join(from, name), maxCompanion)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o666)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeCompanions writes what a GGUF file says besides its weights: the end tokens,
// and the tokenizer with the chat template.
func (m *Model) writeCompanions(dir string, warn func(string, ...any)) error {
	f, err := gguf.Open(m.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	generation := map[string]any{}
	for _, key := range []string{"bos_token_id", "eos_token_id"} {
		if id, err := f.Uint("tokenizer.ggml." + key); err == nil {
			generation[key] = id
		}
	}
	if err := writeIndented(filepath.Join(dir, "generation_config.json"), generation); err != nil {
		return err
	}
	if _, err := f.String("tokenizer.ggml.model"); errors.Is(err, gguf.ErrNoKey) {
		return nil // a file for ids alone
	}
	source, err := f.String("tokenizer.chat_template")
	if err != nil && !errors.Is(err, gguf.ErrNoKey) {
		return err
	}
	tok, err := m.Tokenizer()
	if err == nil {
		err = tok.Save(dir, source)
	}
	if err != nil { // the weights are worth having without it
		warn("%v: the tokenizer is not written: put the model's tokenizer.json beside the checkpoint", err)
	}
	return nil
}

// writeIndented writes a JSON file as transformers does: keys sorted, indented
// by two.
func writeIndented(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, append(b, '\n'), 0o666)
}

// fits reports whether no finite value becomes infinite in a type.
func fits(dt tensor.DType, x []float32) bool {
	if dt != tensor.F16 {
		return true // BF16 has F32's range, up to rounding
	}
	const limit = 65520 // from here on rounds to infinity
	for _, v := range x {
		if v >= limit || v <= -limit {
			return false
		}
	}
	return true
}
