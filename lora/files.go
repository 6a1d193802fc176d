package lora

import (
	"fmt"
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
	if c.Targets.None() {
		family := ""
		if f, ok := model.(interface{ Family() string }); ok {
			family = f.Family()
		}
		c.Targets.List = DefaultTargets(family)
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

	r := reader{f: f, dev: dev, left: map[string]string{}, made: map[string]*tensor.Tensor{}}
	defer r.release()
	for _, n := range f.Names() {
		r.left[strings.TrimPrefix(n, prefix)] = n
	}
	slots, err := c.targets(model)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, ConfigFile), err)
	}
	for _, s := range slots {
		w := s.Layer().(nn.Affine).Affine(&nn.Step{}).W
		r.read(s.Path+aName, c.Rank, w.T.Dim(1))
		r.read(s.Path+bName, w.T.Dim(0), c.Rank)
		r.base(s.Path, w)
	}
	for _, n := range r.left {
		r.problems = append(r.problems, fmt.Sprintf("tensor %q is unexpected", n))
	}
	if r.problems != nil {
		slices.Sort(r.problems)
		return nil, fmt.Errorf("%s: %w", path, nn.Problems(r.problems))
	}
	return attach(model, name, c, func(module string, in, out int) (*term, error) {
		return &term{
			a:     autograd.Param(r.take(module + aName)),
			b:     autograd.Param(r.take(module + bName)),
			scale: c.Scale(), dropout: c.Dropout,
		}, nil
	})
}

// What follows a module's name in the names of its tensors.
const (
	aName    = ".lora_A.weight"
	bName    = ".lora_B.weight"
	baseName = ".base_layer.weight"
)

// reader takes an adapter's tensors out of a file and collects what is wrong.
type reader struct {
	f        *safetensors.File
	dev      tensor.Device
	left     map[string]string // tensors not asked for yet: name in the file by name without prefix
	made     map[string]*tensor.Tensor
	problems []string
}

func (r *reader) read(name string, shape ...int) {
	in, ok := r.left[name]
	if !ok {
		r.problems = append(r.problems, fmt.Sprintf("tensor %q is missing", prefix+name))
		return
	}
	delete(r.left, name)
	info, _ := r.f.Info(in)
	switch {
	case !slices.Equal(info.Shape, shape):
		r.problems = append(r.problems, fmt.Sprintf("tensor %q has shape %v, want %v", in, tensor.Shape(info.Shape), tensor.Shape(shape)))
		return
	case info.DType != tensor.F32 && info.DType != tensor.F16 && info.DType != tensor.BF16:
		r.problems = append(r.problems, fmt.Sprintf("tensor %q has type %v, want F32, F16 or BF16", in, info.DType))
		return
	}
	t, err := tensor.Make(r.dev, shape, func(dst []float32) error {
		if err := r.f.Decode(dst, in); err != nil {
			return err
		}
		if !finite(dst) {
			return fmt.Errorf("tensor %q holds NaN or Inf", in)
		}
		return nil
	})
	if err != nil {
		r.problems = append(r.problems, err.Error())
		return
	}
	r.made[name] = t
}

// base accepts a target's own weight in the file, which PEFT stores with adapted
// heads, if it is the model's.
func (r *reader) base(module string, w *autograd.Value) {
	in, ok := r.left[module+baseName]
	if !ok {
		return
	}
	delete(r.left, module+baseName)
	shape, _ := r.f.Shape(in)
	got := make([]float32, w.T.Elems())
	if !slices.Equal(shape, w.Shape()) || r.f.Decode(got, in) != nil || !slices.Equal(got, w.T.F32s()) {
		r.problems = append(r.problems, fmt.Sprintf("tensor %q is not the model's own weight, which is not supported", in))
	}
}

// take hands over a tensor that was read.
func (r *reader) take(name string) *tensor.Tensor {
	t := r.made[name]
	delete(r.made, name)
	return t
}

// release releases what was not taken.
func (r *reader) release() {
	for _, t := range r.made {
		t.Release()
	}
}

// Save writes the adapter's two files into a folder that exists, as PEFT does.
func (a *Adapter) Save(dir string) error {
	data, err := a.Config.JSON()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), data, 0o666); err != nil {
		return err
	}
	var entries []safetensors.Entry
	add := func(name string, t *tensor.Tensor) {
		entries = append(entries, safetensors.FromFloats(name, tensor.F32, t.Shape(), t.F32s()))
	}
	for name, p := range a.Params() {
		add(name, p.T)
	}
	if lm, ok := a.model.(nn.CausalLM); ok {
		for _, l := range a.layers {
			if nn.Layer(l) == lm.Output() { // PEFT stores an adapted head's own weight too
				add(prefix+l.path+baseName, l.Base.Affine(&nn.Step{}).W.T)
			}
		}
	}
	return safetensors.Write(filepath.Join(dir, WeightsFile), entries, map[string]string{"format": "pt"})
}
