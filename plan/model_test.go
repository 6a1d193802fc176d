package plan

import (
	"testing"

	"github.com/tenon-ml/tenon/nn/llama"
)

// byArithmetic counts a language model's parameters from its configuration alone.
func byArithmetic(c llama.Config) Parameters {
	var p Parameters
	hidden, layers := int64(c.HiddenSize), int64(c.NumHiddenLayers)
	q, kv := int64(c.NumAttentionHeads*c.HeadDim), int64(c.NumKeyValueHeads*c.HeadDim)
	p.Embedding = int64(c.VocabSize) * hidden
	p.Attention = layers * (2*hidden*q + 2*hidden*kv)
	p.MLP = layers * 3 * hidden * int64(c.IntermediateSize)
	p.Norm = (2*layers + 1) * hidden
	if c.ModelType == "qwen2" {
		p.Attention += layers * (q + 2*kv)
	}
	if c.ModelType == "qwen3" {
		p.Norm += layers * 2 * int64(c.HeadDim)
	}
	if !c.TieWordEmbeddings {
		p.Head = p.Embedding
	}
	p.Total = p.Embedding + p.Attention + p.MLP + p.Norm + p.Head
	return p
}

func model(t *testing.T, name string) *Model {
	t.Helper()
	m, err := ParseModel([]byte(Configs[name]))
	if err != nil {
		t.Fatal(name, err)
	}
	return m
}

func TestParameters(t *testing.T) {
	for name, want := range map[string]int64{
		"llama2-7b": 6_738_415_616, "llama2-13b": 13_015_864_320, "llama-65b": 65_285_660_672, "openvla-7b": 7_541_237_184,
	} {
		m := model(t, name)
		got := countParameters(m.structure())
		if got.Total != want {
			t.Errorf("%s: %d parameters, want %d", name, got.Total, want)
		}
		if got.Total != got.Embedding+got.Attention+got.MLP+got.Norm+got.Head+got.Vision+got.Projector {
			t.Errorf("%s: the parts of %+v are not the total", name, got)
		}
		arithmetic := byArithmetic(m.Config)
		if m.Vision {
			// DINOv2, SigLIP and the projector, each computed from the checkpoint's shapes.
			arithmetic.Vision, arithmetic.Projector = 303_230_976+427_680_704, 71_385_600
			arithmetic.Total += arithmetic.Vision + arithmetic.Projector
		}
		if got != arithmetic {
			t.Errorf("%s: the structure has %+v, arithmetic %+v", name, got, arithmetic)
		}
	}
}
