package lora

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/nn"
)

// DefaultTargets returns the modules that PEFT adapts in a family of models,
// named by its model_type, when no targets are given.
func DefaultTargets(family string) []string {
	switch family {
	case "llama", "mistral", "qwen2", "qwen3":
		return []string{"q_proj", "v_proj"}
	}
	return nil
}

// matcher decides which modules are adapted, in the order of PEFT's rules
// (tuners_utils.check_target_module_exists).
type matcher struct {
	c       *Config
	target  *regexp.Regexp
	exclude *regexp.Regexp
	layer   []*regexp.Regexp
	ranks   []*regexp.Regexp
	alphas  []*regexp.Regexp
}

func (c *Config) matcher() (*matcher, error) {
	m := &matcher{c: c}
	var problems []string
	compile := func(key, pattern, format string) *regexp.Regexp {
		// By itself first: a bracket in it must not close the one around it.
		_, err := regexp.Compile(pattern)
		var re *regexp.Regexp
		if err == nil {
			re, err = regexp.Compile(strings.Replace(format, "%", pattern, 1))
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s %q: %v", key, pattern, err))
		}
		return re
	}
	// Python's re.fullmatch and re.match. Go's patterns lack look-around and back
	// references; a pattern with them is an error.
	if c.Targets.Regex != "" {
		m.target = compile("target_modules", c.Targets.Regex, `^(?:%)$`)
	}
	if c.Exclude.Regex != "" {
		m.exclude = compile("exclude_modules", c.Exclude.Regex, `^(?:%)$`)
	}
	patterns := c.LayersPattern
	if len(patterns) == 0 {
		patterns = []string{`[^.]*`}
	}
	for _, p := range patterns {
		m.layer = append(m.layer, compile("layers_pattern", p, `^(?:.*?\.)?%\.(\d+)\.`))
	}
	for _, p := range c.Ranks {
		m.ranks = append(m.ranks, compile("rank_pattern", p.Regex, `^(?:.*\.)?(?:%)$`))
	}
	for _, p := range c.Alphas {
		m.alphas = append(m.alphas, compile("alpha_pattern", p.Regex, `^(?:.*\.)?(?:%)$`))
	}
	if problems != nil {
		return m, nn.Problems(problems)
	}
	return m, nil
}

// first returns the number of the first pattern that matches a module, -1 if none does.
func first(patterns []*regexp.Regexp, module string) int {
	return slices.IndexFunc(patterns, func(re *regexp.Regexp) bool { return re.MatchString(module) })
}

// rank returns the rank of a module and what its low-rank term is multiplied by:
// alpha/r, or alpha/√r.
func (m *matcher) rank(module string) (r int, scale float64) {
	r, alpha := m.c.Rank, m.c.Alpha
	if i := first(m.ranks, module); i >= 0 {
		r = int(m.c.Ranks[i].Value)
	}
	if i := first(m.alphas, module); i >= 0 {
		alpha = m.c.Alphas[i].Value
	}
	if m.c.RSLoRA {
		return r, alpha / math.Sqrt(float64(r))
	}
	return r, alpha / float64(r)
}

// saved reports whether modules_to_save names the module.
func (m *matcher) saved(module string) bool {
	return slices.ContainsFunc(m.c.Save, func(n string) bool { return strings.HasSuffix(module, n) })
}

// insideSaved reports whether the module is, or lies in, one that is saved whole,
// which is then no target.
func (m *matcher) insideSaved(module string) bool {
	return slices.ContainsFunc(m.c.Save, func(n string) bool {
		return strings.Contains("."+module+".", "."+n+".")
	})
}

func named(list []string, module string) bool {
	return slices.ContainsFunc(list, func(n string) bool {
		return module == n || strings.HasSuffix(module, "."+n)
	})
}

// excluded reports whether exclude_modules names the module.
func (m *matcher) excluded(module string) bool {
	if m.insideSaved(module) {
		return true
	}
	if m.exclude != nil {
		return m.exclude.MatchString(module)
	}
	return named(m.c.Exclude.List, module)
}

// targeted reports whether the module is named by target_modules, in a layer
// that is to be transformed.
func (m *matcher) targeted(module string) bool {
	if m.target != nil {
		return m.target.MatchString(module)
	}
	switch {
	case slices.Contains(m.c.Targets.List, module): // by its whole name, in whatever layer
		return true
	case !named(m.c.Targets.List, module):
		return false
	case m.c.Layers == nil:
		return true
	}
	for _, re := range m.layer {
		if g := re.FindStringSubmatch(module); g != nil {
			n, err := strconv.Atoi(g[1])
			return err == nil && slices.Contains(m.c.Layers, n)
		}
	}
	return false
}

// modules returns the names of all modules of a model: what its parameters and
// slots belong to.
func modules(model any) []string {
	seen := map[string]bool{}
	var out []string
	add := func(name string) {
		for ; name != ""; name = name[:max(strings.LastIndexByte(name, '.'), 0)] {
			if seen[name] {
				return
			}
			seen[name] = true
			out = append(out, name)
		}
	}
	for name := range nn.Params(model) {
		add(name[:max(strings.LastIndexByte(name, '.'), 0)])
	}
	for _, s := range nn.Slots(model) {
		add(s.Path)
	}
	slices.Sort(out)
	return out
}

// match reports whether the targets name a slot, excluded or not.
func (m *matcher) match(s nn.Slot, output nn.Layer) bool {
	if m.c.Targets.AllLinear {
		return s.Layer() != nil && s.Layer() != output
	}
	return m.targeted(s.Path)
}

// outputOf returns the model's head, nil if it is no language model.
func outputOf(model any) nn.Layer {
	if lm, ok := model.(nn.CausalLM); ok {
		return lm.Output()
	}
	return nil
}

// Idle is a part of a configuration that changes nothing on a model: a name or a
// pattern, and PEFT's key for it.
type Idle struct{ Key, Value string }

// Idle returns the names in exclude_modules that keep no target out, and the
// patterns in rank_pattern and alpha_pattern that hold for no adapted layer, as PEFT
// accepts them in silence.
func (a *Adapter) Idle() []Idle {
	m, err := a.Config.matcher()
	if err != nil {
		return nil // design has reported it
	}
	var out []Idle
	output := outputOf(a.model)
	for _, name := range append(slices.Clone(m.c.Exclude.List), m.c.Exclude.Regex) {
		excludes := func(s nn.Slot) bool {
			if name == m.c.Exclude.Regex {
				return m.exclude.MatchString(s.Path) && m.match(s, output)
			}
			return named([]string{name}, s.Path) && m.match(s, output)
		}
		if name != "" && !slices.ContainsFunc(nn.Slots(a.model), excludes) {
			out = append(out, Idle{"exclude_modules", name})
		}
	}
	idle := func(key string, patterns Patterns, compiled []*regexp.Regexp) {
		for i, p := range patterns {
			if !slices.ContainsFunc(a.terms, func(t *placed) bool { return t.a != nil && first(compiled, t.path) == i }) {
				out = append(out, Idle{key, p.Regex})
			}
		}
	}
	idle("rank_pattern", m.c.Ranks, m.ranks)
	idle("alpha_pattern", m.c.Alphas, m.alphas)
	return out
}

// targets returns the slots of a model that the configuration names: linear layers
// and embeddings. A target that matches nothing, and one that matches something
// else, are errors.
func (m *matcher) targets(model any) ([]nn.Slot, error) {
	targets := m.c.Targets
	adaptable := map[string]bool{}
	output := outputOf(model)
	var out []nn.Slot
	excluded := false
	for _, s := range nn.Slots(model) {
		if _, ok := s.Layer().(nn.Affine); !ok && s.Embedder() == nil {
			continue
		}
		adaptable[s.Path] = true
		match := m.match(s, output)
		switch {
		case match && m.excluded(s.Path):
			excluded = true
		case match:
			out = append(out, s)
		}
	}
	if !targets.AllLinear {
		all := modules(model)
		for _, name := range all {
			if !adaptable[name] && m.targeted(name) && !m.excluded(name) {
				return nil, fmt.Errorf("target_modules match %q, which is neither a linear layer nor an embedding", name)
			}
		}
		for _, name := range targets.List {
			if m.c.Layers == nil && !slices.ContainsFunc(all, func(module string) bool { return named([]string{name}, module) }) {
				return nil, fmt.Errorf("target %q matches no module of the model", name)
			}
		}
	}
	switch {
	case len(out) > 0 || targets.None() && (m.c.Save != nil || m.c.Tokens != nil):
		return out, nil
	case excluded:
		return nil, errors.New("all modules that the targets match are excluded")
	}
	what, err := targets.MarshalJSON()
	return nil, errors.Join(err, fmt.Errorf("the targets %s match no module of the model", what))
}
