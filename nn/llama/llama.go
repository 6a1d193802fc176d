package llama

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// Model is a Llama language model.
type Model struct {
	Config Config

	Embed nn.Embedder `nn:"model.embed_tokens"`
	Block []*Block    `nn:"model.layers"`
	Norm  *nn.RMSNorm `nn:"model.norm"`
	Head  nn.Layer    `nn:"lm_head"`
}

// Block is a transformer block: x += attention(norm(x)); x += mlp(norm(x)).
type Block struct {
	AttnNorm *nn.RMSNorm `nn:"input_layernorm"`
	Attn     nn.Layer    `nn:"self_attn"`
	MLPNorm  *nn.RMSNorm `nn:"post_attention_layernorm"`
	MLP      nn.Layer    `nn:"mlp"`
}

// Attention is causal grouped-query attention with rotary positions.
type Attention struct {
	Q nn.Layer `nn:"q_proj"`
	K nn.Layer `nn:"k_proj"`
	V nn.Layer `nn:"v_proj"`
	O nn.Layer `nn:"o_proj"`

	QNorm *nn.RMSNorm `nn:"q_norm"` // of each head; nil: none
	KNorm *nn.RMSNorm `nn:"k_norm"`

	layer, heads, kv, dim, window int
}

// MLP is down(silu(gate(x))·up(x)).
type MLP struct {
	Gate nn.Layer `nn:"gate_proj"`
	Up   nn.Layer `nn:"up_proj"`
	Down nn.Layer `nn:"down_proj"`
}

// New returns a model that has the shapes of its configuration and no contents
// yet (see nn.Load). A tied head shares the embedding's weight.
func New(c Config) *Model {
	embed := nn.NewEmbedding(c.VocabSize, c.HiddenSize)
	if c.Pad != nil {
		embed.Still = []int32{(*c.Pad + int32(c.VocabSize)) % int32(c.VocabSize)}
	}
	m := &Model{Config: c, Embed: embed, Norm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps)}
	f := families[c.ModelType]
	q, kv := c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	for i := range c.NumHiddenLayers {
		a := &Attention{
			Q:     nn.NewLinear(c.HiddenSize, q, f.qkvBias(&c)),
			K:     nn.NewLinear(c.HiddenSize, kv, f.qkvBias(&c)),
			V:     nn.NewLinear(c.HiddenSize, kv, f.qkvBias(&c)),
			O:     nn.NewLinear(q, c.HiddenSize, f.oBias(&c)),
			layer: i, heads: c.NumAttentionHeads, kv: c.NumKeyValueHeads, dim: c.HeadDim, window: f.window(&c, i),
		}
		if f.qkNorm {
			a.QNorm, a.KNorm = nn.NewRMSNorm(c.HeadDim, c.RMSNormEps), nn.NewRMSNorm(c.HeadDim, c.RMSNormEps)
		}
		bias := f.mlpBias(&c)
		m.Block = append(m.Block, &Block{
			AttnNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			Attn:     a,
			MLPNorm:  nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			MLP: &MLP{
				Gate: nn.NewLinear(c.HiddenSize, c.IntermediateSize, bias),
				Up:   nn.NewLinear(c.HiddenSize, c.IntermediateSize, bias),
				Down: nn.NewLinear(c.IntermediateSize, c.HiddenSize, bias),
			},
		})
	}
	head := nn.NewLinear(c.HiddenSize, c.VocabSize, false)
	if c.TieWordEmbeddings {
		head.Weight = m.Embed.Table()
	}
	m.Head = head
	return m
}

// Load returns the model of a configuration with the parameters of a source.
// Old checkpoints' rotary_emb.inv_freq, and a head stored beside tied
// embeddings, are accepted and not used.
func Load(c Config, src nn.Source, dev tensor.Device) (*Model, error) {
	m := New(c)
	if err := nn.Load(m, src, dev, m.unused); err != nil {
		return nil, err
	}
	return m, nil
}

// Open returns the model of a configuration without contents, whose source has been
// found to have them, as Load would.
func Open(c Config, src nn.Source) (*Model, error) {
	m := New(c)
	if err := nn.Check(m, src, m.unused); err != nil {
		return nil, err
	}
	return m, nil
}

// unused tells of tensors that a checkpoint may have and the model has no use for.
func (m *Model) unused(name string) bool {
	return strings.HasSuffix(name, ".rotary_emb.inv_freq") || m.Config.TieWordEmbeddings && name == "lm_head.weight"
}

// Hidden returns the states after the last norm, [B·T, C].
func (m *Model) Hidden(s *nn.Step, ids []int32) *autograd.Value {
	m.angles(s)
	x := m.Embed.Embed(s, ids)
	for _, b := range m.Block {
		x = s.Block(x, b)
	}
	if s.Cache != nil {
		s.Cache.Advance(s.T)
	}
	return m.Norm.Forward(s, x)
}

// Forward returns the states after the block.
func (b *Block) Forward(s *nn.Step, x *autograd.Value) *autograd.Value {
	x = x.Add(b.Attn.Forward(s, b.AttnNorm.Forward(s, x)))
	return x.Add(b.MLP.Forward(s, b.MLPNorm.Forward(s, x)))
}

// Forward returns the attention of x [B·T, C].
func (a *Attention) Forward(s *nn.Step, x *autograd.Value) *autograd.Value {
	n := s.B * s.T
	var buf [3]*autograd.Value
	y := s.Affines(buf[:0], x, a.Q, a.K, a.V)
	q := a.rotate(s, y[0], a.QNorm, a.heads)
	k := a.rotate(s, y[1], a.KNorm, a.kv)
	v := y[2].Reshape(s.B, s.T, a.kv, a.dim)
	mask := autograd.Mask{Window: a.window, Starts: s.Starts}
	if s.Cache != nil {
		k, v, mask.Keys = s.Cache.Append(a.layer, k, v)
	}
	z := q.Attention(k, v, mask, 1/math.Sqrt(float64(a.dim)))
	return a.O.Forward(s, z.Reshape(n, a.heads*a.dim))
}

// rotate normalises the heads of x [B·T, heads·D], if there is a norm, and turns
// them by position: [B, T, heads, D].
func (a *Attention) rotate(s *nn.Step, x *autograd.Value, norm *nn.RMSNorm, heads int) *autograd.Value {
	x = x.Reshape(s.B, s.T, heads, a.dim)
	if norm != nil {
		x = norm.Forward(s, x)
	}
	return x.RoPE(s.Cos, s.Sin)
}

// Forward returns the gated MLP of x.
func (m *MLP) Forward(s *nn.Step, x *autograd.Value) *autograd.Value {
	var buf [2]*autograd.Value
	y := s.Affines(buf[:0], x, m.Gate, m.Up)
	return m.Down.Forward(s, y[0].SwiGLU(y[1]))
}

// angles sets the rotary angles of the call's tokens: one row a token of a row of
// text, or of all rows if documents start at different places in each.
func (m *Model) angles(s *nn.Step) {
	first := 0
	if s.Cache != nil {
		first = s.Cache.Len()
	}
	h, rows := m.Config.HeadDim/2, s.T
	if s.Starts != nil {
		rows = len(s.Starts)
	}
	var room [128]float32 // enough for all known models
	freq := room[:min(h, len(room))]
	if h > len(room) {
		freq = make([]float32, h)
	}
	scale := m.Config.RoPE.frequencies(freq, first+s.T)
	table := s.Tape.Arena().New(tensor.F32, 2*rows, h)
	_ = table.Write(func(dst []float32) error {
		cos, sin := dst[:rows*h], dst[rows*h:]
		end := 0 // of the document that a token is in
		for t := range rows {
			position := first + t%s.T
			if s.Starts != nil {
				position -= int(s.Starts[t])
				if m.Config.RoPE.Type == "dynamic" && t >= end { // angles go by the document's length
					for end = t + 1; end%s.T != 0 && s.Starts[end] == s.Starts[t]; end++ {
					}
					m.Config.RoPE.frequencies(freq, end-t)
				}
			}
			for i, f := range freq {
				a := float64(float32(position) * f)
				cos[t*h+i], sin[t*h+i] = float32(math.Cos(a))*scale, float32(math.Sin(a))*scale
			}
		}
		return nil
	})
	s.Cos, s.Sin = table.Slice(0, rows), table.Slice(rows, 2*rows)
}

// Output returns the layer that makes logits.
func (m *Model) Output() nn.Layer { return m.Head }

// Vocab returns the size of the vocabulary.
func (m *Model) Vocab() int { return m.Config.VocabSize }

// NewCache returns an empty key-value cache for up to capacity tokens.
func (m *Model) NewCache(dev tensor.Device, dt tensor.DType, capacity int) (*nn.KVCache, error) {
	return nn.NewKVCache(dev, dt, m.Config.NumHiddenLayers, capacity, m.Config.NumKeyValueHeads, m.Config.HeadDim)
}

// Family returns the model_type, by which defaults are chosen.
func (m *Model) Family() string { return m.Config.ModelType }

// Tied reports whether the head computes with the embedding's weight.
func (m *Model) Tied() bool {
	head, ok := m.Head.(nn.Affine)
	return ok && head.Affine(&nn.Step{}).W.T == m.Embed.Table().T
}

// Untie gives the head of a tied model a parameter of its own, which still has
// the embedding's contents but can be replaced without it.
func (m *Model) Untie() {
	head, ok := m.Head.(*nn.Linear)
	if ok && head.Weight == m.Embed.Table() {
		head.Weight = alias(head.Weight)
	}
}

// Replicate makes the model's blocks anew out of ranges of them, each from
// including to excluding. Blocks that occur again share their contents but are
// adapted each for itself. The caller calls done when it is known whether the
// new blocks stay: if not, the model is as it was.
func (m *Model) Replicate(ranges [][2]int) (done func(stay bool), err error) {
	var blocks, again []*Block
	used := map[int]bool{}
	for _, r := range ranges {
		if r[0] < 0 || r[1] > len(m.Block) || r[0] >= r[1] {
			return nil, fmt.Errorf("range %v is not within the %d layers", r, len(m.Block))
		}
		for i := r[0]; i < r[1]; i++ {
			b, err := m.Block[i].replica(len(blocks), used[i])
			if err != nil {
				return nil, err
			}
			if used[i] {
				again = append(again, b)
			}
			used[i] = true
			blocks = append(blocks, b)
		}
	}
	was, config := m.Block, m.Config
	m.Block = blocks
	m.Config.NumHiddenLayers = len(blocks)
	if families[m.Config.ModelType].byLayer {
		m.Config.LayerTypes = nil
		for _, b := range blocks {
			kind := fullAttention
			if b.Attn.(*Attention).window > 0 {
				kind = slidingAttention
			}
			m.Config.LayerTypes = append(m.Config.LayerTypes, kind)
		}
	}
	return func(stay bool) {
		if !stay {
			m.Block, m.Config = was, config
			for _, b := range again {
				nn.Release(b)
			}
			return
		}
		for i, b := range was {
			if !used[i] {
				nn.Release(b)
			}
		}
	}, nil
}

// replica returns the block as the layer of that number; again says that it is in
// use already, so that its parameters are to be new ones with the same contents.
func (b *Block) replica(layer int, again bool) (*Block, error) {
	attn, isAttn := b.Attn.(*Attention)
	mlp, isMLP := b.MLP.(*MLP)
	if !isAttn || !isMLP {
		return nil, errors.New("the model is adapted already")
	}
	a, p := *attn, *mlp
	a.layer = layer
	z := &Block{AttnNorm: b.AttnNorm, Attn: &a, MLPNorm: b.MLPNorm, MLP: &p}
	for _, slot := range []*nn.Layer{&a.Q, &a.K, &a.V, &a.O, &p.Gate, &p.Up, &p.Down} {
		l, ok := (*slot).(*nn.Linear)
		if !ok {
			return nil, errors.New("the model is adapted already")
		}
		if again {
			*slot = &nn.Linear{Weight: alias(l.Weight), Bias: alias(l.Bias)}
		}
	}
	if !again {
		return z, nil
	}
	for _, norm := range []**nn.RMSNorm{&z.AttnNorm, &z.MLPNorm, &a.QNorm, &a.KNorm} {
		if *norm != nil {
			*norm = &nn.RMSNorm{Weight: alias((*norm).Weight), Eps: (*norm).Eps}
		}
	}
	return z, nil
}

// alias returns a new parameter with the contents of p.
func alias(p *autograd.Value) *autograd.Value {
	switch {
	case p == nil:
		return nil
	case p.T.IsMeta(): // of a model that is planned, or merged tensor by tensor
		return autograd.Param(p.T)
	}
	return autograd.Param(p.T.Retain())
}
