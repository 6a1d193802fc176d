package lora

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// change is a parameter of the model with the contents that merging gives it.
type change struct {
	param *autograd.Value
	to    *tensor.Tensor
}

// Merge makes the adapter part of the model's own weights: W + s·B·A, trained rows
// and modules in the place of the old. Afterwards the model alone computes what
// it did with the adapter. Matrices that are held in another type are F32 while they
// are merged; the stored ones are kept. No call may be under way, and no other adapter merged.
// After an error nothing was changed.
func (a *Adapter) Merge() error {
	if a.base != nil {
		return nil
	}
	if a.removed {
		return fmt.Errorf("adapter %q is removed", a.Name)
	}
	places := a.places()
	for _, p := range places {
		if *p != nil {
			return fmt.Errorf("adapter %q is merged into the model: unmerge it before merging %q", (*p).Name, a.Name)
		}
	}
	changes, err := a.merged()
	if err != nil {
		for _, c := range changes {
			c.to.Release()
		}
		return fmt.Errorf("adapter %q: %w", a.Name, err)
	}
	a.base = []*tensor.Tensor{}
	for _, c := range changes {
		a.base = append(a.base, c.param.T)
		c.param.T = c.to
	}
	for _, p := range places {
		*p = a
	}
	a.setMerged(true)
	return nil
}

// Unmerge undoes Merge: the weights are bit for bit what they were. No call may be
// under way.
func (a *Adapter) Unmerge() {
	if a.base == nil {
		return
	}
	for i, p := range a.changed() {
		p.T.Release()
		p.T = a.base[i]
	}
	a.base = nil
	for _, p := range a.places() {
		*p = nil
	}
	a.setMerged(false)
}

// places returns where the model's layers note the adapter that is merged into it.
func (a *Adapter) places() (out []**Adapter) {
	for _, s := range nn.Slots(a.model) {
		if l, ok := s.Layer().(*Linear); ok {
			out = append(out, &l.merged)
		} else if e, ok := s.Embedder().(*Embedding); ok {
			out = append(out, &e.merged)
		}
	}
	return out
}

// setMerged says whether calls with the adapter find it in the model's weights.
func (a *Adapter) setMerged(on bool) {
	for _, t := range a.terms {
		t.merged = on
	}
	for _, o := range a.overlays {
		if on {
			delete(a.use.Params, o.base)
		} else {
			a.use.Params[o.base] = o.own
		}
	}
}

// copyOf returns a copy that can be changed: of a stored type the values, as F32.
func copyOf(t *tensor.Tensor) *tensor.Tensor {
	if t.DType() == tensor.F64 {
		return t.Clone()
	}
	return t.To(tensor.F32)
}

// weight returns the parameter that a term changes.
func (t *placed) weight() *autograd.Value {
	if e, ok := t.layer.(*Embedding); ok {
		return e.Base.Weight
	}
	return t.layer.(*Linear).Base.Weight
}

// changed returns the parameters that merging changes, each once, in the order of
// merged.
func (a *Adapter) changed() []*autograd.Value {
	var out []*autograd.Value
	seen := map[*autograd.Value]bool{}
	add := func(p *autograd.Value) {
		if p != nil && !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	for _, t := range a.terms {
		add(t.weight())
		if t.bbias != nil {
			add(t.layer.(*Linear).Base.Bias)
		}
	}
	for _, o := range a.overlays {
		add(o.base)
	}
	return out
}

// merged returns the changes that merging makes. The tensors belong to the caller,
// also after an error.
func (a *Adapter) merged() ([]change, error) {
	var out []change
	at := map[*autograd.Value]*tensor.Tensor{}
	for _, p := range a.changed() {
		at[p] = copyOf(p.T)
		out = append(out, change{p, at[p]})
	}
	for _, o := range a.overlays {
		at[o.base].CopyFrom(o.own.T)
	}
	for _, t := range a.terms {
		w := at[t.weight()]
		_, embedding := t.layer.(*Embedding)
		replace := func() {
			for i, id := range t.ids {
				w.Slice(int(id), int(id)+1).CopyFrom(t.rows.T.Slice(i, i+1))
			}
		}
		// In the order in which the layers compute: a head adds its term to the rows
		// that were replaced, an embedding replaces the sums.
		if t.rows != nil && !embedding {
			replace()
		}
		if t.a != nil {
			switch {
			case embedding: // both are kept transposed: E + s·Aᵀ·Bᵀ
				w.AddMatMul(t.a.T, t.b.T, false, false, t.scale)
			default:
				w.AddMatMul(t.b.T, t.a.T, false, false, t.scale)
			}
		}
		if t.bbias != nil {
			bias := t.layer.(*Linear).Base.Bias
			if bias == nil {
				return out, fmt.Errorf("%s has no bias that B's could be added to (lora_bias)", t.path)
			}
			s := t.bbias.T.Scale(t.scale)
			at[bias].AddInPlace(s)
			s.Release()
		}
		if t.rows != nil && embedding {
			replace()
		}
	}
	// Tied weights that became the same stay tied.
	if embedding, head := a.tied(); head != "" {
		e, h := at[weightOf(a.model, embedding)], at[weightOf(a.model, head)]
		if e != nil && h != nil && bytes.Equal(e.Raw(), h.Raw()) {
			for i := range out {
				if out[i].to == h {
					h.Release()
					out[i].to = e.Retain()
				}
			}
		}
	}
	for _, c := range out {
		if !tensor.Finite(c.to.F32s()) {
			return out, errors.New("a merged weight is not finite")
		}
	}
	return out, nil
}
