package tenon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/format/bnb"
	"github.com/tenon-ml/tenon/format/gguf"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// Outline is a model by the headers of its files.
type Outline struct {
	Config llama.Config
	// Held are the types in which Load holds the tensors, by their Hugging Face names.
	Held map[string]tensor.DType

	// Quantized is nf4 or fp4 if linear layers are quantised as bitsandbytes has them,
	// Block elements to a scale; Double says that their scales are quantised too.
	Quantized string
	Block     int
	Double    bool
}

// ReadOutline reads a model's configuration and the headers of its files, but no
// weights.
func ReadOutline(path string) (o Outline, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return o, err
	}
	o.Held = map[string]tensor.DType{}
	hold := func(name string, dt tensor.DType, shape []int) {
		if len(shape) != 2 || !stays(dt) {
			dt = tensor.F32
		}
		o.Held[name] = dt
	}
	if !info.IsDir() && IsGGUF(path) {
		f, err := gguf.Open(path)
		if err != nil {
			return o, err
		}
		defer f.Close()
		if o.Config, err = configOfGGUF(f); err != nil {
			return o, err
		}
		for name, stored := range newGGUFSource(f, o.Config).stored {
			t, err := f.Decodable(stored)
			if err != nil {
				return o, err
			}
			hold(name, t.DType, t.Shape)
		}
		return o, nil
	}
	if !info.IsDir() && filepath.Ext(path) != ".safetensors" && !isIndex(path) {
		return o, fmt.Errorf("%s: is no model: want a Hugging Face folder, a .safetensors or a .gguf file", path)
	}
	if o.Config, err = llama.ReadConfig(configFile(path)); err != nil {
		return o, err
	}
	open := safetensors.Open
	if info.IsDir() {
		open = safetensors.OpenDir
	}
	f, err := open(path)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	q, err := bnb.Find(f)
	if err != nil {
		return o, err
	}
	o.Quantized, o.Block, o.Double = q.Type()
	for _, name := range q.Names() {
		if t, _ := f.Info(name); !q.Has(name) {
			hold(name, t.DType, t.Shape)
		}
	}
	return o, nil
}
