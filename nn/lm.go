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
	// NewCache returns an empty cache for up to capacity tokens.
	NewCache(dev tensor.Device, capacity int) *KVCache
}

// Logits returns the logits [B·T, V] of the tokens ids.
func Logits(m CausalLM, s *Step, ids []int32) *autograd.Value {
	return m.Output().Forward(s, m.Hidden(s, ids))
}

// PadID fills rows up to the longest of a batch. Attention is causal, so no
// token sees the padding behind it, and its own states are not used.
const PadID = 0

// Loss returns the sum of the cross-entropies of a batch's tokens divided by
// denom. Labels stand where their tokens stand, and each is predicted from the
// tokens before it: the first label of a row is not used, nor are those that are
// autograd.Ignore. Rows shorter than the longest are padded on the right.
func Loss(m CausalLM, s *Step, ids, labels [][]int32, denom float64) *autograd.Value {
	s.B, s.T = len(ids), 0
	for _, row := range ids {
		s.T = max(s.T, len(row))
	}
	flat, next := make([]int32, s.B*s.T), make([]int32, s.B*s.T)
	for i := range flat {
		flat[i], next[i] = PadID, autograd.Ignore
	}
	for b, row := range ids {
		copy(flat[b*s.T:], row)
		if len(row) > 1 {
			copy(next[b*s.T:], labels[b][1:len(row)])
		}
	}
	x := m.Hidden(s, flat)
	if head, ok := m.Output().(Affine); ok {
		return autograd.CrossEntropy(x, head.Affine(s), next, denom)
	}
	return autograd.CrossEntropyLogits(m.Output().Forward(s, x), next, denom)
}

// Targets returns the number of labels that Loss predicts: what a mean divides by.
func Targets(labels [][]int32) int {
	n := 0
	for _, row := range labels {
		for i, l := range row {
			if i > 0 && l != autograd.Ignore {
				n++
			}
		}
	}
	return n
}
