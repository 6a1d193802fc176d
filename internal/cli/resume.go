package cli

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tenon-ml/tenon/train"
)

// decisive are the flags that the result of a run depends on, beside those of a
// new adapter. Carried are others that a resumed run takes over. The number of
// threads and --recompute change no bit.
var (
	decisive = []string{
		"method", "init-adapter", "steps", "epochs", "batch", "accumulate", "seq", "pack", "lr", "schedule", "warmup",
		"weight-decay", "clip", "seed", "no-shuffle", "quantize", "double-quant", "block", "compute", "optim",
	}
	carried = []string{"model", "weights", "data", "eval", "recompute", "save-every", "save-total"}
)

// paths are the flags that name files.
var paths = []string{"model", "data", "eval", "init-adapter"}

// flagValues returns the values of a flag as it would be given again.
func flagValues(f *pflag.Flag) ([]string, error) {
	if s, ok := f.Value.(pflag.SliceValue); ok {
		return s.GetSlice(), nil
	}
	v := f.Value.String()
	if v == "" {
		return nil, nil
	}
	if slices.Contains(paths, f.Name) {
		abs, err := filepath.Abs(v)
		return []string{abs}, err
	}
	return []string{v}, nil
}

// takeUp finds the checkpoint that --resume names and sets the flags that the
// command line leaves out to what the run had.
func (c *finetune) takeUp(cmd *cobra.Command, e *env) (err error) {
	flags := cmd.Flags()
	if !flags.Changed("out") {
		out := filepath.Clean(c.resume)
		if _, ok := checkpointStep(filepath.Base(out)); ok {
			out = filepath.Dir(out)
		} else if _, err := os.Stat(filepath.Join(out, train.StateFile)); err == nil {
			return usagef("--out is missing: %q is a checkpoint that is in no such folder", c.resume)
		}
		if err := flags.Set("out", out); err != nil {
			return err
		}
	}
	if c.dir, err = newOutDir(c.out, e.warn); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.dir.discard()
		}
	}()
	if c.from, err = findCheckpoint(c.resume, e.warn); err != nil {
		return err
	}
	was := c.from.state.Options
	var differ []string
	for _, name := range slices.Concat(decisive, ofAdapter) {
		f := flags.Lookup(name)
		if !f.Changed {
			continue
		}
		is, err := flagValues(f)
		if err != nil {
			return err
		}
		switch {
		case len(was["rank"]) == 0 && slices.Contains(ofAdapter, name): // these were not used
		case !slices.Equal(is, was[name]):
			differ = append(differ, fmt.Sprintf("--%s is %s, was %s", name, spell(is), spell(was[name])))
		}
	}
	if differ != nil {
		return fmt.Errorf("%s: goes on only with the options that the run began with: %s", c.from.dir, strings.Join(differ, "; "))
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		f := flags.Lookup(name)
		if !slices.Contains(slices.Concat(decisive, ofAdapter, carried), name) {
			return fmt.Errorf("%s: option %q is unknown", filepath.Join(c.from.dir, train.StateFile), name)
		}
		if f.Changed {
			continue
		}
		for _, v := range was[name] {
			if err := flags.Set(name, v); err != nil {
				return fmt.Errorf("%s: option %q: %w", filepath.Join(c.from.dir, train.StateFile), name, err)
			}
		}
	}
	return nil
}

// spell shows a flag's values.
func spell(values []string) string {
	if len(values) == 0 {
		return "not given"
	}
	return strings.Join(values, " and ")
}

// newState returns where the run begins: at the checkpoint, if it is one of this
// run.
func (c *finetune) newState(cmd *cobra.Command, m *model, heldOut []train.Example) (train.State, error) {
	s := train.State{Steps: c.options.Steps, Options: map[string][]string{}}
	for _, name := range slices.Concat(decisive, ofAdapter, carried) {
		switch {
		case slices.Contains(ofAdapter, name) && c.whyUnused() != "",
			name == "steps" && c.steps == 0, name == "epochs" && c.steps != 0:
			continue
		}
		values, err := flagValues(cmd.Flags().Lookup(name))
		if err != nil {
			return s, err
		}
		if name == "epochs" {
			values = []string{fmt.Sprint(c.epochs)} // the default is no value of the flag
		}
		if len(values) > 0 {
			s.Options[name] = values
		}
	}
	model, err := m.Digest()
	if err != nil {
		return s, err
	}
	s.Digests = map[string]string{"model": model, "data": digest(c.loader.Examples)}
	if heldOut != nil {
		s.Digests["eval"] = digest(heldOut)
	}
	if c.from == nil {
		return s, nil
	}
	was := c.from.state
	for _, flag := range []string{"model", "data", "eval"} {
		if flag == "eval" && was.Digests[flag] == "" { // nothing was measured before
			continue
		}
		if s.Digests[flag] != was.Digests[flag] {
			path := cmd.Flags().Lookup(flag).Value.String()
			return s, fmt.Errorf("--%s %q: is not what %s was trained with: its content has changed", flag, path, c.from.dir)
		}
	}
	if s.Steps != was.Steps {
		return s, fmt.Errorf("%s: max_steps is %d, want %d", filepath.Join(c.from.dir, train.StateFile), was.Steps, s.Steps)
	}
	s.Step, s.Epoch, s.History, s.Evals = was.Step, was.Epoch, was.History, was.Evals
	return s, nil
}

// digest returns a SHA-256 of what examples teach: their tokens and labels.
func digest(examples []train.Example) string {
	h := sha256.New()
	var b []byte
	for _, x := range examples {
		b = binary.LittleEndian.AppendUint64(b[:0], uint64(len(x.IDs)))
		for i, id := range x.IDs {
			b = binary.LittleEndian.AppendUint32(b, uint32(id))
			b = binary.LittleEndian.AppendUint32(b, uint32(x.Labels[i]))
		}
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// resumeCommand is what to type to go on.
func (c *finetune) resumeCommand(cmd *cobra.Command) string {
	words := []string{cmd.CommandPath()}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name == "resume" {
			return
		}
		if s, ok := f.Value.(pflag.SliceValue); ok {
			for _, v := range s.GetSlice() {
				words = append(words, "--"+f.Name, shellQuote(v))
			}
			return
		}
		switch v := f.Value.String(); {
		case v == "true":
			words = append(words, "--"+f.Name)
		case v == "false" || strings.HasPrefix(v, "-"):
			words = append(words, "--"+f.Name+"="+shellQuote(v))
		default:
			words = append(words, "--"+f.Name, shellQuote(v))
		}
	})
	return strings.Join(append(words, "--resume", shellQuote(c.out)), " ")
}
