package llama

import (
	"slices"
	"strings"
	"testing"
)

// Keys that encoding/json would take for others, and numbers that stand for
// nothing.
func TestConfigTraps(t *testing.T) {
	c, err := ParseConfig([]byte(`{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "HEAD_DIM": 2, "Num_Key_Value_Heads": 1, "\u017fliding_window": 3, "tie_Word_embeddings": true, "attention_dropout": 0.1}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.HeadDim != 16 || c.NumKeyValueHeads != 4 || c.TieWordEmbeddings {
		t.Errorf("heads of %d, %d of keys, tied %v: keys in other letters were heeded", c.HeadDim, c.NumKeyValueHeads, c.TieWordEmbeddings)
	}
	if !slices.ContainsFunc(c.Warnings, func(w string) bool { return strings.Contains(w, "attention_dropout") }) {
		t.Errorf("warnings %q, want one about attention_dropout", c.Warnings)
	}
	for _, text := range []string{
		`{"model_type": "llama", "num_key_value_heads": 0}`,
		`{"model_type": "llama", "rms_norm_eps": "1e-5", "hidden_size": "64"}`,
		`{"model_type": ["llama"]}`, `{"model_type": "llama", "vocab_size": 1e3}`, `[]`, `null`, ``, `{"model_type": "llama"} {}`,
	} {
		if _, err := ParseConfig([]byte(text)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
