package llama

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
)

// TestConfigs compares what configurations mean with what transformers makes of
// them. What transformers refuses is refused; so is what asks for something that
// is not supported (refused below).
func TestConfigs(t *testing.T) {
	// What transformers accepts and this package does not have, or finds without
	// meaning.
	refused := map[string]bool{
		"a factor below 1": true, "longrope": true, "hidden_act gelu": true, "a window of 0": true,
		"layer_types sliding without a window": true, "layer_types sliding, use_sliding_window false": true,
	}
	data, err := os.ReadFile(testdata + "/families/configs.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Cases []struct {
			About    string
			Config   json.RawMessage
			Resolved *struct {
				VocabSize        int     `json:"vocab_size"`
				HiddenSize       int     `json:"hidden_size"`
				IntermediateSize int     `json:"intermediate_size"`
				Layers           int     `json:"num_hidden_layers"`
				Heads            int     `json:"num_attention_heads"`
				KV               int     `json:"num_key_value_heads"`
				HeadDim          int     `json:"head_dim"`
				MaxPositions     int     `json:"max_position_embeddings"`
				Eps              float64 `json:"rms_norm_eps"`
				Tie              bool    `json:"tie_word_embeddings"`
				RoPE             struct {
					Type   string   `json:"rope_type"`
					Theta  float64  `json:"rope_theta"`
					Factor *float64 `json:"factor"`
					Max    *float64 `json:"original_max_position_embeddings"`
				} `json:"rope_parameters"`
			}
			Error string
		}
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	for _, c := range g.Cases {
		got, err := ParseConfig(c.Config)
		family, kind, _ := strings.Cut(c.About, ": ")
		// Llama heeds no window, so none of these is wrong for it.
		windows := strings.Contains(kind, "window") && family == "llama"
		if c.Error != "" || refused[kind] && !windows {
			if err == nil {
				t.Errorf("%s: no error; transformers: %q", c.About, c.Error)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.About, err)
			continue
		}
		w := c.Resolved
		type plain struct {
			vocab, hidden, mlp, layers, heads, kv, dim, positions int
			eps                                                   float64
			tie                                                   bool
			rope                                                  string
			theta                                                 float64
		}
		have := plain{got.VocabSize, got.HiddenSize, got.IntermediateSize, got.NumHiddenLayers, got.NumAttentionHeads, got.NumKeyValueHeads, got.HeadDim,
			got.MaxPositionEmbeddings, got.RMSNormEps, got.TieWordEmbeddings, got.RoPE.Type, got.RoPE.Theta}
		want := plain{w.VocabSize, w.HiddenSize, w.IntermediateSize, w.Layers, w.Heads, w.KV, w.HeadDim, w.MaxPositions, w.Eps, w.Tie, w.RoPE.Type, w.RoPE.Theta}
		if have != want {
			t.Errorf("%s: %+v, want %+v", c.About, have, want)
		}
		if w.RoPE.Factor != nil && *w.RoPE.Factor != got.RoPE.Factor || w.RoPE.Max != nil && *w.RoPE.Max != got.RoPE.MaxPositions {
			t.Errorf("%s: factor %g, positions %g; want %+v", c.About, got.RoPE.Factor, got.RoPE.MaxPositions, w.RoPE)
		}
	}
}

// TestFrequencies compares the angles per position of published models.
func TestFrequencies(t *testing.T) {
	data, err := os.ReadFile(testdata + "/families/rope.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Cases []struct {
			About     string
			Config    json.RawMessage
			Length    int
			Attention float64   `json:"attention_factor"`
			Inv       []float64 `json:"inv_freq"`
		}
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	for _, c := range g.Cases {
		var fields map[string]any
		if err := json.Unmarshal(c.Config, &fields); err != nil {
			t.Fatal(err)
		}
		fields["num_key_value_heads"] = fields["num_attention_heads"]
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		config, err := ParseConfig(text)
		if err != nil {
			t.Errorf("%s: %v", c.About, err)
			continue
		}
		inv := make([]float32, config.HeadDim/2)
		scale := config.RoPE.frequencies(inv, c.Length)
		if math.Abs(float64(scale)-c.Attention) > 1e-7*c.Attention || len(inv) != len(c.Inv) {
			t.Errorf("%s: attention factor %v, want %v; %d frequencies, want %d", c.About, scale, c.Attention, len(inv), len(c.Inv))
			continue
		}
		for i, f := range inv {
			if math.Abs(float64(f)/c.Inv[i]-1) > 4e-7 { // powers differ by an ulp or two
				t.Errorf("%s: frequency %d is %v, want %v", c.About, i, f, c.Inv[i])
			}
		}
	}
}
