// Package llama is the Llama family of language models: Llama 2 and 3, SmolLM2,
// Mistral, Qwen2, Qwen3, and what else has their shape. Configuration keys and
// parameter names are those of Hugging Face checkpoints.
package llama

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/mapped"
)

// Config is a model's config.json. Keys that it lacks have the values that
// transformers' configuration of the family gives them.
type Config struct {
	ModelType             string  `json:"model_type"` // "llama", "mistral", "qwen2" or "qwen3"
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

	// A layer with a sliding window attends to that many last tokens, its own
	// included. Which layers have it is the family's rule.
	SlidingWindow    int      `json:"sliding_window"` // 0: none
	UseSlidingWindow bool     `json:"use_sliding_window"`
	MaxWindowLayers  int      `json:"max_window_layers"`
	LayerTypes       []string `json:"layer_types"`

	// RoPE is read from rope_theta and rope_scaling, as transformers 4 writes
	// them, or from rope_parameters, as 5 does.
	RoPE RoPE `json:"-"`

	// Pad is the padding token, whose embedding gets no gradient; negative ids count
	// from the end of the vocabulary. nil: none.
	Pad *int32 `json:"pad_token_id"`

	// BOS and EOS are the ids of bos_token_id and eos_token_id, which may be a
	// list.
	BOS int32   `json:"-"`
	EOS []int32 `json:"-"`

	// Raw is the file as it was, with all its keys.
	Raw map[string]json.RawMessage `json:"-"`

	// Warnings tell of keys that transformers ignores for the family.
	Warnings []string `json:"-"`
}

// maxFile bounds the bytes of a config.json; they have a few thousand.
const maxFile = 1 << 24

// ReadConfig reads a config.json.
func ReadConfig(path string) (Config, error) {
	data, err := mapped.ReadFile(path, maxFile)
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
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return Config{}, err
	}
	text := dropNulls(raw)
	var head struct {
		ModelType    string `json:"model_type"`
		Quantization *struct {
			Method string `json:"quant_method"`
		} `json:"quantization_config"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return Config{}, err
	}
	f, ok := families[head.ModelType]
	if !ok {
		return Config{}, fmt.Errorf("model_type is %q, want one of %s", head.ModelType, strings.Join(slices.Sorted(maps.Keys(families)), ", "))
	}
	// What is quantised, and how, the tensors themselves say. The first versions of
	// bitsandbytes wrote no method.
	if q := head.Quantization; q != nil && q.Method != "" && q.Method != "bitsandbytes" {
		return Config{}, fmt.Errorf("quantization_config: quant_method %q is not supported, want bitsandbytes", q.Method)
	}
	c := f.defaults
	c.Raw = raw
	var bad []string
	for key, rule := range f.nulls {
		if v, ok := raw[key]; ok && string(v) == "null" {
			if rule == nil {
				bad = append(bad, key+" is null, want a number")
			} else {
				rule(&c)
			}
		}
	}
	var rest struct {
		BOS *int32 `json:"bos_token_id"`
		EOS ids    `json:"eos_token_id"`
	}
	for _, err := range []error{json.Unmarshal(text, &c), json.Unmarshal(text, &rest), c.readRoPE(text)} {
		if err != nil {
			return c, err
		}
	}
	if v, ok := raw["num_key_value_heads"]; ok && string(v) == "0" {
		bad = append(bad, "num_key_value_heads is 0, want 1 or more")
	}
	if v, ok := raw["attention_dropout"]; ok && !slices.Contains([]string{"null", "0", "0.0"}, string(v)) {
		c.Warnings = append(c.Warnings, "attention_dropout is not applied in training")
	}
	if v, ok := raw["sliding_window"]; ok && string(v) == "0" && c.ModelType != "llama" {
		bad = append(bad, "sliding_window is 0, want 1 or more, or null")
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
	for _, key := range f.refused {
		if v, ok := raw[key]; ok && string(v) != "null" {
			bad = append(bad, fmt.Sprintf("%s is not supported for %s models", key, c.ModelType))
		}
	}
	if p := c.RoPE.Partial; p != 0 && p != 1 {
		if c.RoPE.Type != "default" {
			bad = append(bad, fmt.Sprintf("partial_rotary_factor is %g, which has no meaning with rope_type %s", p, c.RoPE.Type))
		} else {
			c.Warnings = append(c.Warnings, fmt.Sprintf("partial_rotary_factor is ignored: %s models do not have it", c.ModelType))
		}
	}
	for _, key := range f.ignored {
		if v, ok := raw[key]; ok && !slices.Contains([]string{"null", "false", "1", "1.0"}, string(v)) {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s is ignored: %s models do not have it", key, c.ModelType))
		}
	}
	if err := c.Check(); err != nil {
		bad = append(bad, err.Error())
	}
	if bad != nil {
		slices.Sort(bad)
		return c, errors.New(strings.Join(bad, "; "))
	}
	return c, nil
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

// dropNulls returns the object without its keys that are null, which transformers
// takes for absent, and without those that are not in small letters: encoding/json
// would take Hidden_Size for hidden_size.
func dropNulls(m map[string]json.RawMessage) []byte {
	out := map[string]json.RawMessage{}
	small := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' }
	for k, v := range m {
		if string(v) != "null" && strings.TrimFunc(k, small) == "" {
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
		if c.HeadDim%2 != 0 || c.RoPE.Type == "dynamic" && c.HeadDim == 2 {
			bad = append(bad, fmt.Sprintf("head_dim is %d, want an even number, more than 2 with rope_type dynamic", c.HeadDim))
		}
		if c.ModelType == "llama" && c.HiddenSize%c.NumAttentionHeads != 0 {
			bad = append(bad, fmt.Sprintf("hidden_size is %d, want a multiple of num_attention_heads, %d", c.HiddenSize, c.NumAttentionHeads))
		}
	}
	if c.HiddenAct != "silu" {
		bad = append(bad, fmt.Sprintf("hidden_act is %q, want \"silu\"", c.HiddenAct))
	}
	if !(c.RMSNormEps > 0 && c.RMSNormEps < 1) {
		bad = append(bad, fmt.Sprintf("rms_norm_eps is %g, want more than 0 and less than 1", c.RMSNormEps))
	}
	if c.Pad != nil && (int(*c.Pad) >= c.VocabSize || int(*c.Pad) < -c.VocabSize) {
		bad = append(bad, fmt.Sprintf("pad_token_id is %d, want one within the vocabulary of %d", *c.Pad, c.VocabSize))
	}
	if c.SlidingWindow < 0 {
		bad = append(bad, fmt.Sprintf("sliding_window is %d, want 1 or more, or null", c.SlidingWindow))
	}
	if c.LayerTypes != nil && len(c.LayerTypes) != c.NumHiddenLayers {
		bad = append(bad, fmt.Sprintf("layer_types has %d entries, want num_hidden_layers, %d", len(c.LayerTypes), c.NumHiddenLayers))
	}
	for _, t := range c.LayerTypes {
		if t != fullAttention && t != slidingAttention {
			bad = append(bad, fmt.Sprintf("layer_types has %q, want %q or %q", t, fullAttention, slidingAttention))
		}
	}
	if families[c.ModelType].byLayer && slices.Contains(c.LayerTypes, slidingAttention) && (!c.UseSlidingWindow || c.SlidingWindow == 0) {
		bad = append(bad, fmt.Sprintf("layer_types has %q, which wants use_sliding_window and sliding_window", slidingAttention))
	}
	bad = append(bad, c.RoPE.check()...)
	if bad != nil {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}
