package lora

import (
	"errors"
	"fmt"
	"slices"

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
	if err := a.Mergeable(); err != nil {
		return nil, err
	}
	var out []change
	at := map[*autograd.Value]int{}
	for i, p := range a.changed() {
		c := change{p, copyOf(p.T)}
		out, at[p] = append(out, c), i
		a.MergeInto(c.to, p)
		if !finite(c.to) {
			return out, errors.New("a merged weight is not finite")
		}
	}
	// Tied weights that became the same stay tied.
	if embedding, head := a.tied(); head != "" {
		e, both := at[weightOf(a.model, embedding)]
		h, ok := at[weightOf(a.model, head)]
		if both && ok && same(out[e].to, out[h].to) {
			out[h].to.Release()
			out[h].to = out[e].to.Retain()
		}
	}
	return out, nil
}

// Mergeable reports why the adapter cannot be merged.
func (a *Adapter) Mergeable() error {
	for _, t := range a.terms {
		if t.bbias != nil && t.layer.(*Linear).Base.Bias == nil {
			return fmt.Errorf("%s has no bias that B's could be added to (lora_bias)", t.path)
		}
	}
	return nil
}

// Changes reports whether merging changes the model's parameter p.
func (a *Adapter) Changes(p *autograd.Value) bool { return slices.Contains(a.changed(), p) }

// MergeInto makes of w, which has the contents of the model's parameter p, what
// merging makes of p: W + s·B·A, or what takes its place. w is F32 or F64 and the
// caller's own. It serves to merge a model that is larger than the memory; Mergeable
// says whether that can be done.
func (a *Adapter) MergeInto(w *tensor.Tensor, p *autograd.Value) {
	for _, o := range a.overlays {
		if o.base == p {
			w.CopyFrom(o.own.T)
		}
	}
	for _, t := range a.terms {
		if l, ok := t.layer.(*Linear); ok && t.bbias != nil && l.Base.Bias == p {
			s := t.bbias.T.Scale(t.scale)
			w.AddInPlace(s)
			s.Release()
		}
		if t.weight() != p {
			continue
		}
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
		switch {
		case t.a == nil:
		case embedding: // both are kept transposed: E + s·Aᵀ·Bᵀ
			w.AddMatMul(t.a.T, t.b.T, false, false, t.scale)
		default:
			w.AddMatMul(t.b.T, t.a.T, false, false, t.scale)
		}
		if t.rows != nil && embedding {
			replace()
		}
	}
}

// pieceLen is about how many elements are looked at at a time.
const pieceLen = 1 << 16

// pieces calls f with the ranges of rows in which a tensor is looked at, until it
// returns false, and reports whether it never did.
func pieces(t *tensor.Tensor, f func(lo, hi int) bool) bool {
	n := max(1, pieceLen/max(1, t.Elems()/max(1, t.Dim(0))))
	for lo := 0; lo < t.Dim(0); lo += n {
		if !f(lo, min(lo+n, t.Dim(0))) {
			return false
		}
	}
	return true
}

// finite reports whether no element is NaN or infinite.
func finite(t *tensor.Tensor) bool {
	return pieces(t, func(lo, hi int) bool { return tensor.Finite(t.Slice(lo, hi).F32s()) })
}

// same reports whether two tensors of one shape have the same values.
func same(x, y *tensor.Tensor) bool {
	return pieces(x, func(lo, hi int) bool { return slices.Equal(x.Slice(lo, hi).F32s(), y.Slice(lo, hi).F32s()) })
}
