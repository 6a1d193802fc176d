package nn

import (
	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/tensor"
)

// CausalLM is a language model that predicts each token from those before.
type CausalLM interface {
	// Hidden returns the states after the last norm, [B·T, C], of the token ids
	// [B·T], row after row.
	Hidden(s *Step, ids []int32) *autograd.Value
	// Output returns the layer that makes logits [.., V] of states.
	Output() Layer
	// Vocab returns V.
	Vocab() int
	// NewCache returns an empty cache for up to capacity tokens, see NewKVCache.
	NewCache(dev tensor.Device, dt tensor.DType, capacity int) (*KVCache, error)
}

// Logits returns the logits [B·T, V] of the tokens ids.
func Logits(m CausalLM, s *Step, ids []int32) *autograd.Value {
	return m.Output().Forward(s, m.Hidden(s, ids))
}

// Loss returns the sum of the cross-entropies of a batch's tokens divided by
// denom. ids and labels are [B·T], with B and T those of the step. Labels stand
// where their tokens stand, and each is predicted from the tokens before it: the
// first label of a row is not used, nor are those that are autograd.Ignore.
// Attention is causal, so padding on the right of a row, ignored by its labels,
// changes nothing.
func Loss(m CausalLM, s *Step, ids, labels []int32, denom float64) *autograd.Value {
	next := make([]int32, len(labels))
	for i := range next {
		next[i] = autograd.Ignore
		if (i+1)%s.T != 0 {
			next[i] = labels[i+1]
		}
	}
	x := m.Hidden(s, ids)
	if head, ok := m.Output().(Affine); ok {
		return autograd.CrossEntropy(x, head.Affine(s), next, denom)
	}
	return autograd.CrossEntropyLogits(m.Output().Forward(s, x), next, denom)
}
