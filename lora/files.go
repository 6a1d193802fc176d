package lora

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// prefix stands before every module's name in PEFT's files.
const prefix = "base_model.model."

// Load freezes a model and adapts it by the adapter that PEFT or tenon saved in a
// folder. Tensors that are missing, too many, misshapen or not finite are
// reported together, and then the model is as it was.
func Load(model any, name, dir string, dev tensor.Device) (*Adapter, error) {
	c, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, WeightsFile)
	if _, err := os.Stat(path); err != nil {
		for _, other := range []string{"adapter_model.bin", "pytorch_adapter.bin"} {
			if _, err := os.Stat(filepath.Join(dir, other)); err == nil {
				return nil, fmt.Errorf("%s: is a pickle, which can run any code when it is read: save the adapter as %s", filepath.Join(dir, other), WeightsFile)
			}
		}
	}
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	a, err := design(model, name, c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, ConfigFile), err)
	}
	r := reader{f: f, dev: dev, left: map[string]string{}}
	for _, n := range f.Names() {
		r.left[strings.TrimPrefix(n, prefix)] = n
	}
	var made []*autograd.Value
	for _, p := range a.params {
		if t := r.read(p); t != nil {
			p.value.T = t
			made = append(made, p.value)
		}
	}
	for _, t := range a.terms {
		r.base(a, t.path)
	}
	for _, p := range a.params {
		r.again(p)
	}
	for _, n := range r.left {
		r.problems = append(r.problems, fmt.Sprintf("tensor %q is unexpected", n))
	}
	if r.problems != nil {
		for _, v := range append(made, a.own...) {
			v.T.Release()
		}
		a.done(false)
		slices.Sort(r.problems)
		return nil, fmt.Errorf("%s: %w", path, nn.Problems(r.problems))
	}
	a.attach()
	return a, nil
}

// baseName follows a module's name in the name of its own weight.
const baseName = ".base_layer.weight"

// reader takes an adapter's tensors out of a file and collects what is wrong.
type reader struct {
	f        *safetensors.File
	dev      tensor.Device
	left     map[string]string // tensors not asked for yet: name in the file by name without prefix
	problems []string
}

// read returns a parameter's tensor, nil if something is wrong with it.
func (r *reader) read(p parameter) *tensor.Tensor {
	in, ok := r.left[p.name]
	if !ok {
		r.problems = append(r.problems, fmt.Sprintf("tensor %q is missing", prefix+p.name))
		return nil
	}
	delete(r.left, p.name)
	info, _ := r.f.Info(in)
	shape := p.fileShape()
	switch {
	case !slices.Equal(info.Shape, shape):
		r.problems = append(r.problems, fmt.Sprintf("tensor %q has shape %v, want %v", in, tensor.Shape(info.Shape), shape))
		return nil
	case info.DType != tensor.F32 && info.DType != tensor.F16 && info.DType != tensor.BF16:
		r.problems = append(r.problems, fmt.Sprintf("tensor %q has type %v, want F32, F16 or BF16", in, info.DType))
		return nil
	}
	t, err := tensor.Make(r.dev, p.value.Shape(), func(dst []float32) error {
		read := dst
		if p.transposed {
			read = make([]float32, len(dst))
		}
		if err := r.f.Decode(read, in); err != nil {
			return err
		}
		if !tensor.Finite(read) {
			return fmt.Errorf("tensor %q holds NaN or Inf", in)
		}
		if p.transposed {
			transpose(dst, read, shape[0], shape[1])
		}
		return nil
	})
	if err != nil {
		r.problems = append(r.problems, err.Error())
		return nil
	}
	return t
}

// again accepts a parameter's second name in the file, if it has the same contents.
func (r *reader) again(p parameter) {
	in, ok := r.left[p.also]
	if p.also == "" || !ok {
		return
	}
	delete(r.left, p.also)
	shape, _ := r.f.Shape(in)
	got := make([]float32, p.value.T.Elems())
	if p.value.T.IsMeta() || !slices.Equal(shape, p.value.Shape()) || r.f.Decode(got, in) != nil || !slices.Equal(got, p.value.T.F32s()) {
		r.problems = append(r.problems, fmt.Sprintf("tensor %q is not %q, to which it is tied", in, prefix+p.name))
	}
}

// fileShape returns the shape that a parameter has in the file.
func (p *parameter) fileShape() tensor.Shape {
	s := slices.Clone(p.value.Shape())
	if p.transposed {
		slices.Reverse(s)
	}
	return s
}

// transpose writes the matrix src [rows, cols] to dst [cols, rows].
func transpose(dst, src []float32, rows, cols int) {
	for i := range rows {
		for j := range cols {
			dst[j*rows+i] = src[i*cols+j]
		}
	}
}

// base takes an adapted layer's own weight out of the file, where PEFT stores it
// with embeddings and heads. It takes the place of the model's, as in PEFT, if it is
// another: one of a resized vocabulary's age, or stored with fewer bits.
func (r *reader) base(a *Adapter, module string) {
	if _, ok := r.left[module+baseName]; !ok {
		return
	}
	w := weightOf(a.model, module)
	t := r.read(parameter{name: module + baseName, value: w})
	if t == nil {
		return
	}
	if !w.T.IsMeta() && same(t, w.T) {
		t.Release()
		return
	}
	own := autograd.Param(t)
	a.own = append(a.own, own)
	a.overlays = append(a.overlays, overlay{w, own})
	if embedding, head := a.tied(); module == embedding {
		a.overlays = append(a.overlays, overlay{weightOf(a.model, head), own})
	} else if module == head {
		a.overlays = append(a.overlays, overlay{weightOf(a.model, embedding), own})
	}
}

// weightOf returns the weight of a slot.
func weightOf(model any, module string) *autograd.Value {
	for _, s := range nn.Slots(model) {
		if s.Path == module {
			if e := s.Embedder(); e != nil {
				return e.Table()
			}
			return s.Layer().(nn.Affine).Affine(&nn.Step{}).W
		}
	}
	return nil
}

// Save writes the adapter's two files into a folder that exists, as PEFT does.
func (a *Adapter) Save(dir string) error {
	if a.removed {
		return fmt.Errorf("adapter %q is removed", a.Name)
	}
	data, err := a.Config.JSON()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), data, 0o666); err != nil {
		return err
	}
	return safetensors.Write(filepath.Join(dir, WeightsFile), a.entries(), fileMetadata)
}

var fileMetadata = map[string]string{"format": "pt"}

// FileBytes returns the size of the file of tensors that Save writes.
func (a *Adapter) FileBytes() (int64, error) { return safetensors.Size(a.entries(), fileMetadata) }

// entries returns the tensors of the adapter's file.
func (a *Adapter) entries() []safetensors.Entry {
	var entries []safetensors.Entry
	add := func(name string, shape tensor.Shape, values func() []float32) {
		entries = append(entries, safetensors.Entry{
			Name: prefix + name, DType: tensor.F32, Shape: shape,
			Data: func(w io.Writer) error {
				return safetensors.FromFloats(name, tensor.F32, shape, values()).Data(w)
			},
		})
	}
	for _, p := range a.params {
		values := p.value.T.F32s
		if p.transposed {
			values = func() []float32 {
				x := make([]float32, p.value.T.Elems())
				transpose(x, p.value.T.F32s(), p.value.T.Dim(0), p.value.T.Dim(1))
				return x
			}
		}
		add(p.name, p.fileShape(), values)
		if p.also != "" {
			add(p.also, p.value.Shape(), p.value.T.F32s)
		}
	}
	lm, _ := a.model.(nn.CausalLM)
	ends := map[string]bool{} // embeddings and the head
	for _, s := range nn.Slots(a.model) {
		ends[s.Path] = s.Embedder() != nil || lm != nil && s.Layer() == lm.Output()
	}
	for _, t := range a.terms {
		// PEFT stores the own weights of adapted embeddings and heads too.
		if t.a != nil && ends[t.path] {
			add(t.path+baseName, t.weight().Shape(), func() []float32 { return a.ownWeight(t).F32s() })
		}
	}
	return entries
}

// ownWeight returns the weight that a layer has without its term.
func (a *Adapter) ownWeight(t *placed) *tensor.Tensor {
	w := t.weight()
	for _, o := range a.overlays {
		if o.base == w {
			return o.own.T
		}
	}
	if i := slices.Index(a.changed(), w); a.base != nil && i >= 0 {
		return a.base[i]
	}
	return w.T
}
