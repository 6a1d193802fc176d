package llama

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// RoPE says how positions become angles. It is read from rope_theta and
// rope_scaling, as transformers 4 writes them, or from rope_parameters, as 5 does.
//
// Source: transformers 5.23, modeling_rope_utils.py.
type RoPE struct {
	Type   string  `json:"rope_type"` // "default", "linear", "dynamic", "llama3" or "yarn"
	Theta  float64 `json:"rope_theta"`
	Factor float64 `json:"factor"`

	// MaxPositions is the length that the model was trained with, before scaling:
	// original_max_position_embeddings (for dynamic, max_position_embeddings).
	MaxPositions float64 `json:"original_max_position_embeddings"`

	// Partial is partial_rotary_factor, which these families do not have.
	Partial float64 `json:"partial_rotary_factor"`

	LowFreqFactor  float64 `json:"low_freq_factor"` // llama3
	HighFreqFactor float64 `json:"high_freq_factor"`

	AttentionFactor float64 `json:"attention_factor"` // yarn
	MScale          float64 `json:"mscale"`
	MScaleAllDim    float64 `json:"mscale_all_dim"`
	BetaFast        float64 `json:"beta_fast"`
	BetaSlow        float64 `json:"beta_slow"`
	Truncate        *bool   `json:"truncate"`

	// Divisors divide the frequencies one by one, where a GGUF file brings them
	// as rope_freqs.
	Divisors []float32 `json:"-"`
}

// readRoPE fills in c.RoPE from a config.json without nulls.
func (c *Config) readRoPE(text []byte) error {
	type parameters struct {
		RoPE
		OldType string `json:"type"`
	}
	var file struct {
		Theta        float64                    `json:"rope_theta"`
		MaxPositions float64                    `json:"original_max_position_embeddings"`
		Partial      float64                    `json:"partial_rotary_factor"`
		Scaling      map[string]json.RawMessage `json:"rope_scaling"`
		Parameters   map[string]json.RawMessage `json:"rope_parameters"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return err
	}
	var p parameters
	key, object := "rope_scaling", file.Scaling
	if len(object) == 0 {
		key, object = "rope_parameters", file.Parameters
	}
	if err := json.Unmarshal(dropNulls(object), &p); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	for k := range object {
		if k == fullAttention || k == slidingAttention {
			return fmt.Errorf("%s: %q: parameters by kind of layer are not supported", key, k)
		}
	}
	r := p.RoPE
	for _, t := range []string{p.OldType, c.RoPE.Type} {
		if r.Type == "" {
			r.Type = t
		}
	}
	for _, theta := range []float64{file.Theta, c.RoPE.Theta} {
		if r.Theta == 0 {
			r.Theta = theta
		}
	}
	if r.Partial == 0 {
		r.Partial = file.Partial
	}
	switch {
	case r.Type == "dynamic":
		r.MaxPositions = float64(c.MaxPositionEmbeddings)
	case file.MaxPositions != 0:
		r.MaxPositions = file.MaxPositions
	case r.MaxPositions == 0:
		r.MaxPositions = float64(c.MaxPositionEmbeddings)
	}
	if r.Type == "yarn" && r.Factor == 0 {
		r.Factor = float64(c.MaxPositionEmbeddings) / r.MaxPositions
	}
	c.RoPE = r
	return nil
}

// check returns what is wrong with the parameters, by keys.
func (r RoPE) check() (bad []string) {
	if !(r.Theta > 0) || math.IsInf(r.Theta, 0) {
		bad = append(bad, fmt.Sprintf("rope_theta is %g, want a positive number", r.Theta))
	}
	known := []string{"default", "linear", "dynamic", "llama3", "yarn"}
	if !slices.Contains(known, r.Type) {
		return append(bad, fmt.Sprintf("rope_type is %q, want one of %s", r.Type, strings.Join(known, ", ")))
	}
	if r.Type != "default" && !(r.Factor >= 1) {
		bad = append(bad, fmt.Sprintf("factor of rope_type %s is %g, want 1 or more", r.Type, r.Factor))
	}
	if r.Type != "default" && r.Type != "linear" && !(r.MaxPositions >= 1) {
		bad = append(bad, fmt.Sprintf("rope_type %s wants original_max_position_embeddings or max_position_embeddings of 1 or more", r.Type))
	}
	if r.Type == "llama3" && !(r.LowFreqFactor > 0 && r.HighFreqFactor > r.LowFreqFactor) {
		bad = append(bad, "rope_type llama3 wants low_freq_factor and a larger high_freq_factor")
	}
	return bad
}

// frequencies sets inv to the angle per position of each pair of a head, in F32 as
// transformers computes them, and returns what cosines and sines are multiplied by,
// for texts of n tokens.
func (r RoPE) frequencies(inv []float32, n int) (scale float32) {
	scale = 1
	theta, headDim := r.Theta, 2*len(inv)
	d := float64(headDim)
	if r.Type == "dynamic" { // NTK-aware: a larger base for longer texts
		longest := float32(max(float64(n), r.MaxPositions))
		stretch := float32(float32(r.Factor)*longest)/float32(r.MaxPositions) - float32(r.Factor-1)
		theta = float64(float32(theta) * float32(math.Pow(float64(stretch), d/(d-2))))
	}
	yarn, low, high := r.Type == "yarn", 0.0, 0.0
	if yarn {
		low, high = r.yarnRange(d)
		scale = float32(r.yarnScale())
	}
	for i := range inv {
		wave := float32(math.Pow(theta, float64(float32(2*i)/float32(headDim))))
		f := 1 / wave
		switch {
		case r.Type == "linear":
			f /= float32(r.Factor)
		case r.Type == "llama3":
			f = r.llama3(f)
		case yarn:
			// Fast pairs keep their frequency, slow ones are interpolated.
			ramp := min(max((float32(i)-float32(low))/float32(high-low), 0), 1)
			keep := 1 - ramp
			slow := 1 / float32(float32(r.Factor)*wave)
			f = float32(slow*(1-keep)) + float32(f*keep)
		}
		if r.Divisors != nil {
			f /= r.Divisors[i]
		}
		inv[i] = f
	}
	return scale
}

// llama3 lengthens the waves that are long beside the context that the model was
// first trained with, leaves the short ones, and blends between.
func (r RoPE) llama3(f float32) float32 {
	old := float32(r.MaxPositions)
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

// yarnRange returns the pairs between which YaRN (Peng et al., 2023) goes over
// from keeping frequencies to interpolating them.
func (r RoPE) yarnRange(d float64) (low, high float64) {
	fast, slow := r.BetaFast, r.BetaSlow
	if fast == 0 {
		fast = 32
	}
	if slow == 0 {
		slow = 1
	}
	pair := func(rotations float64) float64 {
		return d * math.Log(r.MaxPositions/(rotations*2*math.Pi)) / (2 * math.Log(r.Theta))
	}
	low, high = pair(fast), pair(slow)
	if r.Truncate == nil || *r.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, d-1)
	if low == high {
		high += 0.001
	}
	return low, high
}

// yarnScale returns YaRN's factor of cosines and sines.
func (r RoPE) yarnScale() float64 {
	m := func(scale float64) float64 {
		if r.Factor <= 1 {
			return 1
		}
		return 0.1*scale*math.Log(r.Factor) + 1
	}
	switch {
	case r.AttentionFactor != 0:
		return r.AttentionFactor
	case r.MScale != 0 && r.MScaleAllDim != 0:
		return m(r.MScale) / m(r.MScaleAllDim)
	}
	return m(1)
}
