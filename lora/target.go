package lora

import (
	"fmt"
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
}

func (c *Config) matcher() (*matcher, error) {
	m := &matcher{c: c}
	var err error
	if m.target, err = whole("target_modules", c.Targets.Regex); err != nil {
		return nil, err
	}
	if m.exclude, err = whole("exclude_modules", c.Exclude.Regex); err != nil {
		return nil, err
	}
	patterns := c.LayersPattern
	if len(patterns) == 0 {
		patterns = []string{`[^.]*`}
	}
	for _, p := range patterns {
		re, err := regexp.Compile(`^.*?\.` + p + `\.(\d+)\.`)
		if err != nil {
			return nil, fmt.Errorf("layers_pattern %q: %w", p, err)
		}
		m.layer = append(m.layer, re)
	}
	return m, nil
}

// whole compiles a pattern that has to match a whole name, as Python's
// re.fullmatch. Go's patterns lack look-around and back references; a pattern
// with them is an error.
func whole(key, pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, nil
	}
	re, err := regexp.Compile(`^(?:` + pattern + `)$`)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", key, pattern, err)
	}
	return re, nil
}

func named(list []string, module string) bool {
	return slices.ContainsFunc(list, func(n string) bool {
		return module == n || strings.HasSuffix(module, "."+n)
	})
}

// excluded reports whether exclude_modules names the module.
func (m *matcher) excluded(module string) bool {
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
	if !named(m.c.Targets.List, module) {
		return false
	}
	if m.c.Layers == nil {
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

// targets returns the slots of a model that the configuration names. A target
// that matches nothing, and one that matches something else than a linear layer,
// are errors.
func (c *Config) targets(model any) ([]nn.Slot, error) {
	m, err := c.matcher()
	if err != nil {
		return nil, err
	}
	linear := map[string]nn.Slot{}
	var output nn.Layer
	if lm, ok := model.(nn.CausalLM); ok {
		output = lm.Output()
	}
	var out []nn.Slot
	excluded := false
	for _, s := range nn.Slots(model) {
		if _, ok := s.Layer().(nn.Affine); !ok {
			continue
		}
		linear[s.Path] = s
		switch {
		case m.excluded(s.Path):
			excluded = excluded || c.Targets.AllLinear || m.targeted(s.Path)
		case c.Targets.AllLinear && s.Layer() != output, !c.Targets.AllLinear && m.targeted(s.Path):
			out = append(out, s)
		}
	}
	if !c.Targets.AllLinear {
		for _, name := range modules(model) {
			if _, ok := linear[name]; !ok && m.targeted(name) && !m.excluded(name) {
				return nil, fmt.Errorf("target_modules match %q, which is no linear layer", name)
			}
		}
		for _, name := range c.Targets.List {
			if c.Layers == nil && !slices.ContainsFunc(modules(model), func(module string) bool { return named([]string{name}, module) }) {
				return nil, fmt.Errorf("target %q matches no module of the model", name)
			}
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case excluded:
		return nil, fmt.Errorf("all modules that the targets match are excluded")
	}
	what, _ := c.Targets.MarshalJSON()
	return nil, fmt.Errorf("the targets %s match no module of the model", what)
}
