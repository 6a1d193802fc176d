package lora

import (
	"strings"
	"testing"
)

// Keys that mean something else to Go's reader of JSON than to Python's, or that
// stand for nothing: what PEFT makes of them, or an error, and never another scale.
func TestConfigTraps(t *testing.T) {
	const head = `{"peft_type": "LORA", "target_modules": ["q_proj"], `
	c, err := ParseConfig([]byte(head + `"alpha_pattern": {"q_proj": 4, "v_proj": 2, "q_proj": 8}, "layers_to_transform": [], "R": 3, "Lora_Alpha": 77}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Alphas) != 2 || c.Alphas[0] != (Pattern{"q_proj", 8}) {
		t.Errorf("alpha_pattern %v, want the last number at the first place", c.Alphas)
	}
	if c.Layers != nil || c.Rank != 8 || c.Alpha != 8 {
		t.Errorf("layers %v, rank %d, alpha %g, want no limit and the defaults", c.Layers, c.Rank, c.Alpha)
	}
	for _, key := range []string{"r", "lora_alpha", "lora_dropout"} {
		if _, err := ParseConfig([]byte(head + `"` + key + `": null}`)); err == nil || !strings.Contains(err.Error(), key+" is null") {
			t.Errorf("%s null: %v", key, err)
		}
	}
	// Each key of PEFT 0.21 that asks for another method.
	for key, value := range map[string]string{
		"use_dora": "true", "use_qalora": "true", "use_bdlora": "{}", "megatron_config": "{}", "loftq_config": `{"bits": 4}`, "corda_config": "{}",
		"lora_ga_config": "{}", "velora_config": "{}", "monteclora_config": "{}", "kasa_config": "{}", "arrow_config": "{}",
		"alora_invocation_tokens": "[1]", "target_parameters": `["w"]`, "peft_type": `"IA3"`, "init_lora_weights": `"pissa"`,
		"bias": `"some"`, "use_rslora": "1", "lora_alpha": `"16"`,
	} {
		if _, err := ParseConfig([]byte(head + "\n\"" + key + "\":\n " + value + "}")); err == nil || !strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s = %s: %v", key, value, err)
		}
	}
	c = Config{Rank: 1, Targets: Names{Regex: "a)|(?:.*"}}
	if _, err := c.matcher(); err == nil || !strings.Contains(err.Error(), "target_modules") {
		t.Errorf("a bracket that closes another: %v", err)
	}
}
