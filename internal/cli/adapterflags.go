package cli

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/tenon-ml/tenon/lora"
)

// adapterFlags are the flags of a new adapter that decide how large it is.
type adapterFlags struct {
	targets, exclude, layers, save string
	ranks                          []string
}

func (a *adapterFlags) add(f *pflag.FlagSet, l *lora.Config) {
	f.IntVar(&l.Rank, "rank", 8, "rank of the adapter")
	f.StringVar(&a.targets, "targets", "", "layers to adapt: q_proj,v_proj or all-linear or re:REGEX (default: PEFT's for the model)")
	f.StringVar(&a.exclude, "exclude", "", "layers to leave out: names or re:REGEX")
	f.StringVar(&a.layers, "layers", "", "adapt only the blocks of these numbers: 0,1")
	f.StringArrayVar(&a.ranks, "rank-pattern", nil, "REGEX=R: another rank for layers whose name ends so; may be given several times, the first that matches holds")
	f.StringVar(&a.save, "modules-to-save", "", "modules to train whole beside the adapter: lm_head,embed_tokens")
	f.StringVar(&l.Bias, "bias", "none", "biases of the model to train: none, all, or lora_only: those of adapted layers")
}

// parse writes what the flags say into a configuration. A flag that is given says
// something.
func (a *adapterFlags) parse(f *pflag.FlagSet, l *lora.Config) error {
	l.Targets, l.Exclude = lora.ParseNames(a.targets), lora.ParseNames(a.exclude)
	l.Save = lora.ParseNames(a.save).List
	var err, bad error
	for _, flag := range []string{"targets", "exclude", "layers", "modules-to-save"} {
		if f := f.Lookup(flag); f.Changed && lora.ParseNames(f.Value.String()).None() {
			err = errors.Join(err, usagef("--%s is %q, which names nothing", flag, f.Value))
		}
	}
	l.Layers, bad = parseLayers(a.layers)
	err = errors.Join(err, bad)
	l.Ranks, bad = parsePatterns("rank-pattern", a.ranks)
	return errors.Join(err, bad)
}

// parseLayers reads the numbers of blocks.
func parseLayers(list string) ([]int, error) {
	if list == "" {
		return nil, nil
	}
	var out []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < 0 {
			return nil, usagef("--layers is %q, want numbers such as 0,1", list)
		}
		out = append(out, n)
	}
	return out, nil
}

// parsePatterns reads what a flag was given: patterns with their numbers, which
// stand behind the last =.
func parsePatterns(flag string, list []string) (lora.Patterns, error) {
	var out lora.Patterns
	for _, s := range list {
		at := strings.LastIndexByte(s, '=')
		v, err := strconv.ParseFloat(strings.TrimSpace(s[at+1:]), 64)
		switch {
		case at < 1 || err != nil:
			return nil, usagef("--%s is %q, want REGEX=NUMBER", flag, s)
		case slices.ContainsFunc(out, func(p lora.Pattern) bool { return p.Regex == s[:at] }):
			return nil, usagef("--%s has %q twice", flag, s[:at])
		}
		out = append(out, lora.Pattern{Regex: s[:at], Value: v})
	}
	return out, nil
}

// inUsage marks an error as one of the command line.
func inUsage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}
