// Package tenon fine-tunes language models as Hugging Face PEFT does, and runs
// them: on the CPU, in pure Go. It ties the packages below it together: a Model is
// a language model with its files, whatever their form.
//
//	m, err := tenon.Load("SmolLM2.gguf", tenon.Options{})
//	…
//	defer m.Close()
//	a, err := lora.Load(m.LM, "mine", "my-adapter", m.Device)
//	…
//	g, err := m.Generate(ctx, tenon.Request{Prompt: "Once", MaxTokens: 64, Adapter: a.Use()}, show)
package tenon

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/format/bnb"
	"github.com/tenon-ml/tenon/format/chat"
	"github.com/tenon-ml/tenon/format/gguf"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/format/tokenizer"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// Model is a language model in memory, with the files it came from. Several
// goroutines may compute with it at once.
type Model struct {
	Path   string
	LM     *llama.Model
	Device *tensor.CPU

	tokenizer func() (*tokenizer.Tokenizer, error)
	template  func() (*chat.Template, error)
}

// Options say how a model is held in memory and computed with. The zero value is
// the usual.
type Options struct {
	Threads int // to compute with; 0: all cores

	// F32 decodes all weights when they are loaded, which training them needs. Without
	// it matrices stay as the file stores them, in BF16, F16 or the blocks of a GGUF
	// file, and are decoded where they are used: less memory, the same values.
	F32 bool

	// Compute is the arithmetic of matrix products.
	Compute tensor.Compute

	// Quantize encodes the weights of linear layers, but the output head's, as they are
	// loaded, matrix by matrix: in NF4, FP4 or Q8_0. The zero value leaves them.
	Quantize tensor.QuantOptions
}

// Load reads a model: a Hugging Face folder, a .safetensors or a .gguf file.
func Load(path string, o Options) (*Model, error) {
	f, err := openSource(path)
	if err != nil {
		return nil, err
	}
	defer f.close()
	dev := tensor.NewCPU(o.Threads)
	dev.SetCompute(o.Compute)
	tensors := o.source(f.tensors)
	var q *quantizing
	if o.Quantize.DType != tensor.Invalid {
		q = &quantizing{Source: f.tensors, stored: f.tensors, linear: linearWeights(f.config), o: o.Quantize}
		tensors = q
	}
	lm, err := llama.Load(f.config, tensors, dev)
	if q != nil {
		q.release()
		err = errors.Join(err, dev.Trim())
	}
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return newModel(path, lm, dev), nil
}

func newModel(path string, lm *llama.Model, dev *tensor.CPU) *Model {
	return &Model{
		Path: path, LM: lm, Device: dev,
		tokenizer: sync.OnceValues(func() (*tokenizer.Tokenizer, error) { return OpenTokenizer(path) }),
		template:  sync.OnceValues(func() (*chat.Template, error) { return OpenTemplate(path) }),
	}
}

// Tokenizer returns the model's tokenizer, which is read when it is first asked
// for: computing with token ids needs none.
func (m *Model) Tokenizer() (*tokenizer.Tokenizer, error) { return m.tokenizer() }

// Template returns the model's chat template.
func (m *Model) Template() (*chat.Template, error) { return m.template() }

// Pack lays the F32 matrices of a model that will not be trained out as products read
// them (tensor.Pack), in their own memory, so that no product does it again. No call
// may be under way. Afterwards the model computes as before, and rows of these
// matrices are no longer in one piece: SaveCheckpoint and training want a model that is
// not packed.
func (m *Model) Pack() {
	for _, s := range nn.Slots(m.LM) {
		if l, ok := s.Layer().(nn.Affine); ok {
			w := l.Affine(&nn.Step{}).W
			w.T = w.T.Pack()
		}
	}
}

// Close releases the model's memory. No call may be under way.
func (m *Model) Close() error {
	nn.Release(m.LM)
	return m.Device.Close()
}

// configFile returns where the configuration of a Hugging Face checkpoint lies.
func configFile(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, "config.json")
	}
	return filepath.Join(filepath.Dir(path), "config.json")
}

// source is an open checkpoint of any form.
type source struct {
	tensors nn.Stored
	config  llama.Config
	close   func() error
}

// openSource opens a model's files and reads its configuration.
func openSource(path string) (*source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() && IsGGUF(path) {
		f, err := gguf.Open(path)
		if err != nil {
			return nil, err
		}
		c, err := configOfGGUF(f)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return &source{newGGUFSource(f, c), c, f.Close}, nil
	}
	if !info.IsDir() && filepath.Ext(path) != ".safetensors" && !isIndex(path) {
		return nil, fmt.Errorf("%s: is no model: want a Hugging Face folder, a .safetensors or a .gguf file", path)
	}
	c, err := llama.ReadConfig(configFile(path))
	if info.IsDir() && errors.Is(err, fs.ErrNotExist) {
		entries, _ := os.ReadDir(path)
		for _, e := range entries {
			if strings.EqualFold(filepath.Ext(e.Name()), ".gguf") {
				return nil, fmt.Errorf("%w; a GGUF file is named itself: %s", err, filepath.Join(path, e.Name()))
			}
		}
	}
	if err != nil {
		return nil, err
	}
	var f *safetensors.File
	if info.IsDir() {
		f, err = safetensors.OpenDir(path)
	} else {
		f, err = safetensors.Open(path)
	}
	if err != nil {
		return nil, err
	}
	src, err := newCheckpointSource(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &source{src, c, f.Close}, nil
}

// newCheckpointSource returns the tensors of a checkpoint; it may be a quantised one of
// bitsandbytes.
func newCheckpointSource(f *safetensors.File) (nn.Stored, error) {
	q, err := bnb.Find(f)
	if err != nil || q.Len() == 0 {
		return readOnce{f}, err
	}
	return quantizedCheckpoint{readOnce{f}, q}, nil
}

// quantizedCheckpoint is a checkpoint with quantised weights among its tensors.
type quantizedCheckpoint struct {
	readOnce
	q *bnb.Weights
}

// Names returns the names of all tensors, without the parts of quantised weights.
func (s quantizedCheckpoint) Names() []string { return s.q.Names() }

// Shape returns a tensor's shape, a quantised weight's that which it stands for.
func (s quantizedCheckpoint) Shape(name string) ([]int, bool) { return s.q.Shape(name) }

// DType returns a tensor's type, F32 for a quantised weight: what holds its codes, which
// may be called BF16, says nothing of it.
func (s quantizedCheckpoint) DType(name string) tensor.DType {
	if s.q.Has(name) {
		return tensor.F32
	}
	return s.readOnce.DType(name)
}

// Decode writes a tensor's elements to dst as F32.
func (s quantizedCheckpoint) Decode(dst []float32, name string) error {
	if s.q.Has(name) {
		return s.q.Decode(dst, name)
	}
	return s.readOnce.Decode(dst, name)
}

// Stored returns a matrix as the file has it.
func (s quantizedCheckpoint) Stored(dev tensor.Device, name string) (*tensor.Tensor, error) {
	if s.q.Has(name) {
		return s.q.Load(dev, name)
	}
	return s.readOnce.Stored(dev, name)
}

// source returns the source as the options want it.
func (o Options) source(s nn.Stored) nn.Source {
	if o.F32 {
		return struct{ nn.Source }{s} // which has no stored tensors
	}
	return s
}

// stays reports whether matrices of a type stay in it: it takes less memory than F32
// and can be decoded.
func stays(dt tensor.DType) bool { return dt.CanDecode() && dt != tensor.F32 && dt != tensor.F64 }

// readOnce is a checkpoint whose pages go back to the system once they are
// decoded, so that loading does not hold the file beside the weights.
type readOnce struct{ *safetensors.File }

// Decode writes a tensor's elements to dst as F32.
func (r readOnce) Decode(dst []float32, name string) error {
	defer r.Release(name)
	return r.File.Decode(dst, name)
}

// Stored returns a matrix as the file has it.
func (r readOnce) Stored(dev tensor.Device, name string) (*tensor.Tensor, error) {
	info, ok := r.Info(name)
	if !ok || len(info.Shape) != 2 || !stays(info.DType) {
		return nil, nil
	}
	defer r.Release(name)
	return tensor.MakeStored(dev, info.DType, info.Shape, func(dst []byte) error {
		return r.View(name, func(data []byte) error {
			copy(dst, data)
			return nil
		})
	})
}

// DType returns the type in which a tensor is stored, if that can be written too, else F32.
func (r readOnce) DType(name string) tensor.DType {
	if info, ok := r.Info(name); ok && info.DType.CanEncode() {
		return info.DType
	}
	return tensor.F32
}

// PathOf returns the file that a tensor is in, or the whole checkpoint.
func (r readOnce) PathOf(name string) string { return cmp.Or(r.File.PathOf(name), r.Path()) }

// IsGGUF tells a GGUF file by its name or its first four bytes.
func IsGGUF(path string) bool {
	if strings.EqualFold(filepath.Ext(path), ".gguf") {
		return true
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = io.ReadFull(f, magic)
	return err == nil && string(magic) == "GGUF"
}
