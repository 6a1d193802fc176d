package plan

import (
	"fmt"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// openVLA has the shapes of OpenVLA: DINOv2 and SigLIP side by side, a projector, and
// Llama 2. Only its shapes are of use: it does not compute.
//
// Source: the checkpoint openvla/openvla-7b; timm 0.9.10,
// vit_large_patch14_reg4_dinov2 and vit_so400m_patch14_siglip_224.
type openVLA struct {
	DINO         *tower   `nn:"vision_backbone.featurizer"`
	SigLIP       *tower   `nn:"vision_backbone.fused_featurizer"`
	FC1          nn.Layer `nn:"projector.fc1"`
	FC2          nn.Layer `nn:"projector.fc2"`
	FC3          nn.Layer `nn:"projector.fc3"`
	*llama.Model `nn:"language_model"`
}

// tower is a vision transformer over patches of 14×14 pixels.
type tower struct {
	Class     *autograd.Value `nn:"cls_token"`
	Registers *autograd.Value `nn:"reg_token"`
	Positions *autograd.Value `nn:"pos_embed"`
	Patches   nn.Layer        `nn:"patch_embed.proj"`
	Blocks    []*towerBlock   `nn:"blocks"`
	Norm      *layerNorm      `nn:"norm"`
	Pool      *attnPool       `nn:"attn_pool"`
}

type towerBlock struct {
	Norm1  *layerNorm      `nn:"norm1"`
	QKV    nn.Layer        `nn:"attn.qkv"`
	Proj   nn.Layer        `nn:"attn.proj"`
	Scale1 *autograd.Value `nn:"ls1.scale_factor"` // nil: none
	Norm2  *layerNorm      `nn:"norm2"`
	FC1    nn.Layer        `nn:"mlp.fc1"`
	FC2    nn.Layer        `nn:"mlp.fc2"`
	Scale2 *autograd.Value `nn:"ls2.scale_factor"`
}

// attnPool is SigLIP's pooling by attention, which OpenVLA stores and never uses.
type attnPool struct {
	Latent *autograd.Value `nn:"latent"`
	Q      nn.Layer        `nn:"q"`
	KV     nn.Layer        `nn:"kv"`
	Proj   nn.Layer        `nn:"proj"`
	Norm   *layerNorm      `nn:"norm"`
	FC1    nn.Layer        `nn:"mlp.fc1"`
	FC2    nn.Layer        `nn:"mlp.fc2"`
}

type layerNorm struct {
	Weight *autograd.Value `nn:"weight"`
	Bias   *autograd.Value `nn:"bias"`
}

// conv is a convolution whose windows do not overlap: a matrix for one window. It is
// no *nn.Linear: neither all-linear nor quantisation takes it for one.
type conv struct {
	Weight *autograd.Value `nn:"weight"`
	Bias   *autograd.Value `nn:"bias"`
}

func (c *conv) Affine(*nn.Step) autograd.Affine { return autograd.Affine{W: c.Weight, Bias: c.Bias} }

func (c *conv) Forward(s *nn.Step, x *autograd.Value) *autograd.Value { return x.Affine(c.Affine(s)) }

func meta(shape ...int) *autograd.Value { return autograd.Param(tensor.Meta(tensor.F32, shape...)) }

func newLayerNorm(dim int) *layerNorm { return &layerNorm{meta(dim), meta(dim)} }

// patchSide is the side of a patch in pixels, patches their number in an image.
const (
	patchSide = 14
	patches   = (224 / patchSide) * (224 / patchSide) // that an image is to the language model
)

func newTower(dim, hidden, blocks int, scaled bool) *tower {
	t := &tower{
		Positions: meta(1, patches, dim),
		Patches:   &conv{meta(dim, 3*patchSide*patchSide), meta(dim)},
		Norm:      newLayerNorm(dim),
	}
	for range blocks {
		b := &towerBlock{
			Norm1: newLayerNorm(dim), QKV: nn.NewLinear(dim, 3*dim, true), Proj: nn.NewLinear(dim, dim, true),
			Norm2: newLayerNorm(dim), FC1: nn.NewLinear(dim, hidden, true), FC2: nn.NewLinear(hidden, dim, true),
		}
		if scaled {
			b.Scale1, b.Scale2 = meta(dim), meta(dim)
		}
		t.Blocks = append(t.Blocks, b)
	}
	return t
}

func newOpenVLA(lm *llama.Model) *openVLA {
	const dino, siglip, siglipHidden = 1024, 1152, 4304
	dim := lm.Config.HiddenSize
	m := &openVLA{
		DINO:   newTower(dino, 4*dino, 24, true),
		SigLIP: newTower(siglip, siglipHidden, 27, false),
		FC1:    nn.NewLinear(dino+siglip, 4*(dino+siglip), true),
		FC2:    nn.NewLinear(4*(dino+siglip), dim, true),
		FC3:    nn.NewLinear(dim, dim, true),
		Model:  lm,
	}
	m.DINO.Class, m.DINO.Registers = meta(1, 1, dino), meta(1, 4, dino)
	m.SigLIP.Pool = &attnPool{
		Latent: meta(1, 1, siglip),
		Q:      nn.NewLinear(siglip, siglip, true), KV: nn.NewLinear(siglip, 2*siglip, true), Proj: nn.NewLinear(siglip, siglip, true),
		Norm: newLayerNorm(siglip), FC1: nn.NewLinear(siglip, siglipHidden, true), FC2: nn.NewLinear(siglipHidden, siglip, true),
	}
	return m
}

// vision counts both towers and the projector on b images, and notes whether the
// gradient of what they give is wanted. Of each tower the last block does not run.
func (m *Model) vision(w *counted, b int64) {
	model := newOpenVLA(llama.New(m.Config))
	for _, t := range []struct {
		path   string
		tower  *tower
		before int64 // tokens that stand before the patches
	}{{"vision_backbone.featurizer", model.DINO, 5}, {"vision_backbone.fused_featurizer", model.SigLIP, 0}} {
		layer := func(name string, l nn.Layer, rows int64, dx bool) bool {
			s := l.(nn.Affine).Affine(&nn.Step{}).W.Shape()
			return w.linear(t.path+"."+name, b*rows, int64(s[1]), int64(s[0]), dx)
		}
		wants := layer("patch_embed.proj", t.tower.Patches, patches, false)
		tokens, dim := t.before+patches, int64(t.tower.Norm.Weight.T.Elems())
		for i, block := range t.tower.Blocks[:len(t.tower.Blocks)-1] {
			at := fmt.Sprintf("blocks.%d.", i)
			qkv := layer(at+"attn.qkv", block.QKV, tokens, wants)
			scores := 2 * b * tokens * tokens * dim
			w.forward += 2 * scores
			if qkv {
				w.backward += 4 * scores
			}
			wants = layer(at+"attn.proj", block.Proj, tokens, qkv) || wants
			wants = layer(at+"mlp.fc2", block.FC2, tokens, layer(at+"mlp.fc1", block.FC1, tokens, wants)) || wants
		}
		w.wants = w.wants || wants
	}
	for _, l := range []struct {
		name  string
		layer nn.Layer
	}{{"projector.fc1", model.FC1}, {"projector.fc2", model.FC2}, {"projector.fc3", model.FC3}} {
		s := l.layer.(nn.Affine).Affine(&nn.Step{}).W.Shape()
		w.wants = w.linear(l.name, b*patches, int64(s[1]), int64(s[0]), w.wants)
	}
}
