// Package plan predicts what training a model takes before anything runs:
// parameters, memory, time, and the size of what is written. Bytes and parameters
// are exact; a GB is 10⁹ bytes.
package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// Model is what the plan knows of a model: its shapes, without contents.
type Model struct {
	Config llama.Config // of the language model
	Vision bool         // OpenVLA: two vision towers and a projector stand before it

	// Stored returns the type that a tensor has in the model's files.
	Stored func(name string) tensor.DType
}

// torchTypes are the names of element types in a config.json.
var torchTypes = map[string]tensor.DType{"float32": tensor.F32, "float16": tensor.F16, "bfloat16": tensor.BF16}

// ParseModel reads the text of a config.json: of a language model of the Llama
// family, or of OpenVLA with its two vision towers.
func ParseModel(data []byte) (*Model, error) {
	var head struct {
		ModelType string          `json:"model_type"`
		DType     string          `json:"dtype"`
		Torch     string          `json:"torch_dtype"`
		Towers    string          `json:"vision_backbone_id"`
		Text      json.RawMessage `json:"text_config"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, err
	}
	m := &Model{}
	if m.Vision = head.ModelType == "openvla"; m.Vision {
		if head.Towers != "dinosiglip-vit-so-224px" {
			return nil, fmt.Errorf("vision_backbone_id is %q, want \"dinosiglip-vit-so-224px\"", head.Towers)
		}
		if head.Text == nil {
			return nil, fmt.Errorf("text_config is missing")
		}
		data = head.Text
	}
	stored := tensor.F32
	if name := head.Torch + head.DType; name != "" { // transformers 4 writes the one, 5 the other
		var ok bool
		if stored, ok = torchTypes[strings.TrimPrefix(name, "torch.")]; !ok {
			return nil, fmt.Errorf("torch_dtype is %q, want one of %s", name, strings.Join(slices.Sorted(maps.Keys(torchTypes)), ", "))
		}
	}
	m.Stored = func(string) tensor.DType { return stored }
	var err error
	m.Config, err = llama.ParseConfig(data)
	return m, err
}

// structure returns the model itself, with shapes and no contents.
func (m *Model) structure() nn.CausalLM {
	lm := llama.New(m.Config)
	if m.Vision {
		return newOpenVLA(lm)
	}
	return lm
}

// ofVision reports whether a tensor, or an adapter, is of a vision tower or the projector, which
// do not run.
func ofVision(name string) bool {
	return strings.Contains(name, "vision_backbone.") || strings.Contains(name, "projector.")
}

// Parameters are those of a model by part; attention and MLP with their biases. A
// tied head counts once, as embedding. With vision towers the first five are the
// language model's.
type Parameters struct {
	Total     int64 `json:"total"`
	Embedding int64 `json:"embedding"`
	Attention int64 `json:"attention"`
	MLP       int64 `json:"mlp"`
	Norm      int64 `json:"norm"`
	Head      int64 `json:"head"`
	Vision    int64 `json:"vision,omitempty"`
	Projector int64 `json:"projector,omitempty"`
}

func countParameters(model any) Parameters {
	var p Parameters
	for name, v := range nn.Params(model) {
		n := int64(v.T.Elems())
		p.Total += n
		switch {
		case strings.HasPrefix(name, "vision_backbone."):
			p.Vision += n
		case strings.HasPrefix(name, "projector."):
			p.Projector += n
		case strings.Contains(name, "embed_tokens."):
			p.Embedding += n
		case strings.Contains(name, "norm."):
			p.Norm += n
		case strings.Contains(name, ".self_attn."):
			p.Attention += n
		case strings.Contains(name, ".mlp."):
			p.MLP += n
		default:
			p.Head += n
		}
	}
	return p
}

// Held returns the model of a configuration whose tensors are held in the types that
// are given by their names.
func Held(c llama.Config, types map[string]tensor.DType) *Model {
	return &Model{Config: c, Stored: func(name string) tensor.DType {
		if dt, ok := types[name]; ok {
			return dt
		}
		return tensor.F32
	}}
}
