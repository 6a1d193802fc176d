package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// Methods are the methods of fine-tuning that can be planned.
var Methods = []string{
	"full", "lora", "lora+", "lora-fa", "dora", "adalora", "vera", "loha", "lokr", "oft", "miss",
	"ia3", "ln-tuning", "bitfit", "prompt-tuning", "prefix-tuning", "p-tuning", "houlsby", "pfeiffer", "parallel",
}

// virtual reports whether a method has virtual tokens.
func virtual(method string) bool {
	return method == "prompt-tuning" || method == "prefix-tuning" || method == "p-tuning"
}

const prefix = "base_model.model." // before a module's name in PEFT's files

// layer is one that a method adapts: x [.., in] to [.., out].
type layer struct {
	path    string
	in, out int
}

// layersOf returns the layers that have a low-rank term in an adapter.
func layersOf(a *lora.Adapter) []layer {
	var out []layer
	var l layer
	for name, p := range a.Params() {
		switch s := p.Shape(); {
		case strings.HasSuffix(name, ".lora_A.weight"):
			l = layer{path: strings.TrimSuffix(name, ".lora_A.weight"), in: s[1]}
		case strings.HasSuffix(name, ".lora_B.weight"):
			l.out = s[0]
			out = append(out, l)
		}
	}
	return out
}

// defaultTargets are the layers that PEFT adapts if none are named.
func defaultTargets(method string, given lora.Names, family string) lora.Names {
	if !given.None() {
		return given
	}
	if method == "ia3" {
		return lora.Names{List: []string{"k_proj", "v_proj", "down_proj"}}
	}
	return lora.Names{List: lora.DefaultTargets(family)}
}

// withoutConvolutions excludes OpenVLA's convolutions besides what was excluded.
func withoutConvolutions(n lora.Names) lora.Names {
	const conv = "patch_embed.proj"
	if n.Regex != "" {
		return lora.Names{Regex: "(?:" + n.Regex + `)|.*\.` + conv}
	}
	return lora.Names{List: append(slices.Clone(n.List), conv)}
}

// tensorsOf returns the tensors that a method trains, given LoRA's adapter of the same
// layers, and the size of the file in which PEFT, or AdapterHub, keeps them.
//
// Source: PEFT 0.21, tuners/*/layer.py; adapters 1.3, configuration/adapter_config.py,
// for the bottlenecks with their default reduction factors.
func tensorsOf(m *Model, o Options, a *lora.Adapter) ([]tensorOf, int64, error) {
	var trained, filed []tensorOf
	add := func(name string, shape ...int) {
		trained = append(trained, tensorOf{name, shape})
		filed = append(filed, tensorOf{name, shape})
	}
	r, c := o.LoRA.Rank, m.Config
	kv := c.NumKeyValueHeads * c.HeadDim
	switch o.Method {
	case "lora", "lora+", "lora-fa", "dora":
		for name, p := range a.Params() {
			if o.Method != "lora-fa" || !strings.HasSuffix(name, ".lora_A.weight") {
				trained = append(trained, tensorOf{name, p.Shape()})
			}
		}
		bytes, err := a.FileBytes()
		if o.Method != "dora" || err != nil {
			return trained, bytes, err
		}
		for _, l := range layersOf(a) {
			add(l.path+".lora_magnitude_vector", l.out)
		}
		more, err := fileBytes(filed)
		return trained, bytes + more, err
	case "ln-tuning":
		for name, v := range nn.Params(m.structure()) {
			if strings.Contains(name, "norm.") {
				add(prefix+strings.TrimSuffix(name, "weight")+"ln_tuning_layers.weight", v.Shape()...)
			}
		}
	case "prompt-tuning":
		add("prompt_embeddings", o.VirtualTokens, c.HiddenSize)
	case "p-tuning":
		add("prompt_embeddings", o.VirtualTokens, c.HiddenSize)
		for range 3 { // of the encoder, whose output alone is in the file
			trained = append(trained, tensorOf{"weight", tensor.Shape{c.HiddenSize, c.HiddenSize}}, tensorOf{"bias", tensor.Shape{c.HiddenSize}})
		}
	case "prefix-tuning":
		add("prompt_embeddings", o.VirtualTokens, 2*c.NumHiddenLayers*kv)
	case "houlsby", "pfeiffer", "parallel":
		places, width := []string{"output_adapters"}, c.HiddenSize/16
		switch o.Method {
		case "houlsby":
			places = []string{"attention_adapters", "output_adapters"}
		case "parallel":
			width = c.HiddenSize / 2
		}
		for i := range c.NumHiddenLayers {
			for _, place := range places {
				path := fmt.Sprintf("model.layers.%d.%s.adapters.adapter.", i, place)
				add(path+"adapter_down.0.weight", width, c.HiddenSize)
				add(path+"adapter_down.0.bias", width)
				add(path+"adapter_up.weight", c.HiddenSize, width)
				add(path+"adapter_up.bias", c.HiddenSize)
			}
		}
	case "vera":
		var in, out int
		for _, l := range layersOf(a) {
			add(l.path+".vera_lambda_b", l.out)
			add(l.path+".vera_lambda_d", r)
			in, out = max(in, l.in), max(out, l.out)
		}
		filed = append(filed, tensorOf{"base_model.vera_A", tensor.Shape{r, in}}, tensorOf{"base_model.vera_B", tensor.Shape{out, r}})
	default:
		for _, l := range layersOf(a) {
			switch o.Method {
			case "adalora":
				add(l.path+".lora_A", r, l.in)
				add(l.path+".lora_B", l.out, r)
				add(l.path+".lora_E", r, 1)
			case "loha":
				for _, w := range []string{"1", "2"} {
					add(l.path+".hada_w"+w+"_a", l.out, r)
					add(l.path+".hada_w"+w+"_b", r, l.in)
				}
			case "lokr":
				// kron(w1, w2), each side of the matrix split into two factors as near to each
				// other as can be.
				in1, in2 := factors(l.in)
				out1, out2 := factors(l.out)
				add(l.path+".lokr_w1", out1, in1)
				if 2*r < max(out2, in2) {
					add(l.path+".lokr_w2_a", out2, r)
					add(l.path+".lokr_w2_b", r, in2)
				} else {
					add(l.path+".lokr_w2", out2, in2)
				}
			case "oft":
				const block = 32
				if l.in%block != 0 {
					return nil, 0, fmt.Errorf("%s: %d inputs are not in blocks of %d", l.path, l.in, block)
				}
				add(l.path+".oft_R.weight", l.in/block, block*(block-1)/2)
			case "miss":
				add(l.path+".miss_block", r, l.out)
			case "ia3":
				if strings.HasSuffix(l.path, ".down_proj") { // feed-forward: scales the input
					add(l.path+".ia3_l", 1, l.in)
				} else {
					add(l.path+".ia3_l", l.out, 1)
				}
			case "bitfit":
				if hasBias(m, strings.TrimPrefix(l.path, prefix)) {
					add(l.path+".beft_bias", 1, l.out)
				}
			}
		}
	}
	if trained == nil {
		return nil, 0, fmt.Errorf("%s finds nothing to train in the model", o.Method)
	}
	bytes, err := fileBytes(filed)
	return trained, bytes, err
}

// factors returns the two factors of n that are nearest to each other, the smaller first.
func factors(n int) (small, large int) {
	for d := 1; d*d <= n; d++ {
		if n%d == 0 {
			small = d
		}
	}
	return small, n / small
}

func hasBias(m *Model, path string) bool {
	for name := range nn.Params(m.structure()) {
		if name == path+".bias" {
			return true
		}
	}
	return false
}

// fileBytes returns the size of a safetensors file of tensors in F32.
func fileBytes(tensors []tensorOf) (int64, error) {
	var entries []safetensors.Entry
	for _, t := range tensors {
		entries = append(entries, safetensors.Entry{Name: t.name, DType: tensor.F32, Shape: t.shape})
	}
	return safetensors.Size(entries, map[string]string{"format": "pt"})
}
