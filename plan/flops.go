package plan

import (
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/nn/llama"
)

// FLOPs are those of one batch, 2 a multiply-add: of matrix products and attention,
// whose causal half alone is counted.
type FLOPs struct {
	Forward int64 `json:"forward"`
	Step    int64 `json:"step"`
}

// flops counts a batch by arithmetic. The backward pass multiplies for a layer's input
// only if something before it is trained, and for its weight only if that is.
func (m *Model) flops(o Options, trained []tensorOf) FLOPs {
	w := counted{rank: map[string]int64{}, whole: map[string]bool{}}
	var parameters int64
	for _, t := range trained {
		parameters += int64(t.shape.Elems())
		name := strings.TrimSuffix(strings.TrimPrefix(t.name, prefix), ".weight")
		if module, ok := strings.CutSuffix(name, ".lora_B"); ok {
			w.rank[module] = int64(t.shape[1])
		} else {
			w.whole[name] = true
		}
	}
	tokens := int64(o.Batch) * int64(o.Seq+o.VirtualTokens)
	switch o.Method {
	case "full", "lora", "lora+", "lora-fa", "dora", "adalora":
	case "houlsby", "pfeiffer", "parallel": // matrices of their own
		w.forward, w.backward, w.blocks = 2*tokens*parameters, 4*tokens*parameters, 2*tokens*parameters
		w.wants = true
	default: // what they add to the model's own products is little
		w.wants = true
	}
	name := ""
	if m.Vision {
		m.vision(&w, int64(o.Batch))
		name = "language_model."
	}
	w.languageModel(m.Config, name, int64(o.Batch), int64(o.Seq+o.VirtualTokens))
	step := w.forward + w.backward
	if o.Recompute {
		step += w.blocks
	}
	return FLOPs{Forward: w.forward, Step: step}
}

// counted is what a walk through the model has counted so far.
type counted struct {
	rank  map[string]int64 // of low-rank terms
	whole map[string]bool  // modules whose weight is trained
	wants bool             // the gradient of what the walk has reached is wanted

	forward, backward int64
	blocks            int64 // forward, of the blocks alone
}

// linear counts a layer on n rows, of whose input the gradient is wanted or not, and
// reports whether that of its output is.
func (w *counted) linear(path string, n, in, out int64, dx bool) bool {
	one := 2 * n * in * out
	w.forward += one
	if dx {
		w.backward += one
	}
	if w.whole[path] {
		w.backward += one
	}
	if r := w.rank[path]; r > 0 {
		w.forward += 2 * n * r * (in + out)
		w.backward += 2 * n * r * (in + 2*out) // dA, u = dz·B, dB
		if dx {
			w.backward += 2 * n * r * in
		}
		return true
	}
	return dx || w.whole[path]
}

// languageModel counts the language model on rows of text of t tokens.
func (w *counted) languageModel(c llama.Config, prefix string, b, t int64) {
	n := b * t
	hidden, q, kv, mlp := int64(c.HiddenSize), int64(c.NumAttentionHeads*c.HeadDim), int64(c.NumKeyValueHeads*c.HeadDim), int64(c.IntermediateSize)
	embed := prefix + "model.embed_tokens"
	wants := w.wants || w.whole[embed] || w.whole[embed+".lora_embedding_A"]
	for i := range c.NumHiddenLayers {
		before := w.forward
		at := prefix + "model.layers." + strconv.Itoa(i) + "."
		wants = wants || w.whole[at+"input_layernorm"]
		dq := w.linear(at+"self_attn.q_proj", n, hidden, q, wants)
		dk := w.linear(at+"self_attn.k_proj", n, hidden, kv, wants)
		dv := w.linear(at+"self_attn.v_proj", n, hidden, kv, wants)
		keys := t * (t + 1) / 2 // that all queries of a row see together
		if window := int64(c.Window(i)); window > 0 && window < t {
			keys = window*(window+1)/2 + (t-window)*window
		}
		scores := 2 * b * keys * q // q·kᵀ, and as many for p·v
		w.forward += 2 * scores
		z := dq || dk || dv
		if z {
			w.backward += 4 * scores // dv, dp, dq, dk
		}
		wants = w.linear(at+"self_attn.o_proj", n, q, hidden, z) || wants
		wants = wants || w.whole[at+"post_attention_layernorm"]
		gate := w.linear(at+"mlp.gate_proj", n, hidden, mlp, wants)
		up := w.linear(at+"mlp.up_proj", n, hidden, mlp, wants)
		wants = w.linear(at+"mlp.down_proj", n, mlp, hidden, gate || up) || wants
		w.blocks += w.forward - before
	}
	if c.TieWordEmbeddings && w.whole[embed] {
		w.whole[prefix+"lm_head"] = true
	}
	w.linear(prefix+"lm_head", n, hidden, int64(c.VocabSize), wants || w.whole[prefix+"model.norm"])
}
