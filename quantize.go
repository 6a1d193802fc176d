package tenon

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// linearWeights returns the names of the weights that quantising a model encodes: those
// of linear layers, but the output head's, as bitsandbytes does. Embeddings, head,
// norms and biases stay as they are.
func linearWeights(c llama.Config) map[string]bool {
	lm := llama.New(c)
	out := map[string]bool{}
	for _, s := range nn.Slots(lm) {
		if l, ok := s.Layer().(*nn.Linear); ok && s.Layer() != lm.Head && l.Weight != lm.Embed.Table() {
			out[s.Path+".weight"] = true
		}
	}
	return out
}

// quantizing is a source whose linear layers' weights are encoded as they are read.
type quantizing struct {
	nn.Source
	stored nn.Stored // the same
	linear map[string]bool
	o      tensor.QuantOptions
	work   *tensor.Tensor // room for the largest of them in F32
}

// Stored returns a matrix, encoded if it is one of a linear layer.
func (q *quantizing) Stored(dev tensor.Device, name string) (*tensor.Tensor, error) {
	if !q.linear[name] {
		return q.stored.Stored(dev, name)
	}
	if isQuantized(q.stored, name) {
		return nil, fmt.Errorf("%s: tensor %q is quantised already", q.PathOf(name), name)
	}
	dims, _ := q.Shape(name)
	shape := tensor.Shape(dims)
	n := shape.Elems()
	if q.work == nil || q.work.Elems() < n {
		q.release()
		err := tensor.Try(func() error {
			q.work = tensor.New(dev, tensor.F32, n)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	x := q.work.F32()[:n]
	if err := q.Decode(x, name); err != nil {
		return nil, err
	}
	t, err := tensor.Quantize(dev, x, shape, q.o)
	if err != nil {
		return nil, fmt.Errorf("%s: tensor %q: %w", q.PathOf(name), name, err)
	}
	return t, nil
}

func (q *quantizing) release() {
	if q.work != nil {
		q.work.Release()
		q.work = nil
	}
}

// isQuantized reports whether a tensor is a quantised weight of bitsandbytes.
func isQuantized(s nn.Source, name string) bool {
	b, ok := s.(quantizedCheckpoint)
	return ok && b.q.Has(name)
}

// A QuantError is what quantising a weight did to it.
type QuantError struct {
	Name   string  `json:"name"`
	RelRMS float64 `json:"rel_rms"` // √(Σ(q-w)² / Σw²), 0 where all is 0
	Max    float64 `json:"max"`     // largest |q-w|

	sum, of float64 // of squares
}

// quantError compares a weight, w, with what it became.
func quantError(name string, w []float32, q *tensor.Tensor) QuantError {
	e := QuantError{Name: name}
	for x := range values(q) {
		for i, v := range x {
			d := float64(v) - float64(w[i])
			e.sum, e.of = e.sum+d*d, e.of+float64(w[i])*float64(w[i])
			e.Max = max(e.Max, math.Abs(d))
		}
		w = w[len(x):]
	}
	e.ratio()
	return e
}

func (e *QuantError) ratio() {
	if e.of > 0 {
		e.RelRMS = math.Sqrt(e.sum / e.of)
	}
}

// Add makes e the error of its weights and another's together.
func (e *QuantError) Add(other QuantError) {
	e.sum, e.of, e.Max = e.sum+other.sum, e.of+other.of, max(e.Max, other.Max)
	e.ratio()
}

// Quantize writes the model at path as a Hugging Face checkpoint whose linear layers, but
// for the output head, are quantised as bitsandbytes has them. All other tensors keep
// their type; those of a GGUF file are written in F32. It goes tensor by tensor: the memory
// that it takes is that of the largest tensor in F32 and of one file's quantised weights,
// at most 512 MiB. report is called with what became of each weight.
func Quantize(ctx context.Context, path, out string, threads int, o tensor.QuantOptions, report func(QuantError), warn func(string, ...any)) error {
	dev := tensor.NewCPU(threads)
	return errors.Join(quantize(ctx, dev, path, out, o, report, warn), dev.Close())
}

func quantize(ctx context.Context, dev *tensor.CPU, path, out string, o tensor.QuantOptions, report func(QuantError), warn func(string, ...any)) (err error) {
	f, lm, err := openShapes(path, warn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	names := map[*autograd.Value]string{}
	largest := 0
	for name, p := range nn.Params(lm) {
		if isQuantized(f.tensors, name) {
			return fmt.Errorf("%s: tensor %q is quantised already", f.tensors.PathOf(name), name)
		}
		names[p] = name
		largest = max(largest, p.T.Elems())
	}
	return tensor.Try(func() error {
		work := tensor.New(dev, tensor.F32, largest)
		defer work.Release()
		contents := func(p *autograd.Value) (*tensor.Tensor, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			w := work.Slice(0, p.T.Elems()).Reshape(p.Shape()...)
			return w, f.tensors.Decode(w.F32(), names[p])
		}
		form := asStored(f)
		form.quant, form.report = o, report
		return newModel(path, lm, dev).save(out, form, lm.Tied(), contents, warn)
	})
}

// openShapes opens a model's files, which the caller closes, and returns the model with
// shapes and no contents: what goes tensor by tensor begins so.
func openShapes(path string, warn func(string, ...any)) (*source, *llama.Model, error) {
	f, err := openSource(path)
	if err != nil {
		return nil, nil, err
	}
	lm, err := llama.Open(f.config, f.tensors)
	if err != nil {
		return nil, nil, errors.Join(err, f.close())
	}
	for _, w := range f.config.Warnings {
		warn("%s: %s", path, w)
	}
	return f, lm, nil
}

// asStored returns the form in which tensors have the types of a checkpoint, where those
// can be written, else F32.
func asStored(s *source) form {
	f := form{torch: torchName(s.config), dtype: func(string) tensor.DType { return tensor.F32 }}
	if s, ok := s.tensors.(interface{ DType(string) tensor.DType }); ok {
		f.dtype = s.DType
	}
	return f
}

// torchName returns the element type of config.json.
func torchName(c llama.Config) string {
	for _, key := range []string{"dtype", "torch_dtype"} {
		for _, t := range StoredTypes {
			if string(c.Raw[key]) == `"`+t.torch+`"` {
				return t.torch
			}
		}
	}
	return "float32"
}
