// Package nn has the parts that models are made of: layers, the key-value cache,
// losses and generation. A model is a struct whose fields carry the
// checkpoint's names; each family is a folder.
package nn

import (
	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/tensor"
)

// Layer is a part of a model: x is [tokens, in], the result [tokens, out].
type Layer interface {
	Forward(s *Step, x *autograd.Value) *autograd.Value
}

// Affine is a Layer that is a matrix with what may be added to it: a bias and a
// low-rank term. Operations that want to know, such as the loss, ask for it.
type Affine interface {
	Layer
	Affine(s *Step) autograd.Affine
}

// Step is one call of a model with all that it needs besides its input. Layers
// have no modes: two calls never see each other.
type Step struct {
	Tape *autograd.Tape

	B, T int // rows, and tokens of each row

	// Train says that dropout is to be applied, drawn from Seed, which differs
	// between the steps of a training run.
	Train bool
	Seed  uint64

	// Recompute says that blocks keep their input alone for the backward pass.
	Recompute bool

	// Adapter is what this call uses beside the model; nil is the base alone.
	Adapter *Adapter

	// Cache holds the keys and values of the tokens before, if there are any.
	Cache *KVCache

	// Starts is set where rows hold several documents, which do not see each
	// other: for each token [B·T] the place in its row where its document begins.
	Starts []int32

	// Cos and Sin are the rotary angles of the call's tokens, [T, D/2], or
	// [B·T, D/2] with Starts. The model sets them.
	Cos, Sin *tensor.Tensor
}

// Adapter is what a call uses beside a model's own parameters.
type Adapter struct {
	// Parts holds, for a layer that has a place for adapters, what this one puts
	// there.
	Parts map[any]any
	// Params are parameters that take the place of the model's own.
	Params map[*autograd.Value]*autograd.Value
}

// Part returns what the call's adapter has for a layer, nil if nothing.
func (s *Step) Part(layer any) any {
	if s.Adapter == nil {
		return nil
	}
	return s.Adapter.Parts[layer]
}

// Param returns the parameter that the call uses in the place of p: p itself,
// unless its adapter has another.
func (s *Step) Param(p *autograd.Value) *autograd.Value {
	if s.Adapter != nil {
		if q := s.Adapter.Params[p]; q != nil {
			return q
		}
	}
	return p
}

// Block runs a block of layers on x: in a scope of its own, so that what is not
// kept for gradients is released at its end, and with recomputation if the step
// asks for it.
func (s *Step) Block(x *autograd.Value, block Layer) *autograd.Value {
	if s.Recompute {
		return autograd.Recompute(x, func(x *autograd.Value) *autograd.Value { return block.Forward(s, x) })
	}
	return s.Tape.Scope(func() *autograd.Value { return block.Forward(s, x) })
}

// Affines appends the outputs of layers over one x to dst. If they all are Affine they
// run as one operation.
func (s *Step) Affines(dst []*autograd.Value, x *autograd.Value, layers ...Layer) []*autograd.Value {
	group := make([]autograd.Affine, 0, 4)
	for _, l := range layers {
		if a, ok := l.(Affine); ok {
			group = append(group, a.Affine(s))
		}
	}
	if len(group) == len(layers) {
		return autograd.Affines(dst, x, group)
	}
	for _, l := range layers {
		dst = append(dst, l.Forward(s, x))
	}
	return dst
}

// Linear is y = x·Wᵀ + b, the weight [out, in] as PyTorch stores it.
type Linear struct {
	Weight *autograd.Value `nn:"weight"`
	Bias   *autograd.Value `nn:"bias"` // nil: none
}

// NewLinear returns a Linear that has shapes but no contents yet (see Load).
func NewLinear(in, out int, bias bool) *Linear {
	l := &Linear{Weight: meta(out, in)}
	if bias {
		l.Bias = meta(out)
	}
	return l
}

// Affine returns the layer's matrix and bias.
func (l *Linear) Affine(s *Step) autograd.Affine {
	return autograd.Affine{W: s.Param(l.Weight), Bias: s.Param(l.Bias)}
}

// Forward returns x·Wᵀ + b.
func (l *Linear) Forward(s *Step, x *autograd.Value) *autograd.Value { return x.Affine(l.Affine(s)) }

// Embedder is the part of a model that turns token ids into its first states.
type Embedder interface {
	Embed(s *Step, ids []int32) *autograd.Value
	// Table returns the matrix whose rows they are, [V, C].
	Table() *autograd.Value
}

// Embedding turns token ids into rows of its weight [V, C].
type Embedding struct {
	Weight *autograd.Value `nn:"weight"`

	// Still are ids whose rows get no gradient here: the padding token's, as with
	// PyTorch's padding_idx.
	Still []int32
}

// NewEmbedding returns an Embedding that has a shape but no contents yet.
func NewEmbedding(vocab, dim int) *Embedding { return &Embedding{Weight: meta(vocab, dim)} }

// Embed returns the rows of ids, [len(ids), C].
func (e *Embedding) Embed(s *Step, ids []int32) *autograd.Value {
	return s.Tape.Embedding(s.Param(e.Weight), ids, e.Still...)
}

// Table returns the weight.
func (e *Embedding) Table() *autograd.Value { return e.Weight }

// RMSNorm is root mean square normalisation, see autograd's RMSNorm.
type RMSNorm struct {
	Weight *autograd.Value `nn:"weight"`
	Eps    float64
}

// NewRMSNorm returns an RMSNorm that has a shape but no contents yet.
func NewRMSNorm(dim int, eps float64) *RMSNorm { return &RMSNorm{Weight: meta(dim), Eps: eps} }

// Forward normalises the rows of x.
func (n *RMSNorm) Forward(s *Step, x *autograd.Value) *autograd.Value {
	return x.RMSNorm(s.Param(n.Weight), n.Eps)
}

func meta(shape ...int) *autograd.Value { return autograd.Param(tensor.Meta(tensor.F32, shape...)) }
