package cli

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

// finetune is the flags of the command of that name.
type finetune struct {
	modelFlags
	data, out, eval string
	method          string
	lora            lora.Config
	targets         string
	exclude         string
	layers          string
	initAdapter     string
	steps, epochs   int
	loader          train.Loader
	noShuffle       bool
	seq             int
	schedule        string
	options         train.Options
	json            bool
}

func newFinetune(e *env) *cobra.Command {
	var c finetune
	cmd := &cobra.Command{
		Use:   "finetune --model PATH --data FILE --out DIR",
		Short: "Train a LoRA adapter, or all weights, on a data file",
		Long: `Train a model on a data file, as PEFT does under transformers' Trainer, and
write a PEFT adapter (--method lora) or a Hugging Face checkpoint (--method full)
with a curve of the loss, loss.png. The folder --out is replaced as a whole when
the new one is complete.

The data is JSONL, each line one of
  {"text": …}                        loss on all tokens
  {"prompt": …, "completion": …}     loss on the completion
  {"messages": […]}                  by the chat template, loss on the assistant
  {"input_ids": […], "labels": […]}  tokenised already, -100 is no loss`,
		Example: `  tenon finetune --model SmolLM2.gguf --data train.jsonl --out my-adapter --steps 100
  tenon finetune --model model --data train.jsonl --eval held-out.jsonl --out my-adapter \
    --targets all-linear --rank 16 --alpha 32 --batch 4 --accumulate 2 --epochs 3 --schedule cosine --warmup 10`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.check(cmd, e); err != nil {
				return err
			}
			return c.run(cmd, e)
		},
	}
	c.addBase(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&c.data, "data", "", "JSONL file to train on (required)")
	f.StringVar(&c.out, "out", "", "folder to write (required)")
	f.StringVar(&c.method, "method", "lora", "lora, or full: train all weights")
	f.IntVar(&c.lora.Rank, "rank", 8, "rank of the adapter")
	f.Float64Var(&c.lora.Alpha, "alpha", 16, "the adapter's output is multiplied by alpha/rank")
	f.StringVar(&c.targets, "targets", "", "layers to adapt: q_proj,v_proj or all-linear or re:REGEX (default: PEFT's for the model)")
	f.StringVar(&c.exclude, "exclude", "", "layers to leave out: names or re:REGEX")
	f.StringVar(&c.layers, "layers", "", "adapt only the blocks of these numbers: 0,1")
	f.StringVar(&c.initAdapter, "init-adapter", "", "go on training this adapter, under its own configuration")
	f.Float64Var(&c.lora.Dropout, "dropout", 0, "dropout on the adapter's input")
	f.BoolVar(&c.lora.RSLoRA, "rslora", false, "multiply by alpha/√rank instead of alpha/rank")
	f.IntVar(&c.steps, "steps", 0, "optimizer steps, going round the data")
	f.IntVar(&c.epochs, "epochs", 0, "times to go through the data (default 3, unless --steps is given)")
	f.IntVar(&c.loader.Batch, "batch", 1, "lines of a batch")
	f.IntVar(&c.loader.Accumulate, "accumulate", 1, "batches of a step")
	f.IntVar(&c.seq, "seq", 512, "cut longer lines at so many tokens")
	f.Float64Var(&c.options.LR, "lr", 2e-4, "learning rate at its highest")
	f.StringVar(&c.schedule, "schedule", "constant", "of the learning rate: constant, linear or cosine")
	f.Float64Var(&c.options.Warmup, "warmup", 0, "steps in which the rate rises from 0; below 1, the share of all steps")
	f.Float64Var(&c.options.WeightDecay, "weight-decay", 0, "AdamW's weight decay")
	f.Float64Var(&c.options.Clip, "clip", 1, "largest norm of the gradient; 0 does not clip")
	f.Uint64Var(&c.options.Seed, "seed", 0, "of the adapter's first weights, the order of the data and dropout")
	f.BoolVar(&c.noShuffle, "no-shuffle", false, "take the lines in the file's order, from the top again at its end")
	f.StringVar(&c.eval, "eval", "", "JSONL file to measure the loss on, before, during and after training")
	f.BoolVar(&c.options.Recompute, "recompute", false, "keep less for the backward pass and compute it again: less memory, more time")
	f.BoolVar(&c.json, "json", false, "print one JSON object a step, and one at the end")
	return cmd
}

// check reports what is wrong with the command line.
func (c *finetune) check(cmd *cobra.Command, e *env) error {
	given := cmd.Flags().Changed
	if err := errors.Join(require(cmd, "model", "data", "out"), c.modelFlags.check()); err != nil {
		return err
	}
	positive := func(flag string, v int) error {
		if v < 1 {
			return usagef("--%s is %d, want 1 or more", flag, v)
		}
		return nil
	}
	number := func(flag string, v float64) error {
		if !(v >= 0) || math.IsInf(v, 0) {
			return usagef("--%s is %g, want 0 or more", flag, v)
		}
		return nil
	}
	err := errors.Join(
		positive("batch", c.loader.Batch), positive("accumulate", c.loader.Accumulate), positive("seq", c.seq),
		number("lr", c.options.LR), number("warmup", c.options.Warmup),
		number("weight-decay", c.options.WeightDecay), number("clip", c.options.Clip),
	)
	switch {
	case given("steps") && given("epochs"):
		err = errors.Join(err, usagef("--steps and --epochs exclude each other"))
	case given("steps"):
		err = errors.Join(err, positive("steps", c.steps))
	case given("epochs"):
		err = errors.Join(err, positive("epochs", c.epochs))
	default:
		c.epochs = 3 // as transformers' Trainer
	}
	if c.options.Schedule, _ = train.ParseSchedule(c.schedule); c.options.Schedule == "" {
		_, bad := train.ParseSchedule(c.schedule)
		err = errors.Join(err, usagef("--schedule: %w", bad))
	}
	if c.method != "lora" && c.method != "full" {
		err = errors.Join(err, usagef("--method is %q, want lora or full", c.method))
	}
	if c.method == "full" && c.initAdapter != "" {
		err = errors.Join(err, usagef("--init-adapter has no meaning with --method full"))
	}
	c.lora.Targets, c.lora.Exclude = lora.ParseNames(c.targets), lora.ParseNames(c.exclude)
	if c.layers != "" {
		for s := range strings.SplitSeq(c.layers, ",") {
			n, bad := strconv.Atoi(strings.TrimSpace(s))
			if bad != nil || n < 0 {
				err = errors.Join(err, usagef("--layers is %q, want numbers such as 0,1", c.layers))
				break
			}
			c.lora.Layers = append(c.lora.Layers, n)
		}
	}
	if bad := c.lora.Check(); bad != nil {
		err = errors.Join(err, usageError{bad})
	}
	if err != nil {
		return err
	}

	unused, why := []string{"rank", "alpha", "targets", "exclude", "layers", "dropout", "rslora"}, ""
	switch {
	case c.method == "full":
		why = "--method full trains all weights"
	case c.initAdapter != "":
		why = "--init-adapter has its own configuration"
	}
	for _, f := range unused {
		if why != "" && given(f) {
			e.warn("--%s is not used: %s", f, why)
		}
	}
	c.loader.Shuffle, c.loader.Seed = !c.noShuffle, c.options.Seed
	return nil
}

// finished is the last line of `finetune --json`.
type finished struct {
	Done    bool          `json:"done"`
	Steps   int           `json:"steps"`
	Loss    float64       `json:"loss"` // of the last step
	Tokens  int           `json:"tokens"`
	Seconds float64       `json:"seconds"`
	Params  int           `json:"trainable"` // parameters
	RSS     int64         `json:"rss_bytes"`
	Eval    *train.Result `json:"eval,omitempty"` // on the held-out file, after training
	Out     string        `json:"out"`
}

func (c *finetune) run(cmd *cobra.Command, e *env) (err error) {
	dir, err := newOutDir(c.out, e.warn,
		input{flag: "model", path: c.model}, input{flag: "data", path: c.data}, input{flag: "eval", path: c.eval},
		input{flag: "init-adapter", path: c.initAdapter, replaced: true})
	if err != nil {
		return err
	}
	defer dir.discard()
	start := time.Now()
	m, err := c.open(e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()

	if c.loader.Examples, err = m.readData(c.data, c.seq); err != nil {
		return err
	}
	c.warnUntrained(e)
	var heldOut []train.Example
	if c.eval != "" {
		if heldOut, err = m.readData(c.eval, c.seq); err != nil {
			return err
		}
	}
	if c.options.Steps = c.steps; c.steps == 0 {
		c.options.Steps = c.epochs * c.loader.StepsPerEpoch()
	}
	if err := c.loader.Check(c.options.Steps); err != nil {
		return fmt.Errorf("%s: %w", c.data, err)
	}
	params, err := c.prepare(m)
	if err != nil {
		return err
	}
	end := finished{Done: true, Out: c.out}
	for _, p := range params {
		end.Params += p.Value.T.Elems()
	}

	var losses, evals []lossPoint
	measure := func(step int) error {
		if heldOut == nil {
			return nil
		}
		r, err := m.evaluate(cmd.Context(), c.eval, heldOut)
		if err != nil {
			return err
		}
		evals, end.Eval = append(evals, lossPoint{step, r.Loss}), &r
		return nil
	}
	if err := measure(0); err != nil {
		return err
	}
	bar := newProgress(e.stderr, c.options.Steps, c.json)
	defer bar.close()
	every := max(1, (c.options.Steps+evaluations-1)/evaluations)
	err = train.Run(cmd.Context(), m.LM, m.Device, params, &c.loader, c.options, func(r train.Report) error {
		losses = append(losses, lossPoint{r.Step, r.Loss})
		end.Steps, end.Loss, end.Tokens = r.Step, r.Loss, end.Tokens+r.Tokens
		s := stepReport{Report: r, RSS: rssBytes()}
		if c.json {
			if err := writeJSON(e.stdout, s); err != nil {
				return err
			}
		}
		bar.step(s)
		if r.Step%every == 0 || r.Step == c.options.Steps {
			return measure(r.Step)
		}
		return nil
	})
	bar.close()
	if err != nil {
		return c.keepLast(m, params, end.Steps, fmt.Errorf("%s: %s: %w", c.model, c.data, err), e)
	}

	if err := c.save(m, params, dir.dir(), e); err != nil {
		return err
	}
	if err := lossPlot(filepath.Join(dir.dir(), "loss.png"), losses, evals); err != nil {
		return err
	}
	if err := dir.commit(); err != nil {
		return err
	}
	end.Seconds, end.RSS = time.Since(start).Seconds(), rssBytes()
	if c.json {
		return writeJSON(e.stdout, end)
	}
	held := ""
	if end.Eval != nil {
		held = fmt.Sprintf(", held out %.4f (was %.4f)", end.Eval.Loss, evals[0].Loss)
	}
	_, err = fmt.Fprintf(e.stdout, "%d steps in %s: loss %.4f (was %.4f)%s; %d parameters trained; written to %q\n",
		end.Steps, time.Since(start).Round(100*time.Millisecond), end.Loss, losses[0].Loss, held, end.Params, c.out)
	return err
}

// evaluations is how often the held-out loss is measured during a run.
const evaluations = 10

// warnUntrained tells of lines that cutting has left nothing to learn from.
func (c *finetune) warnUntrained(e *env) {
	n, first := 0, 0
	for i := range c.loader.Examples {
		if x := &c.loader.Examples[i]; x.Targets() == 0 {
			if n++; n == 1 {
				first = x.Line
			}
		}
	}
	if n > 0 {
		e.warn("%s: %d of %d lines have no token to learn within --seq %d, the first is line %d", c.data, n, len(c.loader.Examples), c.seq, first)
	}
}

// prepare makes or loads what is trained.
func (c *finetune) prepare(m *model) ([]train.Param, error) {
	var params []train.Param
	if c.method == "full" {
		for name, p := range nn.Params(m.LM) {
			params = append(params, train.Param{Name: name, Value: p})
		}
		return params, nil
	}
	var err error
	if c.initAdapter != "" {
		m.adapter, err = lora.Load(m.LM, adapterName, c.initAdapter, m.Device)
	} else {
		if c.lora.Targets.None() {
			c.lora.Targets.List = lora.DefaultTargets(m.LM.Family())
		}
		c.lora.BaseModel = c.model
		m.adapter, err = lora.New(m.LM, adapterName, c.lora, c.options.Seed, m.Device)
	}
	if err != nil {
		return nil, err
	}
	c.options.Adapter = m.active()
	for name, p := range m.adapter.Params() {
		params = append(params, train.Param{Name: name, Value: p})
	}
	return params, nil
}

// save writes what was trained into a folder.
func (c *finetune) save(m *model, params []train.Param, dir string, e *env) error {
	for _, p := range params {
		if !tensor.Finite(p.Value.T.F32()) {
			return fmt.Errorf("%s: tensor %q is not finite after training: lower --lr", c.model, p.Name)
		}
	}
	if c.method == "full" {
		return m.SaveCheckpoint(dir, "f32", e.warn)
	}
	return m.adapter.Save(dir)
}

// keepLast saves what was trained up to the last good step beside --out, which
// stays as it is, and adds to the error where that lies.
func (c *finetune) keepLast(m *model, params []train.Param, steps int, err error, e *env) error {
	if steps == 0 || slices.ContainsFunc(params, func(p train.Param) bool { return !tensor.Finite(p.Value.T.F32()) }) {
		return err
	}
	path := fmt.Sprintf("%s.step-%d", filepath.Clean(c.out), steps)
	if _, exists := os.Lstat(path); exists == nil {
		return fmt.Errorf("%w; the state after step %d is not kept: %q exists", err, steps, path)
	}
	dir, failed := newOutDir(path, e.warn)
	if failed != nil {
		return errors.Join(err, failed)
	}
	defer dir.discard()
	if failed := c.save(m, params, dir.dir(), e); failed != nil {
		return errors.Join(err, failed)
	}
	if failed := dir.commit(); failed != nil {
		return errors.Join(err, failed)
	}
	return fmt.Errorf("%w; the state after step %d is in %q", err, steps, path)
}
