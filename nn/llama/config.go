// Package llama is the Llama family of language models: Llama 2 and 3, SmolLM2
// and what else has their shape. Configuration keys and parameter names are
// those of Hugging Face checkpoints.
package llama

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

// Config is a model's config.json. Keys that it lacks have the values that
// transformers' LlamaConfig gives them.
type Config struct {
	VocabSize             int     `json:"vocab_size"`
	HiddenSize            int     `json:"hidden_size"`
	IntermediateSize      int     `json:"intermediate_size"`
	NumHiddenLayers       int     `json:"num_hidden_layers"`
	NumAttentionHeads     int     `json:"num_attention_heads"`
	NumKeyValueHeads      int     `json:"num_key_value_heads"`
	HeadDim               int     `json:"head_dim"`
	HiddenAct             string  `json:"hidden_act"`
	MaxPositionEmbeddings int     `json:"max_position_embeddings"`
	RMSNormEps            float64 `json:"rms_norm_eps"`
	TieWordEmbeddings     bool    `json:"tie_word_embeddings"`
	AttentionBias         bool    `json:"attention_bias"`
	MLPBias               bool    `json:"mlp_bias"`

	// RoPE is read from rope_theta and rope_scaling, as transformers 4 writes
	// them, or from rope_parameters, as 5 does.
	RoPE RoPE `json:"-"`

	// BOS and EOS are the ids of bos_token_id and eos_token_id, which may be a
	// list.
	BOS int32   `json:"-"`
	EOS []int32 `json:"-"`

	// Raw is the file as it was, with all its keys.
	Raw map[string]json.RawMessage `json:"-"`
}

// RoPE says how positions become angles.
type RoPE struct {
	Type   string  `json:"rope_type"` // "default", "linear" or "llama3"
	Theta  float64 `json:"rope_theta"`
	Factor float64 `json:"factor"`

	LowFreqFactor                 float64 `json:"low_freq_factor"`
	HighFreqFactor                float64 `json:"high_freq_factor"`
	OriginalMaxPositionEmbeddings float64 `json:"original_max_position_embeddings"`

	// Divisors divide the frequencies one by one, where a GGUF file brings them
	// as rope_freqs.
	Divisors []float32 `json:"-"`
}

func defaults() Config {
	return Config{
		VocabSize: 32000, HiddenSize: 4096, IntermediateSize: 11008, NumHiddenLayers: 32,
		NumAttentionHeads: 32, HiddenAct: "silu", MaxPositionEmbeddings: 2048, RMSNormEps: 1e-6,
		RoPE: RoPE{Type: "default", Theta: 10000, Factor: 1},
		BOS:  1, EOS: []int32{2},
	}
}

// ReadConfig reads a config.json.
func ReadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	c, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// ParseConfig reads the text of a config.json. What it asks for and this package
// does not have is an error that names the key.
func ParseConfig(data []byte) (Config, error) {
	c := defaults()
	if err := json.Unmarshal(data, &c.Raw); err != nil {
		return c, err
	}
	if err := json.Unmarshal(dropNulls(c.Raw), &c); err != nil {
		return c, err
	}
	var rest struct {
		ModelType     string  `json:"model_type"`
		RopeTheta     float64 `json:"rope_theta"`
		RopeScaling   *ropeV4 `json:"rope_scaling"`
		RopeParams    *ropeV4 `json:"rope_parameters"`
		BOS           *int32  `json:"bos_token_id"`
		EOS           ids     `json:"eos_token_id"`
		PretrainingTP int     `json:"pretraining_tp"`
		Quantization  any     `json:"quantization_config"`
	}
	if err := json.Unmarshal(dropNulls(c.Raw), &rest); err != nil {
		return c, err
	}
	if rest.ModelType != "llama" {
		return c, fmt.Errorf("model_type is %q, want \"llama\"", rest.ModelType)
	}
	if rest.Quantization != nil {
		return c, errors.New("quantization_config is not supported")
	}
	if rest.RopeTheta != 0 {
		c.RoPE.Theta = rest.RopeTheta
	}
	for _, r := range []*ropeV4{rest.RopeScaling, rest.RopeParams} {
		if r != nil {
			r.apply(&c.RoPE)
		}
	}
	if rest.BOS != nil {
		c.BOS = *rest.BOS
	}
	if rest.EOS != nil {
		c.EOS = rest.EOS
	}
	if c.NumKeyValueHeads == 0 {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	return c, c.Check()
}

// ropeV4 is rope_scaling or rope_parameters; older files say "type".
type ropeV4 struct {
	RoPE
	OldType string `json:"type"`
}

func (r *ropeV4) apply(c *RoPE) {
	theta := c.Theta
	*c = r.RoPE
	if c.Theta == 0 {
		c.Theta = theta
	}
	if c.Type == "" {
		c.Type = r.OldType
	}
	if c.Type == "" {
		c.Type = "default"
	}
}

// ids is one id or a list of them.
type ids []int32

func (l *ids) UnmarshalJSON(data []byte) error {
	var one int32
	if json.Unmarshal(data, &one) == nil {
		*l = ids{one}
		return nil
	}
	return json.Unmarshal(data, (*[]int32)(l))
}

// dropNulls returns the object without its keys that are null: transformers
// takes those for absent.
func dropNulls(m map[string]json.RawMessage) []byte {
	out := map[string]json.RawMessage{}
	for k, v := range m {
		if string(v) != "null" {
			out[k] = v
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		panic(err) // what was JSON is JSON
	}
	return data
}

// Check returns an error that lists what is wrong with the configuration, by
// keys.
func (c *Config) Check() error {
	var bad []string
	size := func(key string, v, most int) {
		if v <= 0 || v > most {
			bad = append(bad, fmt.Sprintf("%s is %d, want 1 to %d", key, v, most))
		}
	}
	size("vocab_size", c.VocabSize, 1<<24)
	size("hidden_size", c.HiddenSize, 1<<20)
	size("intermediate_size", c.IntermediateSize, 1<<22)
	size("num_hidden_layers", c.NumHiddenLayers, 1<<14)
	size("num_attention_heads", c.NumAttentionHeads, 1<<14)
	size("num_key_value_heads", c.NumKeyValueHeads, 1<<14)
	size("head_dim", c.HeadDim, 1<<16)
	if bad == nil {
		if c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
			bad = append(bad, fmt.Sprintf("num_attention_heads is %d, want a multiple of num_key_value_heads, %d", c.NumAttentionHeads, c.NumKeyValueHeads))
		}
		if c.HeadDim%2 != 0 {
			bad = append(bad, fmt.Sprintf("head_dim is %d, want an even number", c.HeadDim))
		}
	}
	if c.HiddenAct != "silu" {
		bad = append(bad, fmt.Sprintf("hidden_act is %q, want \"silu\"", c.HiddenAct))
	}
	if !(c.RMSNormEps > 0 && c.RMSNormEps < 1) {
		bad = append(bad, fmt.Sprintf("rms_norm_eps is %g, want more than 0 and less than 1", c.RMSNormEps))
	}
	r := c.RoPE
	if !(r.Theta > 0) || math.IsInf(r.Theta, 0) {
		bad = append(bad, fmt.Sprintf("rope_theta is %g, want a positive number", r.Theta))
	}
	switch known := []string{"default", "linear", "llama3"}; {
	case !slices.Contains(known, r.Type):
		bad = append(bad, fmt.Sprintf("rope_type is %q, want one of %s", r.Type, strings.Join(known, ", ")))
	case r.Type != "default" && !(r.Factor >= 1):
		bad = append(bad, fmt.Sprintf("rope scaling factor is %g, want 1 or more", r.Factor))
	case r.Type == "llama3" && !(r.LowFreqFactor > 0 && r.HighFreqFactor > r.LowFreqFactor && r.OriginalMaxPositionEmbeddings > 0):
		bad = append(bad, "rope_type llama3 wants low_freq_factor < high_freq_factor and original_max_position_embeddings")
	}
	if bad != nil {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}

// frequencies returns the angle per position of each pair of a head, in F32, as
// transformers computes them.
func (r RoPE) frequencies(headDim int) []float32 {
	inv := make([]float32, headDim/2)
	for i := range inv {
		e := float32(2*i) / float32(headDim)
		f := 1 / float32(math.Pow(r.Theta, float64(e)))
		switch r.Type {
		case "linear":
			f /= float32(r.Factor)
		case "llama3":
			f = r.llama3(f)
		}
		if r.Divisors != nil {
			f /= r.Divisors[i]
		}
		inv[i] = f
	}
	return inv
}

// llama3 lengthens the waves that are long beside the context that the model was
// first trained with, leaves the short ones, and blends between.
func (r RoPE) llama3(f float32) float32 {
	old := float32(r.OriginalMaxPositionEmbeddings)
	wave := 2 * math.Pi / f
	scaled := f / float32(r.Factor)
	switch {
	case wave > old/float32(r.LowFreqFactor):
		return scaled
	case wave < old/float32(r.HighFreqFactor):
		return f
	}
	smooth := (old/wave - float32(r.LowFreqFactor)) / float32(r.HighFreqFactor-r.LowFreqFactor)
	return float32((1-smooth)*scaled) + float32(smooth*f)
}
