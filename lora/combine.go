package lora

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/tensor"
)

// Combine returns a new adapter, beside the given ones, whose change is the
// weighted sum of theirs, Σ wᵢ·sᵢ·Bᵢ·Aᵢ, exactly: their matrices are put one behind
// the other, so the ranks add up. It is PEFT's add_weighted_adapter with
// combination_type "cat". Adapters with anything else than low-rank terms (saved
// modules, biases, token rows) have no such sum and are refused.
func Combine(name string, adapters []*Adapter, weights []float64, dev tensor.Device) (*Adapter, error) {
	switch {
	case len(adapters) == 0:
		return nil, errors.New("no adapters to combine")
	case len(adapters) != len(weights):
		return nil, fmt.Errorf("%d adapters and %d weights", len(adapters), len(weights))
	}
	model := adapters[0].model
	type part struct {
		*placed
		factor float64
	}
	parts := map[string][]part{}
	var paths []string
	for i, a := range adapters {
		switch {
		case a.model != model:
			return nil, fmt.Errorf("adapter %q is another model's", a.Name)
		case a.removed:
			return nil, fmt.Errorf("adapter %q is removed", a.Name)
		case a.base != nil:
			return nil, fmt.Errorf("adapter %q is merged into the model", a.Name)
		case len(a.overlays) > 0:
			return nil, fmt.Errorf("adapter %q has parameters in the place of the model's own, which cannot be summed", a.Name)
		}
		for _, t := range a.terms {
			if t.a == nil || t.rows != nil || t.bbias != nil {
				return nil, fmt.Errorf("adapter %q has more than a low-rank term on %s, which cannot be summed", a.Name, t.path)
			}
			if parts[t.path] == nil {
				paths = append(paths, t.path)
			}
			parts[t.path] = append(parts[t.path], part{t, weights[i] * t.scale})
		}
	}

	sum := &Adapter{Name: name, model: model, Config: Config{Bias: "none", BaseModel: adapters[0].Config.BaseModel}}
	for _, path := range paths {
		// Rows of a [r, in] and columns of b [out, r]; of an embedding the other way
		// round. The factor goes to a.
		list := parts[path]
		var as, bs []*tensor.Tensor
		rank := 0
		_, embedding := list[0].layer.(*Embedding)
		for _, p := range list {
			as, bs = append(as, p.a.T.Scale(p.factor)), append(bs, p.b.T)
			rank += p.a.T.Dim(axisOf(embedding))
		}
		t := &placed{path: path, term: &term{
			a:     autograd.Param(tensor.Concat(axisOf(embedding), as...)),
			b:     autograd.Param(tensor.Concat(1-axisOf(embedding), bs...)),
			scale: 1,
		}}
		for _, a := range as {
			a.Release()
		}
		sum.terms = append(sum.terms, t)
		names := []string{".lora_A.weight", ".lora_B.weight"}
		if embedding {
			names = []string{".lora_embedding_A", ".lora_embedding_B"}
		}
		sum.params = append(sum.params, parameter{name: path + names[0], value: t.a, transposed: embedding},
			parameter{name: path + names[1], value: t.b, transposed: embedding})

		// The scale is 1: alpha is the rank.
		c := &sum.Config
		c.Rank, c.Alpha = max(c.Rank, rank), max(c.Alpha, float64(rank))
		c.Targets.List = append(c.Targets.List, path)
		c.Ranks = append(c.Ranks, Pattern{regexp.QuoteMeta(path), float64(rank)})
		c.Alphas = append(c.Alphas, Pattern{regexp.QuoteMeta(path), float64(rank)})
	}
	c := &sum.Config
	same := func(p Pattern) bool { return p.Value == float64(c.Rank) }
	c.Ranks, c.Alphas = slices.DeleteFunc(c.Ranks, same), slices.DeleteFunc(c.Alphas, same)
	sum.done = func(bool) {}
	sum.attach()
	return sum, nil
}

// axisOf returns the axis of A that is the rank: the first, of an embedding's, which
// is kept transposed, the second.
func axisOf(embedding bool) int {
	if embedding {
		return 1
	}
	return 0
}
