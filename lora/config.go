// Package lora adapts a frozen model by training little: the methods of
// parameter-efficient fine-tuning, with the files of Hugging Face PEFT.
package lora

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/mapped"
)

// Config is a LoRA adapter's configuration, PEFT's adapter_config.json. Keys that
// a file lacks have PEFT's defaults.
type Config struct {
	Rank    int     // r
	Alpha   float64 // lora_alpha
	Dropout float64 // lora_dropout, used in training alone
	RSLoRA  bool    // use_rslora: the scale is alpha/√r instead of alpha/r

	Targets Names // target_modules; none: the family's default
	Exclude Names // exclude_modules

	// Layers limits the targets to the layers of these numbers
	// (layers_to_transform), counted where LayersPattern says.
	Layers        []int
	LayersPattern []string

	// Ranks and Alphas override Rank and Alpha for modules whose names match: the
	// first pattern that does (rank_pattern, alpha_pattern).
	Ranks, Alphas Patterns

	// Save names modules that are trained whole (modules_to_save).
	Save []string

	// Bias says which of the model's biases are trained: "none", "all", or
	// "lora_only", those of the adapted layers.
	Bias string

	// BBias gives B a bias of its own (lora_bias).
	BBias bool

	// Tie keeps tied weights tied where one of them is saved whole
	// (ensure_weight_tying).
	Tie bool

	// Tokens are token ids whose embeddings are trained, by the name of the
	// embedding (trainable_token_indices).
	Tokens map[string][]int32

	// Replicate makes the model's layers anew out of ranges of them, from
	// including to excluding (layer_replication).
	Replicate [][2]int

	// Init says how A and B begin: "" is PEFT's default (true), A by Kaiming and B
	// zero; "gaussian" has A normal with deviation 1/r; "random" (false) has B as
	// random as A.
	Init string

	BaseModel string // base_model_name_or_path

	raw map[string]json.RawMessage // the file's keys, all kept
}

// Names selects modules: by a list of names, by a regular expression, or
// "all-linear".
type Names struct {
	List      []string // a module's whole name, or the end of it after a dot
	Regex     string   // matches a module's whole name
	AllLinear bool     // every linear layer but the output
}

// None reports whether nothing is selected.
func (n Names) None() bool { return len(n.List) == 0 && n.Regex == "" && !n.AllLinear }

func nilIfEmpty(s []string) any {
	if len(s) == 0 {
		return nil
	}
	return s
}

func (n Names) equal(m Names) bool {
	return n.Regex == m.Regex && n.AllLinear == m.AllLinear && slices.Equal(n.List, m.List)
}

// ParseNames returns the selection that a command-line flag asks for: names
// separated by commas, "re:" and a regular expression, or "all-linear".
func ParseNames(s string) Names {
	switch {
	case s == "":
		return Names{}
	case strings.EqualFold(s, allLinear):
		return Names{AllLinear: true}
	case strings.HasPrefix(s, "re:"):
		return Names{Regex: s[3:]}
	}
	var n Names
	for _, name := range strings.Split(s, ",") {
		if name = strings.TrimSpace(name); name != "" {
			n.List = append(n.List, name)
		}
	}
	return n
}

const allLinear = "all-linear"

// MarshalJSON writes a list, a regular expression or "all-linear" as PEFT does.
func (n Names) MarshalJSON() ([]byte, error) {
	switch {
	case n.AllLinear:
		return json.Marshal(allLinear)
	case n.Regex != "":
		return json.Marshal(n.Regex)
	case len(n.List) == 0:
		return []byte("null"), nil
	}
	return json.Marshal(n.List)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (n *Names) UnmarshalJSON(data []byte) error {
	*n = Names{}
	var s string
	if json.Unmarshal(data, &s) != nil {
		return json.Unmarshal(data, &n.List)
	}
	if strings.EqualFold(s, allLinear) {
		n.AllLinear = true
	} else {
		n.Regex = s
	}
	return nil
}

// ConfigFile and WeightsFile are the names of an adapter's files.
const (
	ConfigFile  = "adapter_config.json"
	WeightsFile = "adapter_model.safetensors"
)

// maxFile bounds the bytes of an adapter_config.json; they have a few thousand.
const maxFile = 1 << 24

// ReadConfig reads the adapter_config.json of an adapter's folder.
func ReadConfig(dir string) (Config, error) {
	path := filepath.Join(dir, ConfigFile)
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

// neutral are the values with which a key asks for nothing that this package
// does not do. Keys that are not listed are kept and not looked at: PEFT's own
// reader drops what it does not know.
var neutral = map[string][]string{
	"alora_invocation_tokens": {"null"},
	"arrow_config":            {"null"},
	"corda_config":            {"null"},
	"kasa_config":             {"null"},
	"lora_ga_config":          {"null"},
	"loftq_config":            {"{}", "null"},
	"megatron_config":         {"null"},
	"monteclora_config":       {"null"},
	"target_parameters":       {"null", "[]"},
	"use_bdlora":              {"null", "false"},
	"use_dora":                {"false"},
	"use_qalora":              {"false"},
	"velora_config":           {"null"},
}

// ParseConfig reads the text of an adapter_config.json. One error lists all keys
// that ask for what is not supported.
func ParseConfig(data []byte) (Config, error) {
	c := Config{Rank: 8, Alpha: 8, Bias: "none"}
	if err := json.Unmarshal(data, &c.raw); err != nil {
		return c, err
	}
	var problems []string
	bad := func(format string, a ...any) { problems = append(problems, fmt.Sprintf(format, a...)) }

	read := func(key string, dst any) {
		v, ok := c.raw[key]
		if !ok || string(v) == "null" {
			return
		}
		if err := json.Unmarshal(v, dst); err != nil {
			bad("%s is %s: %v", key, shown(v), err)
		}
	}
	var kind string
	if read("peft_type", &kind); kind != "LORA" {
		bad("peft_type is %q, want \"LORA\"", kind)
	}
	read("r", &c.Rank)
	read("lora_alpha", &c.Alpha)
	read("lora_dropout", &c.Dropout)
	read("use_rslora", &c.RSLoRA)
	read("target_modules", &c.Targets)
	read("exclude_modules", &c.Exclude)
	read("base_model_name_or_path", &c.BaseModel)
	read("layers_to_transform", (*oneOrMore[int])(&c.Layers))
	read("layers_pattern", (*oneOrMore[string])(&c.LayersPattern))
	read("rank_pattern", &c.Ranks)
	read("alpha_pattern", &c.Alphas)
	read("modules_to_save", &c.Save)
	read("bias", &c.Bias)
	read("lora_bias", &c.BBias)
	read("ensure_weight_tying", &c.Tie)
	read("layer_replication", &c.Replicate)
	read("trainable_token_indices", (*tokens)(&c.Tokens))
	for _, key := range []string{"r", "lora_alpha", "lora_dropout"} {
		if string(c.raw[key]) == "null" { // absent is something else
			bad("%s is null, want a number", key)
		}
	}
	if len(c.Layers) == 0 { // an empty list is no limit
		c.Layers = nil
	}
	if c.Exclude.AllLinear { // the word means nothing here: it is a pattern like any
		c.Exclude = Names{Regex: allLinear}
	}
	c.parseInit(bad)
	for _, key := range slices.Sorted(maps.Keys(neutral)) {
		v, ok := c.raw[key]
		if !ok {
			continue
		}
		if !slices.Contains(neutral[key], compact(v)) {
			bad("%s = %s is not supported", key, shown(v))
		}
	}
	if err := c.Check(); err != nil {
		bad("%v", err)
	}
	if problems != nil {
		return c, errors.New(strings.Join(problems, "; "))
	}
	return c, nil
}

func (c *Config) parseInit(bad func(string, ...any)) {
	switch v := string(c.raw["init_lora_weights"]); v {
	case "", "null", "true":
	case "false":
		c.Init = "random"
	case `"gaussian"`:
		c.Init = "gaussian"
	case `"eva"`, `"orthogonal"`, `"loftq"`: // they concern the beginning alone
	default:
		bad("init_lora_weights = %s is not supported", shown(c.raw["init_lora_weights"]))
	}
}

// compact returns a JSON text without space.
func compact(v json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Compact(&b, v); err != nil {
		panic(err) // what was JSON is JSON
	}
	return b.String()
}

// shown is a JSON text as errors show it: on one line, and not too long.
func shown(v json.RawMessage) string {
	const most = 200
	s := compact(v)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// tokens is a list of ids, those of embed_tokens, or lists by the embedding's name.
type tokens map[string][]int32

func (t *tokens) UnmarshalJSON(data []byte) error {
	var list []int32
	if json.Unmarshal(data, &list) == nil {
		*t = tokens{"embed_tokens": list}
		return nil
	}
	return json.Unmarshal(data, (*map[string][]int32)(t))
}

// Pattern is a regular expression for the end of a module's name, from its
// beginning or after a dot, and the number that holds where it matches.
type Pattern struct {
	Regex string
	Value float64
}

// Patterns are tried in order. PEFT sorts them when it writes them, and then
// another one may match first: tenon keeps the order of the file.
type Patterns []Pattern

// UnmarshalJSON reads an object, in the order in which it is written.
func (p *Patterns) UnmarshalJSON(data []byte) error {
	*p = nil
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("want an object of patterns")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var v float64
		if err := d.Decode(&v); err != nil {
			return err
		}
		// A pattern that is there twice has its place from the first time and its
		// number from the last, as in Python.
		if i := slices.IndexFunc(*p, func(q Pattern) bool { return q.Regex == key.(string) }); i >= 0 {
			(*p)[i].Value = v
			continue
		}
		*p = append(*p, Pattern{key.(string), v})
	}
	return nil
}

// MarshalJSON writes an object in the order of the patterns.
func (p Patterns) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, q := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(q.Regex)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s:%v", key, q.Value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// oneOrMore is a value or a list of them.
type oneOrMore[T any] []T

func (l *oneOrMore[T]) UnmarshalJSON(data []byte) error {
	var one T
	if json.Unmarshal(data, &one) == nil {
		*l = oneOrMore[T]{one}
		return nil
	}
	return json.Unmarshal(data, (*[]T)(l))
}

// Check returns an error that lists what is wrong with the settings.
func (c *Config) Check() error {
	var bad []string
	if c.Rank < 1 || c.Rank > 1<<16 {
		bad = append(bad, fmt.Sprintf("rank r is %d, want 1 to %d", c.Rank, 1<<16))
	}
	if math.IsNaN(c.Alpha) || math.IsInf(c.Alpha, 0) {
		bad = append(bad, fmt.Sprintf("lora_alpha is %g, want a finite number", c.Alpha))
	}
	if !(c.Dropout >= 0 && c.Dropout < 1) {
		bad = append(bad, fmt.Sprintf("lora_dropout is %g, want 0 or more and less than 1", c.Dropout))
	}
	if len(c.Targets.List) == 0 && !c.Targets.None() && (c.Layers != nil || c.LayersPattern != nil) {
		bad = append(bad, "layers_to_transform and layers_pattern want target_modules to be a list of names")
	}
	if c.LayersPattern != nil && c.Layers == nil {
		bad = append(bad, "layers_pattern wants layers_to_transform")
	}
	switch c.Bias {
	case "", "none", "all", "lora_only":
	default:
		bad = append(bad, fmt.Sprintf("bias is %q, want \"none\", \"all\" or \"lora_only\"", c.Bias))
	}
	for _, p := range c.Ranks {
		if p.Value < 1 || p.Value > 1<<16 || p.Value != math.Trunc(p.Value) {
			bad = append(bad, fmt.Sprintf("rank_pattern %q is %g, want 1 to %d", p.Regex, p.Value, 1<<16))
		}
	}
	for _, p := range c.Alphas {
		if math.IsNaN(p.Value) || math.IsInf(p.Value, 0) {
			bad = append(bad, fmt.Sprintf("alpha_pattern %q is %g, want a finite number", p.Regex, p.Value))
		}
	}
	switch c.Init {
	case "", "gaussian", "random":
	default:
		bad = append(bad, fmt.Sprintf("initialisation is %q, want \"gaussian\", \"random\" or none", c.Init))
	}
	if bad != nil {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}

// JSON returns the configuration as PEFT writes it: keys sorted, indented by
// two. Keys of the file that it was read from are kept.
func (c *Config) JSON() ([]byte, error) {
	all := map[string]any{
		// What every version of PEFT since 0.7 reads without a warning.
		"auto_mapping": nil, "fan_in_fan_out": false, "layers_pattern": nil,
		"layers_to_transform": nil, "peft_type": "LORA", "revision": nil, "task_type": "CAUSAL_LM",
	}
	for k, v := range c.raw {
		all[k] = v
	}
	// A key of the file is written as it was unless its value has changed.
	was := Config{}
	if c.raw != nil {
		text, err := json.Marshal(c.raw)
		if err != nil {
			return nil, err
		}
		if was, err = ParseConfig(text); err != nil {
			return nil, err
		}
	}
	set := func(key string, value any, same bool) {
		if _, ok := c.raw[key]; !ok || !same {
			all[key] = value
		}
	}
	set("r", c.Rank, c.Rank == was.Rank)
	set("lora_alpha", c.Alpha, c.Alpha == was.Alpha)
	set("lora_dropout", c.Dropout, c.Dropout == was.Dropout)
	set("use_rslora", c.RSLoRA, c.RSLoRA == was.RSLoRA)
	set("target_modules", c.Targets, c.Targets.equal(was.Targets))
	set("rank_pattern", c.Ranks, slices.Equal(c.Ranks, was.Ranks))
	set("alpha_pattern", c.Alphas, slices.Equal(c.Alphas, was.Alphas))
	set("modules_to_save", nilIfEmpty(c.Save), slices.Equal(c.Save, was.Save))
	set("bias", cmp.Or(c.Bias, "none"), c.Bias == was.Bias)
	if c.BBias {
		set("lora_bias", c.BBias, was.BBias)
	}
	if c.Tie {
		set("ensure_weight_tying", c.Tie, was.Tie)
	}
	if c.Tokens != nil {
		set("trainable_token_indices", c.Tokens, maps.EqualFunc(c.Tokens, was.Tokens, slices.Equal))
	}
	if c.Replicate != nil {
		set("layer_replication", c.Replicate, slices.Equal(c.Replicate, was.Replicate))
	}
	set("base_model_name_or_path", c.BaseModel, c.BaseModel == was.BaseModel)
	set("init_lora_weights", map[string]any{"": true, "random": false, "gaussian": "gaussian"}[c.Init], c.Init == was.Init)
	all["inference_mode"] = true
	if !c.Exclude.None() {
		set("exclude_modules", c.Exclude, c.Exclude.equal(was.Exclude))
	}
	if c.Layers != nil {
		set("layers_to_transform", c.Layers, slices.Equal(c.Layers, was.Layers))
	}
	if c.LayersPattern != nil {
		set("layers_pattern", c.LayersPattern, slices.Equal(c.LayersPattern, was.LayersPattern))
	}
	return json.MarshalIndent(all, "", "  ") // maps are written by sorted keys
}
