package tenon

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/format/gguf"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// ropeFactors is the tensor in which llama.cpp keeps Llama 3's scaling of RoPE.
const ropeFactors = "rope_freqs.weight"

// className is the transformers class by GGUF's general.architecture, which is also
// the model_type.
var className = map[string]string{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}

// configOfGGUF returns the configuration that a GGUF file describes, written as a
// config.json first, so that there is one reader of configurations.
func configOfGGUF(f *gguf.File) (llama.Config, error) {
	fail := func(err error) (llama.Config, error) { return llama.Config{}, err }
	arch, err := f.String("general.architecture")
	if err != nil {
		return fail(err)
	}
	class, ok := className[arch]
	if !ok {
		return fail(fmt.Errorf("%s: general.architecture is %q, want one of %s", f.Path(), arch, strings.Join(slices.Sorted(maps.Keys(className)), ", ")))
	}
	embed, ok := f.Tensor("token_embd.weight")
	if !ok || len(embed.Shape) != 2 {
		return fail(fmt.Errorf("%s: tensor \"token_embd.weight\": want a matrix, one row a token", f.Path()))
	}
	has := func(name string) bool { _, ok := f.Tensor(name); return ok }

	config := map[string]any{
		"architectures": []string{class}, "model_type": arch, "hidden_act": "silu",
		"vocab_size":          embed.Shape[0],
		"tie_word_embeddings": !has("output.weight"),
		"attention_bias":      has("blk.0.attn_q.bias"),
		"mlp_bias":            has("blk.0.ffn_gate.bias"),
		"torch_dtype":         "float32",
	}
	var errs []error
	// number reads a key; absent says whether it may be missing.
	number := func(key string, absent bool) (int, bool) {
		n, err := f.Uint(key)
		if err != nil && !(absent && errors.Is(err, gguf.ErrNoKey)) {
			errs = append(errs, err)
		}
		return n, err == nil
	}
	// JSON has no other numbers than finite ones.
	float := func(key string) (float64, error) {
		v, err := f.Float(key)
		if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
			err = fmt.Errorf("%s: key %q is %g, want a finite number", f.Path(), key, v)
		}
		return v, err
	}
	for _, k := range []struct {
		key, gguf string
		absent    bool
	}{
		{"hidden_size", arch + ".embedding_length", false},
		{"intermediate_size", arch + ".feed_forward_length", false},
		{"num_hidden_layers", arch + ".block_count", false},
		{"num_attention_heads", arch + ".attention.head_count", false},
		{"num_key_value_heads", arch + ".attention.head_count_kv", true},
		{"head_dim", arch + ".attention.key_length", true},
		{"max_position_embeddings", arch + ".context_length", true},
		{"bos_token_id", "tokenizer.ggml.bos_token_id", true},
		{"eos_token_id", "tokenizer.ggml.eos_token_id", true},
		{"pad_token_id", "tokenizer.ggml.padding_token_id", true},
	} {
		if n, ok := number(k.gguf, k.absent); ok {
			config[k.key] = n
		}
	}
	eps, err := float(arch + ".attention.layer_norm_rms_epsilon")
	if err != nil {
		errs = append(errs, err)
	}
	// The file's F32 stands for the decimal number that was meant.
	config["rms_norm_eps"] = json.Number(fmt.Sprint(float32(eps)))
	// As transformers 4 writes it, which 5 reads too.
	config["rope_theta"] = 10000.0
	switch theta, err := float(arch + ".rope.freq_base"); {
	case err == nil:
		config["rope_theta"] = theta
	case !errors.Is(err, gguf.ErrNoKey):
		errs = append(errs, err)
	}
	key := arch + ".rope.scaling.type"
	scaling, err := f.String(key)
	if errors.Is(err, gguf.ErrNoKey) {
		// A factor alone, also under its old name, is linear scaling to llama.cpp.
		scaling, err = "none", nil
		for _, k := range []string{arch + ".rope.scaling.factor", arch + ".rope.scale_linear"} {
			v, bad := float(k)
			if errors.Is(bad, gguf.ErrNoKey) {
				continue
			}
			if bad != nil {
				errs = append(errs, bad)
			} else if v != 0 && v != 1 {
				config["rope_scaling"] = map[string]any{"rope_type": "linear", "factor": v}
			}
			break
		}
	}
	for k, neutral := range map[string]float64{"attn_factor": 1, "yarn_ext_factor": 1, "yarn_log_multiplier": 0} {
		k = arch + ".rope.scaling." + k
		// Minus one is llama.cpp's word for the usual.
		if v, bad := float(k); bad == nil && v != neutral && v != -1 {
			errs = append(errs, fmt.Errorf("%s: key %q is %g, which is not supported", f.Path(), k, v))
		} else if bad != nil && !errors.Is(bad, gguf.ErrNoKey) {
			errs = append(errs, bad)
		}
	}
	if causal, bad := f.Bool(arch + ".attention.causal"); bad == nil && !causal {
		errs = append(errs, fmt.Errorf("%s: key %q is false, which is not supported", f.Path(), arch+".attention.causal"))
	}
	switch {
	case config["rope_scaling"] != nil || err == nil && scaling == "none":
	case err != nil:
		errs = append(errs, err)
	case scaling == "linear" || scaling == "yarn":
		factor, err := float(arch + ".rope.scaling.factor")
		if err != nil {
			errs = append(errs, err)
		}
		rope := map[string]any{"rope_type": scaling, "factor": factor}
		if scaling == "yarn" {
			if n, ok := number(arch+".rope.scaling.original_context_length", true); ok {
				rope["original_max_position_embeddings"] = n
			}
			for theirs, ours := range map[string]string{"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow", "yarn_attn_factor": "attention_factor"} {
				if v, err := float(arch + ".rope.scaling." + theirs); err == nil {
					rope[ours] = v
				} else if !errors.Is(err, gguf.ErrNoKey) {
					errs = append(errs, err)
				}
			}
		}
		config["rope_scaling"] = rope
	default:
		errs = append(errs, fmt.Errorf("%s: key %q is %q, want none, linear or yarn", f.Path(), key, scaling))
	}
	if n, ok := number(arch+".expert_count", true); ok && n > 0 {
		errs = append(errs, fmt.Errorf("%s: key %q is %d: mixtures of experts are not supported", f.Path(), arch+".expert_count", n))
	}
	if err := oneLine(errs); err != nil {
		return fail(err)
	}

	text, err := json.Marshal(config)
	if err != nil {
		return fail(err)
	}
	c, err := llama.ParseConfig(text)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", f.Path(), err))
	}
	for _, key := range []string{arch + ".rope.dimension_count", arch + ".attention.value_length"} {
		if n, ok := number(key, true); ok && n != c.HeadDim {
			errs = append(errs, fmt.Errorf("%s: key %q is %d, want the head size %d", f.Path(), key, n, c.HeadDim))
		}
	}
	if t, ok := f.Tensor(ropeFactors); ok {
		if !slices.Equal(t.Shape, []int{c.HeadDim / 2}) {
			errs = append(errs, fmt.Errorf("%s: tensor %q has shape %v, want [%d]", f.Path(), ropeFactors, t.Shape, c.HeadDim/2))
		} else {
			c.RoPE.Divisors = make([]float32, c.HeadDim/2)
			errs = append(errs, f.Decode(c.RoPE.Divisors, ropeFactors))
		}
	}
	if key := arch + ".attention.sliding_window"; len(errs) == 0 {
		if n, ok := number(key, true); ok && n > 0 {
			c.Warnings = append(c.Warnings, fmt.Sprintf("key %q is not heeded: llama.cpp has no window for this architecture", key))
		}
	}
	return c, oneLine(errs)
}

// oneLine joins errors into one of one line.
func oneLine(errs []error) error {
	var list []string
	for _, err := range errs {
		if err != nil {
			list = append(list, err.Error())
		}
	}
	if list == nil {
		return nil
	}
	return nn.Problems(list)
}

// ggufSource gives a GGUF file's tensors the names, and the order of rows, that
// a Hugging Face checkpoint has.
type ggufSource struct {
	f      *gguf.File
	heads  map[string]int    // of q_proj and k_proj: into how many heads the rows are permuted
	stored map[string]string // name in the file by name here
	names  []string
}

func newGGUFSource(f *gguf.File, c llama.Config) *ggufSource {
	s := &ggufSource{f: f, heads: map[string]int{}, stored: map[string]string{}}
	for _, t := range f.Tensors() {
		if t.Name == ropeFactors {
			continue
		}
		name, ok := gguf.HFName(t.Name)
		if !ok {
			name = t.Name // reported as unexpected
		}
		s.stored[name] = t.Name
		s.names = append(s.names, name)
	}
	if permuted, _ := gguf.Permuted(c.ModelType); permuted {
		for i := range c.NumHiddenLayers {
			for _, what := range []string{"weight", "bias"} {
				s.heads[fmt.Sprintf("model.layers.%d.self_attn.q_proj.%s", i, what)] = c.NumAttentionHeads
				s.heads[fmt.Sprintf("model.layers.%d.self_attn.k_proj.%s", i, what)] = c.NumKeyValueHeads
			}
		}
	}
	return s
}

// Names returns the Hugging Face names of all tensors.
func (s *ggufSource) Names() []string { return s.names }

// Shape returns a tensor's shape.
func (s *ggufSource) Shape(name string) ([]int, bool) {
	t, ok := s.f.Tensor(s.stored[name])
	return t.Shape, ok
}

// PathOf returns the file.
func (s *ggufSource) PathOf(string) string { return s.f.Path() }

// Stored returns a matrix as the file has it, rows in Hugging Face's order, and gives
// the pages that were read back to the system. A matrix of F32 is decoded.
func (s *ggufSource) Stored(dev tensor.Device, name string) (*tensor.Tensor, error) {
	stored := s.stored[name]
	t, err := s.f.Decodable(stored)
	if err != nil {
		return nil, err
	}
	if len(t.Shape) != 2 || !stays(t.DType) {
		return nil, nil
	}
	defer s.f.Release(stored)
	return tensor.MakeStored(dev, t.DType, t.Shape, func(dst []byte) error { return s.copyRows(dst, t, s.heads[name]) })
}

// copyRows writes the rows of a stored matrix to dst, those of permuted heads in
// Hugging Face's order; heads 0: none are.
func (s *ggufSource) copyRows(dst []byte, t gguf.Tensor, heads int) error {
	rows := t.Shape[0]
	if heads > 0 && rows%(2*heads) != 0 {
		return fmt.Errorf("%s: tensor %q has shape %v, want rows of %d heads", s.f.Path(), t.Name, t.Shape, heads)
	}
	return s.f.View(t.Name, func(data []byte) error {
		if heads > 0 {
			gguf.UnpermuteRows(dst, data, rows, t.Bytes/rows, heads)
		} else {
			copy(dst, data)
		}
		return nil
	})
}

// Decode writes a tensor's elements to dst, rows in Hugging Face's order, and
// gives the pages that were read back to the system.
func (s *ggufSource) Decode(dst []float32, name string) error {
	stored := s.stored[name]
	defer s.f.Release(stored)
	heads, permuted := s.heads[name]
	if !permuted {
		return s.f.Decode(dst, stored)
	}
	t, err := s.f.Decodable(stored)
	if err != nil {
		return err
	}
	rows := t.Shape[0]
	if rows%(2*heads) != 0 || tensor.Shape(t.Shape).Elems() != len(dst) {
		return fmt.Errorf("%s: tensor %q has shape %v, want rows of %d heads", s.f.Path(), stored, t.Shape, heads)
	}
	if len(t.Shape) == 1 { // a bias: each element is a row, though a block may hold several
		in := make([]float32, len(dst))
		if err := s.f.Decode(in, stored); err != nil {
			return err
		}
		half := rows / heads / 2
		for h := range heads {
			for i := range 2 {
				for j := range half {
					dst[(2*h+i)*half+j] = in[2*(h*half+j)+i]
				}
			}
		}
		return nil
	}
	ordered := make([]byte, t.Bytes)
	if err := s.copyRows(ordered, t, heads); err != nil {
		return err
	}
	t.DType.Decode(dst, ordered)
	return nil
}
