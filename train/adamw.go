package train

import (
	"math"
	"strings"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/internal/mapped"
	"github.com/tenon-ml/tenon/tensor"
)

// Param is a parameter to be trained.
type Param struct {
	Name  string
	Value *autograd.Value
}

// AdamW is Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as
// torch.optim.AdamW computes it in F32:
//
//	p ← p·(1 - lr·decay)
//	m ← m + (1-β₁)·(g - m)    v ← β₂·v + (1-β₂)·g²
//	p ← p - lr/(1-β₁ᵗ) · m/(√v/√(1-β₂ᵗ) + ε)
//
// Parameters that NoDecay names are not decayed. The moments m and v are in F32, in 8
// bits (NewAdamW8bit), or in a file (NewPagedAdamW).
type AdamW struct {
	Beta1, Beta2, Eps, WeightDecay float64

	params  []Param
	moments []moments // one a parameter
	shared  []part    // of the checkpoint, of no parameter
	file    *mapped.Scratch
	step    int
}

// moments are what the optimizer keeps of a parameter.
type moments interface {
	step(p, g *tensor.Tensor, h tensor.AdamWStep)
	parts() []part // of the checkpoint
	release()
}

// NewAdamW returns an optimizer of the parameters with β₁ 0.9, β₂ 0.999, ε 1e-8.
func NewAdamW(params []Param, weightDecay float64) *AdamW {
	o := newAdamW(params, weightDecay)
	for _, p := range params {
		o.moments = append(o.moments, newMomentsF32(p.Value.T, momentM, momentV))
	}
	return o
}

func newAdamW(params []Param, weightDecay float64) *AdamW {
	return &AdamW{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: weightDecay, params: params}
}

// momentsF32 are moments in F32.
type momentsF32 struct {
	m, v         *tensor.Tensor
	nameM, nameV string // in the checkpoint, behind the parameter's
}

func newMomentsF32(p *tensor.Tensor, nameM, nameV string) *momentsF32 {
	zeros := func() *tensor.Tensor { return tensor.New(p.Device(), tensor.F32, p.Shape()...).Fill(0) }
	return &momentsF32{zeros(), zeros(), nameM, nameV}
}

func (s *momentsF32) step(p, g *tensor.Tensor, h tensor.AdamWStep) {
	if k := p.Device().Kernels().AdamW; k != nil {
		k(p, g, s.m, s.v, h)
	} else {
		adamW(p, g, s.m, s.v, h)
	}
}

func (s *momentsF32) parts() []part {
	return []part{tensorPart(s.nameM, s.m), tensorPart(s.nameV, s.v)}
}

func (s *momentsF32) release() {
	s.m.Release()
	s.v.Release()
}

// Steps returns the number of steps taken.
func (o *AdamW) Steps() int { return o.step }

// NoDecay reports whether transformers' Trainer leaves a parameter out of weight
// decay: biases and the weights of norms, known by their names.
func NoDecay(name string) bool {
	lower := strings.ToLower(name)
	for _, s := range []string{"bias", "layernorm", "rmsnorm"} {
		if strings.Contains(lower, s) {
			return true
		}
	}
	for part := range strings.SplitSeq(lower, ".") {
		if part == "norm" || strings.HasSuffix(part, "_norm") {
			return true
		}
	}
	return false
}

// Step takes one step at the given rate. A parameter without a gradient stays
// as it is.
func (o *AdamW) Step(grads autograd.Grads, lr float64) {
	o.step++
	for i, p := range o.params {
		g := grads[p.Value]
		if g == nil {
			continue
		}
		h := tensor.AdamWStep{LR: lr, Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, WeightDecay: o.WeightDecay, Step: o.step}
		if NoDecay(p.Name) {
			h.WeightDecay = 0
		}
		o.moments[i].step(p.Value.T, g, h)
	}
}

// adamW is one step in mandatory operations: its definition.
func adamW(p, g, m, v *tensor.Tensor, h tensor.AdamWStep) {
	arena := tensor.NewArena(p.Device())
	defer arena.Close()
	in := func(t *tensor.Tensor) *tensor.Tensor { return t.In(arena) }
	m.CopyFrom(in(m).Add(in(g).Sub(m).Scale(1 - h.Beta1)))
	v.CopyFrom(in(v).Scale(h.Beta2).Add(in(g).Mul(g).Scale(1 - h.Beta2)))
	bias1 := 1 - math.Pow(h.Beta1, float64(h.Step))
	bias2 := 1 - math.Pow(h.Beta2, float64(h.Step))
	eps := in(p).Scale(0).Add(arena.New(p.DType(), 1).Fill(h.Eps))
	denom := in(v).Unary(tensor.OpSqrt).Scale(1 / math.Sqrt(bias2)).Add(eps)
	p.CopyFrom(in(p).Scale(1 - h.LR*h.WeightDecay).Sub(in(m).Div(denom).Scale(h.LR / bias1)))
}

// Release releases the optimizer's state.
func (o *AdamW) Release() {
	for _, m := range o.moments {
		m.release()
	}
	o.moments = nil
	if o.file != nil {
		o.file.Close()
		o.file = nil
	}
}

// gradNorm returns the Euclidean norm of all gradients together.
func gradNorm(dev tensor.Device, params []Param, grads autograd.Grads) float64 {
	arena := tensor.NewArena(dev)
	defer arena.Close()
	arena.Recycle()
	var sum float64
	for _, p := range params {
		if g := grads[p.Value]; g != nil {
			scope := arena.Begin()
			x := g.In(arena)
			sum += x.Mul(x).Reshape(1, g.Elems()).Sum().Item()
			arena.End(scope)
		}
	}
	return math.Sqrt(sum)
}

// clip scales the gradients so that their norm is at most most, as
// torch.nn.utils.clip_grad_norm_ does: by most/(norm + 1e-6) if that is less
// than 1.
func clip(params []Param, grads autograd.Grads, norm, most float64) {
	f := most / (norm + 1e-6)
	if f >= 1 {
		return
	}
	for _, p := range params {
		g := grads[p.Value]
		if g == nil {
			continue
		}
		if !g.Exclusive() { // two parameters may share a gradient's memory
			grads[p.Value] = g.Scale(f)
			g.Release()
			continue
		}
		g.ScaleInPlace(f)
	}
}
