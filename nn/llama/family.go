package llama

// A family is what distinguishes models of one shape: the defaults of their
// configuration, and where they have biases, norms and windows.
type family struct {
	defaults Config
	ignored  []string // keys of other families that this one does not heed
	refused  []string // keys that make transformers take it for another family

	// nulls says what keys mean that are null: nil, an error. For keys that are
	// not here null is absent.
	nulls map[string]func(c *Config)

	qkvBias, oBias, mlpBias func(c *Config) bool
	qkNorm                  bool
	byLayer                 bool // layer_types are heeded
	window                  func(c *Config, layer int) int
}

const (
	fullAttention    = "full_attention"
	slidingAttention = "sliding_attention"
)

// families is the table of model types: a new one is a row here.
//
// Source: transformers 5.23, models/*/configuration_*.py and modeling_*.py.
var families = map[string]family{
	"llama": {
		defaults: base(Config{IntermediateSize: 11008, MaxPositionEmbeddings: 2048, VocabSize: 32000, BOS: 1, EOS: []int32{2}}),
		ignored:  []string{"sliding_window"},
		qkvBias:  attentionBias, oBias: attentionBias,
		mlpBias: func(c *Config) bool { return c.MLPBias },
		window:  noWindow,
	},
	"mistral": {
		defaults: base(Config{IntermediateSize: 14336, MaxPositionEmbeddings: 131072, VocabSize: 32000, NumKeyValueHeads: 8, SlidingWindow: 4096, BOS: 1, EOS: []int32{2}}),
		ignored:  []string{"attention_bias", "mlp_bias"},
		refused:  []string{"layer_types"},
		nulls:    map[string]func(*Config){"sliding_window": noSlidingWindow, "num_key_value_heads": nil},
		qkvBias:  never, oBias: never, mlpBias: never,
		window: func(c *Config, _ int) int { return c.SlidingWindow },
	},
	"qwen2": {
		defaults: base(Config{IntermediateSize: 22016, MaxPositionEmbeddings: 32768, VocabSize: 151936, NumKeyValueHeads: 32, SlidingWindow: 4096, MaxWindowLayers: 28, BOS: -1}),
		ignored:  []string{"attention_bias", "mlp_bias"},
		nulls:    map[string]func(*Config){"sliding_window": noSlidingWindow, "num_key_value_heads": headsAsKV, "head_dim": nil},
		qkvBias:  func(*Config) bool { return true }, oBias: never, mlpBias: never,
		byLayer: true,
		window:  qwenWindow,
	},
	"qwen3": {
		defaults: base(Config{IntermediateSize: 22016, MaxPositionEmbeddings: 32768, VocabSize: 151936, NumKeyValueHeads: 32, HeadDim: 128, SlidingWindow: 4096, MaxWindowLayers: 28, BOS: -1}),
		ignored:  []string{"mlp_bias"},
		nulls:    map[string]func(*Config){"sliding_window": noSlidingWindow, "num_key_value_heads": headsAsKV, "head_dim": nil},
		qkvBias:  attentionBias, oBias: attentionBias, mlpBias: never,
		qkNorm: true, byLayer: true,
		window: qwenWindow,
	},
}

// base fills in the defaults that the families share.
func base(c Config) Config {
	c.HiddenSize, c.NumHiddenLayers, c.NumAttentionHeads = 4096, 32, 32
	c.HiddenAct, c.RMSNormEps = "silu", 1e-6
	c.RoPE = RoPE{Type: "default", Theta: 10000}
	return c
}

func noSlidingWindow(c *Config) { c.SlidingWindow = 0 }
func headsAsKV(c *Config)       { c.NumKeyValueHeads = 0 }

func never(*Config) bool           { return false }
func attentionBias(c *Config) bool { return c.AttentionBias }
func noWindow(*Config, int) int    { return 0 }

// Window returns how many of the last tokens a layer attends to, 0 for all.
func (c *Config) Window(layer int) int { return families[c.ModelType].window(c, layer) }

// qwenWindow gives the layers from max_window_layers on the window, if windows
// are used at all, unless the configuration names each layer's type.
func qwenWindow(c *Config, layer int) int {
	switch {
	case !c.UseSlidingWindow:
		return 0
	case layer < len(c.LayerTypes):
		if c.LayerTypes[layer] == slidingAttention {
			return c.SlidingWindow
		}
		return 0
	case layer >= c.MaxWindowLayers:
		return c.SlidingWindow
	}
	return 0
}
