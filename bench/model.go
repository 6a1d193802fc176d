package bench

import (
	"slices"

	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// SmolLM2 is the shape of SmolLM2-135M, as its config.json has it.
const SmolLM2 = `{"model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
	"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
	"rms_norm_eps": 1e-5, "rope_theta": 100000, "tie_word_embeddings": true, "hidden_act": "silu"}`

// RandomModel returns a model of a config.json's shape with random weights in F32.
func RandomModel(config string, dev tensor.Device) (*llama.Model, error) {
	c, err := llama.ParseConfig([]byte(config))
	if err != nil {
		return nil, err
	}
	return randomModel(c, dev)
}

func randomModel(c llama.Config, dev tensor.Device) (*llama.Model, error) {
	m := llama.New(c)
	for name, p := range nn.Params(m) {
		r := tensor.NewRandom(1, name)
		t, err := tensor.Make(dev, p.Shape(), func(dst []float32) error {
			if len(p.Shape()) == 1 {
				r.Uniform(dst, 0.5, 1.5)
			} else {
				r.Uniform(dst, -0.04, 0.04)
			}
			return nil
		})
		if err != nil {
			nn.Release(m)
			return nil, err
		}
		p.T = t
	}
	return m, nil
}

// work is how much a model computes and reads.
type work struct {
	layers    int       // elements of the matrices of the layers
	head      int       // of the output matrix
	attention int       // heads times head size, over all layers
	bytes     int       // of both as they are held: what a decoded token reads
	held      int       // bytes of all weights
	params    int       // parameters
	types     []string  // of the matrices
	shapes    []product // of the matrices, each once
}

// product is a matrix [n, k] of a model.
type product struct{ n, k int }

// workOf counts a model's work; it has no adapter.
func workOf(m *llama.Model) work {
	w := work{attention: m.Config.NumHiddenLayers * m.Config.NumAttentionHeads * m.Config.HeadDim}
	matrix := func(t *tensor.Tensor) {
		w.bytes += stored(t)
		if name := t.DType().String(); !slices.Contains(w.types, name) {
			w.types = append(w.types, name)
		}
		if p := (product{t.Dim(0), t.Dim(1)}); !slices.Contains(w.shapes, p) {
			w.shapes = append(w.shapes, p)
		}
	}
	head, _ := m.Output().(nn.Affine)
	var step nn.Step
	for _, s := range nn.Slots(m) {
		if l, ok := s.Layer().(nn.Affine); ok && l != head {
			t := l.Affine(&step).W.T
			w.layers += t.Elems()
			matrix(t)
		}
	}
	if head != nil {
		t := head.Affine(&step).W.T
		w.head = t.Elems()
		matrix(t)
	}
	for _, p := range nn.Params(m) {
		w.params += p.T.Elems()
		w.held += stored(p.T)
	}
	slices.Sort(w.types)
	return w
}

// stored returns the bytes that a tensor's elements take as they are held, with their
// scales.
func stored(t *tensor.Tensor) int {
	n := t.DType().Bytes(t.Elems())
	if !t.IsMeta() && t.Quant() != nil {
		n += stored(t.Quant().Absmax)
		if nested := t.Quant().Nested; nested != nil {
			n += stored(nested)
		}
	}
	return n
}

// prefill returns the useful floating-point operations of reading a prompt of t
// tokens, causal attention counted by half and the head for the last token.
func (w work) prefill(t int) float64 {
	return 2*float64(t)*float64(w.layers) + 2*float64(w.head) + 2*float64(t)*float64(t)*float64(w.attention)
}

// step returns the useful floating-point operations of a LoRA step over one
// sequence of t tokens with so many trained parameters: forward; the gradient of
// what goes into each matrix but not of the frozen matrix itself; the adapter's
// products, forward and both gradients. What is recomputed is not counted.
func (w work) step(t, trained int) float64 {
	n := float64(t)
	return 4*n*float64(w.layers+w.head) + 6*n*float64(trained) + 6*n*n*float64(w.attention)
}

// TokenBytes returns the bytes of weights that a decoded token reads, as they are held.
func TokenBytes(m *llama.Model) int { return workOf(m).bytes }

// PrefillFLOP returns the useful floating-point operations of a prompt's pass.
func PrefillFLOP(m *llama.Model, tokens int) float64 { return workOf(m).prefill(tokens) }
