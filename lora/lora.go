package lora

import (
	"fmt"
	"iter"
	"maps"
	"math"
	"sync/atomic"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// Method adapts a model's layers.
type Method interface {
	// Wrap returns the layer that takes the place of base, or nil to leave it.
	Wrap(path string, base nn.Layer) nn.Layer
}

// Apply freezes a model and puts what the method wraps in the place of its
// layers. That nothing was wrapped is an error.
func Apply(model any, m Method) error {
	for _, p := range nn.Params(model) {
		p.Trainable = false
	}
	n := 0
	for _, s := range nn.Slots(model) {
		if l := m.Wrap(s.Path, s.Layer()); l != nil {
			s.Set(l)
			n++
		}
	}
	if n == 0 {
		return fmt.Errorf("the method matches no layer of the model")
	}
	return nil
}

// Linear is a linear layer with low-rank terms, one for each adapter; a call
// uses the one that its step names, or none.
//
//	y = x·Wᵀ + b + s·(dropout(x)·Aᵀ)·Bᵀ
//
// Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021);
// PEFT, tuners/lora/layer.py.
type Linear struct {
	Base nn.Affine `nn:"."`

	path  string
	terms atomic.Pointer[map[string]*term] // replaced whole, so that calls may go on
}

// term is one adapter's part of one layer.
type term struct {
	a, b    *autograd.Value // [r, in], [out, r]
	scale   float64
	dropout float64
	merged  bool
}

// Affine returns the base's matrix with the term of the step's adapter.
func (l *Linear) Affine(s *nn.Step) autograd.Affine {
	f := l.Base.Affine(s)
	t := (*l.terms.Load())[s.Adapter]
	if t == nil || t.merged {
		return f
	}
	f.A, f.B, f.Scale = t.a, t.b, t.scale
	if s.Train && t.dropout > 0 {
		f.Dropout, f.DropoutKey = t.dropout, tensor.StreamKey(s.Seed, l.path)
	}
	return f
}

// Forward returns the layer's output with the step's adapter.
func (l *Linear) Forward(s *nn.Step, x *autograd.Value) *autograd.Value {
	return x.Affine(l.Affine(s))
}

// set puts an adapter's term in place, or removes it if t is nil.
func (l *Linear) set(name string, t *term) {
	m := map[string]*term{}
	if old := l.terms.Load(); old != nil {
		maps.Copy(m, *old)
	}
	if t == nil {
		delete(m, name)
	} else {
		m[name] = t
	}
	l.terms.Store(&m)
}

// Adapter is a set of low-rank terms on a model's layers, under a name by which
// calls choose it.
type Adapter struct {
	Name   string
	Config Config

	model  any
	layers []*Linear // in the model's order
	terms  []*term
	base   []*tensor.Tensor // the layers' own weights while merged
}

// wrapper is the Method that gives chosen layers a place for low-rank terms.
type wrapper struct {
	paths   map[string]bool
	wrapped []*Linear
}

func (w *wrapper) Wrap(path string, base nn.Layer) nn.Layer {
	if !w.paths[path] {
		return nil
	}
	l, ok := base.(*Linear) // an earlier adapter's
	if !ok {
		l = &Linear{Base: base.(nn.Affine), path: path}
		l.set("", nil)
	}
	w.wrapped = append(w.wrapped, l)
	return l
}

// attach wraps the target layers and gives them terms, made by make from the
// layer's path and weight [out, in].
func attach(model any, name string, c Config, make func(path string, in, out int) (*term, error)) (*Adapter, error) {
	if name == "" {
		return nil, fmt.Errorf("an adapter wants a name")
	}
	slots, err := c.targets(model)
	if err != nil {
		return nil, err
	}
	a := &Adapter{Name: name, Config: c, model: model}
	for _, s := range slots {
		if l, ok := s.Layer().(*Linear); ok && (*l.terms.Load())[name] != nil {
			a.release()
			return nil, fmt.Errorf("the model has an adapter %q already", name)
		}
		w := s.Layer().(nn.Affine).Affine(&nn.Step{}).W.Shape()
		t, err := make(s.Path, w[1], w[0])
		if err != nil {
			a.release()
			return nil, err
		}
		a.terms = append(a.terms, t)
	}
	w := &wrapper{paths: map[string]bool{}}
	for _, s := range slots {
		w.paths[s.Path] = true
	}
	if err := Apply(model, w); err != nil {
		a.release()
		return nil, err
	}
	a.layers = w.wrapped
	for i, l := range a.layers {
		l.set(name, a.terms[i])
	}
	return a, nil
}

// New freezes a model and adapts it by new low-rank terms, drawn from seed: A by
// PyTorch's Kaiming initialisation of a linear layer (uniform within ±1/√in), or
// as Config.Init says, and B zero, so that the model computes what it did.
func New(model any, name string, c Config, seed uint64, dev tensor.Device) (*Adapter, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	return attach(model, name, c, func(path string, in, out int) (*term, error) {
		a, b := make([]float32, c.Rank*in), make([]float32, out*c.Rank)
		random := tensor.NewRandom(seed, "lora "+path)
		bound := 1 / math.Sqrt(float64(in))
		switch c.Init {
		case "gaussian":
			random.Normal(a, 0, 1/float64(c.Rank))
		case "random":
			random.Uniform(a, -bound, bound)
			random.Uniform(b, -1/math.Sqrt(float64(c.Rank)), 1/math.Sqrt(float64(c.Rank)))
		default:
			random.Uniform(a, -bound, bound)
		}
		return &term{
			a:     autograd.Param(tensor.FromF32(dev, a, c.Rank, in)),
			b:     autograd.Param(tensor.FromF32(dev, b, out, c.Rank)),
			scale: c.Scale(), dropout: c.Dropout,
		}, nil
	})
}

// Params yields the adapter's parameters with their names in the file.
func (a *Adapter) Params() iter.Seq2[string, *autograd.Value] {
	return func(yield func(string, *autograd.Value) bool) {
		for i, l := range a.layers {
			t := a.terms[i]
			if !yield(prefix+l.path+aName, t.a) || !yield(prefix+l.path+bName, t.b) {
				return
			}
		}
	}
}

// SetTrainable says whether gradients of the adapter are wanted.
func (a *Adapter) SetTrainable(on bool) {
	for _, p := range a.Params() {
		p.Trainable = on
	}
}

// Elems returns the number of the adapter's parameters.
func (a *Adapter) Elems() int {
	n := 0
	for _, p := range a.Params() {
		n += p.T.Elems()
	}
	return n
}

// Merged returns the weight of the i-th adapted layer with the low-rank term
// added, W + s·B·A, which belongs to the caller, and the layer's path. A sum that
// is not finite is an error. Layers are counted in the model's order; past the
// last one the path is "".
func (a *Adapter) Merged(i int) (path string, w *tensor.Tensor, err error) {
	if i >= len(a.layers) {
		return "", nil, nil
	}
	l, t := a.layers[i], a.terms[i]
	base := l.Base.Affine(&nn.Step{}).W
	if shared(a.model, base) {
		return l.path, nil, fmt.Errorf("%s shares its weight with the embedding: merging would change both", l.path)
	}
	w = base.T.Clone()
	w.AddMatMul(t.b.T, t.a.T, false, false, t.scale)
	if !finite(w.F32s()) {
		w.Release()
		return l.path, nil, fmt.Errorf("adapter %q: the merged weight of %s is not finite", a.Name, l.path)
	}
	return l.path, w, nil
}

// Merge replaces the base's weights by the merged ones: afterwards the base alone
// computes what base and adapter did. No call may be under way. After an error
// nothing was changed.
func (a *Adapter) Merge() error {
	if a.base != nil {
		return nil
	}
	for _, l := range a.layers {
		for name, t := range *l.terms.Load() {
			if t.merged {
				return fmt.Errorf("adapter %q is merged into the model: unmerge it before merging %q", name, a.Name)
			}
		}
	}
	merged := make([]*tensor.Tensor, len(a.layers))
	for i := range a.layers {
		var err error
		if _, merged[i], err = a.Merged(i); err != nil {
			for _, w := range merged[:i] {
				w.Release()
			}
			return err
		}
	}
	for i, l := range a.layers {
		w := l.Base.Affine(&nn.Step{}).W
		a.base = append(a.base, w.T)
		w.T, a.terms[i].merged = merged[i], true
	}
	return nil
}

// Unmerge undoes Merge: the weights are bit for bit what they were.
func (a *Adapter) Unmerge() {
	for i, base := range a.base {
		w := a.layers[i].Base.Affine(&nn.Step{}).W
		w.T.Release()
		w.T, a.terms[i].merged = base, false
	}
	a.base = nil
}

// shared reports whether a weight is the embedding's too.
func shared(model any, w *autograd.Value) bool {
	m, ok := model.(interface{ Tied() *autograd.Value })
	return ok && m.Tied() == w
}

// Remove takes the adapter off the model, unmerging it first, and releases it.
// No call may be using it.
func (a *Adapter) Remove() {
	a.Unmerge()
	for _, l := range a.layers {
		l.set(a.Name, nil)
	}
	a.release()
	a.layers, a.terms = nil, nil
}

func (a *Adapter) release() {
	for _, t := range a.terms {
		t.a.T.Release()
		t.b.T.Release()
	}
}

func finite(x []float32) bool {
	for _, v := range x {
		if v-v != 0 { // NaN and ±Inf
			return false
		}
	}
	return true
}
