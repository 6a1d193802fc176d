package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
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
	adapterFlags
	alphas        []string
	initAdapter   string
	pack          bool
	saveEvery     int
	saveTotal     int
	resume        string
	steps, epochs int
	loader        train.Loader
	noShuffle     bool
	seq           int
	schedule      string
	options       train.Options
	budget        budget
	json          bool

	dir  *outDir     // --out
	from *checkpoint // what --resume names
	k    checkpoints
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

With --save-every the state of the run is put into OUT/checkpoint-N now and then,
and in any case when it is interrupted or goes wrong. --resume goes on from there,
under the same options, which need not be given again, to the result that the run
would have had.

With --compute bf16 products of the forward and the backward pass round their
operands to BF16, as under PyTorch's bfloat16 autocast; sums, norms, softmax, the
adapter's weights and the optimizer stay F32. --compute int16 rounds weights in 4 bits and
Q8_0, and what they multiply, to 14-bit integers, in products of up to 8 rows:
so hardly ever in training, whose rows are all tokens of a batch. Both are off by
default; docs/performance.md has what they cost and bring.

The data is JSONL, each line one of
  {"text": …}                        loss on all tokens
  {"prompt": …, "completion": …}     loss on the completion
  {"messages": […]}                  by the chat template, loss on the assistant
  {"input_ids": […], "labels": […]}  tokenised already, -100 is no loss`,
		Example: `  tenon finetune --model SmolLM2.gguf --data train.jsonl --out my-adapter --steps 100
  tenon finetune --model model --data train.jsonl --eval held-out.jsonl --out my-adapter \
    --targets all-linear --rank 16 --alpha 32 --batch 4 --accumulate 2 --epochs 3 --schedule cosine --warmup 10 --save-every 50
  tenon finetune --resume my-adapter`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.resume != "" {
				if err := c.takeUp(cmd, e); err != nil {
					return err
				}
				defer c.dir.discard()
			}
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
	c.adapterFlags.add(f, &c.lora)
	f.Float64Var(&c.lora.Alpha, "alpha", 16, "the adapter's output is multiplied by alpha/rank")
	f.StringArrayVar(&c.alphas, "alpha-pattern", nil, "REGEX=A: likewise another alpha")
	f.StringVar(&c.initAdapter, "init-adapter", "", "go on training this adapter, under its own configuration")
	f.Float64Var(&c.lora.Dropout, "dropout", 0, "dropout on the adapter's input")
	f.BoolVar(&c.lora.RSLoRA, "rslora", false, "multiply by alpha/√rank instead of alpha/rank")
	f.IntVar(&c.steps, "steps", 0, "optimizer steps, going round the data")
	f.IntVar(&c.epochs, "epochs", 0, "times to go through the data (default 3, unless --steps is given)")
	f.IntVar(&c.loader.Batch, "batch", 1, "lines of a batch")
	f.IntVar(&c.loader.Accumulate, "accumulate", 1, "batches of a step")
	f.IntVar(&c.seq, "seq", 512, "cut longer lines at so many tokens")
	f.BoolVar(&c.pack, "pack", false, "let lines share rows of up to --seq tokens; they do not see each other")
	f.Float64Var(&c.options.LR, "lr", 2e-4, "learning rate at its highest")
	f.StringVar(&c.schedule, "schedule", "constant", "of the learning rate: constant, linear or cosine")
	f.Float64Var(&c.options.Warmup, "warmup", 0, "steps in which the rate rises from 0; below 1, the share of all steps")
	f.Float64Var(&c.options.WeightDecay, "weight-decay", 0, "AdamW's weight decay")
	f.Float64Var(&c.options.Clip, "clip", 1, "largest norm of the gradient; 0 does not clip")
	f.Uint64Var(&c.options.Seed, "seed", 0, "of the adapter's first weights, the order of the data and dropout")
	f.BoolVar(&c.noShuffle, "no-shuffle", false, "take the lines in the file's order, from the top again at its end")
	f.StringVar(&c.eval, "eval", "", "JSONL file to measure the loss on, before, during and after training")
	f.BoolVar(&c.options.Recompute, "recompute", false, "keep less for the backward pass and compute it again: less memory, more time")
	f.StringVar(&c.budget.optim, "optim", "adamw", "adamw, adamw8bit: its state in 8 bits, or paged_adamw: its state in a file beside --out, in memory only as --memory has room")
	f.StringVar(&c.budget.memory, "memory", "", "refuse a run that takes more: 6GB, 500MB (default: what the machine has available)")
	f.IntVar(&c.saveEvery, "save-every", 0, "save the state every so many steps in OUT/checkpoint-N; 0: only when interrupted")
	f.IntVar(&c.saveTotal, "save-total", 0, "keep only so many of the newest checkpoints; 0 keeps all")
	f.StringVar(&c.resume, "resume", "", "go on with an interrupted run: its OUT, or a checkpoint in it")
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
		c.budget.check(), positive("batch", c.loader.Batch), positive("accumulate", c.loader.Accumulate), positive("seq", c.seq),
		number("lr", c.options.LR), number("warmup", c.options.Warmup),
		number("weight-decay", c.options.WeightDecay), number("clip", c.options.Clip),
		number("save-every", float64(c.saveEvery)), number("save-total", float64(c.saveTotal)),
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
	if c.method == "full" {
		if given("weights") && c.weights == weightsStored {
			err = errors.Join(err, usagef("--weights %s cannot be trained: --method full wants %s", weightsStored, weightsF32))
		}
		c.weights = weightsF32
		if c.quant.to != "" {
			err = errors.Join(err, usagef("--quantize %s cannot be trained: --method full wants all weights in F32", c.quant.to))
		}
	}
	if c.method == "full" && c.initAdapter != "" {
		err = errors.Join(err, usagef("--init-adapter has no meaning with --method full"))
	}
	if c.lora.Alpha == 0 {
		err = errors.Join(err, usagef("--alpha is 0: the adapter would be multiplied by it and learn nothing"))
	}
	var bad error
	c.lora.Alphas, bad = parsePatterns("alpha-pattern", c.alphas)
	err = errors.Join(err, c.adapterFlags.parse(cmd.Flags(), &c.lora), bad)
	for _, p := range c.lora.Alphas {
		if p.Value == 0 {
			err = errors.Join(err, usagef("--alpha-pattern is %s=0: the adapter would be multiplied by it and learn nothing", p.Regex))
		}
	}
	if err = errors.Join(err, inUsage(c.lora.Check())); err != nil {
		return err
	}

	if why := c.whyUnused(); why != "" && c.from == nil {
		for _, f := range ofAdapter {
			if given(f) {
				e.warn("--%s is not used: %s", f, why)
			}
		}
	}
	c.loader.Shuffle, c.loader.Seed = !c.noShuffle, c.options.Seed
	if c.pack {
		c.loader.Pack = c.seq
	}
	return nil
}

// ofAdapter are the flags of a new adapter.
var ofAdapter = []string{
	"rank", "alpha", "targets", "exclude", "layers", "rank-pattern", "alpha-pattern", "modules-to-save", "bias", "dropout", "rslora",
}

// flagOf is the flag by PEFT's key for it.
var flagOf = map[string]string{"exclude_modules": "exclude", "rank_pattern": "rank-pattern", "alpha_pattern": "alpha-pattern"}

// whyUnused says why no flag of a new adapter is used, "" if they are.
func (c *finetune) whyUnused() string {
	switch {
	case c.method == "full":
		return "--method full trains all weights"
	case c.initAdapter != "":
		return "--init-adapter has its own configuration"
	}
	return ""
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
	compared
}

func (c *finetune) run(cmd *cobra.Command, e *env) (err error) {
	if err := c.refuse(e); err != nil {
		return err
	}
	reads := []input{
		{flag: "model", path: c.model}, {flag: "data", path: c.data}, {flag: "eval", path: c.eval},
		{flag: "init-adapter", path: c.initAdapter, replaced: true},
	}
	if c.dir != nil {
		if err := c.dir.check(reads...); err != nil {
			return err
		}
	} else if c.dir, err = newOutDir(c.out, e.warn, reads...); err != nil {
		return err
	}
	defer c.dir.discard()
	c.dir.disk = e.disk
	c.k = checkpoints{out: c.dir, most: c.saveTotal}
	if err := c.k.open(c.from); err != nil {
		return err
	}
	start := time.Now()
	m, err := c.open(e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()

	if c.method == "full" {
		if err := m.Savable(); err != nil {
			return err
		}
	}
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
	r := run{finetune: c, env: e, model: m, heldOut: heldOut}
	if r.state, err = c.newState(cmd, m, heldOut); err != nil {
		return err
	}
	if err := r.prepare(); err != nil {
		return fmt.Errorf("%s: %w", c.model, err)
	}
	opt, err := c.newOptimizer(r.params)
	if err != nil {
		return err
	}
	defer opt.Release()
	c.options.Optimizer = opt
	if c.from != nil {
		if err := opt.Load(filepath.Join(c.from.dir, train.OptimizerFile)); err != nil {
			return err
		}
	}

	done := r.state.Step == c.options.Steps
	if err := r.train(cmd.Context()); err != nil {
		return r.stopped(cmd, fmt.Errorf("%s: %s: %w", c.model, c.data, err))
	}
	if err := r.finish(); err != nil {
		if last := c.k.last(); last != "" {
			err = fmt.Errorf("%w; the last good state is in %q", err, last)
		}
		return err
	}

	end := finished{Done: true, Out: c.out, Steps: r.state.Step, Loss: r.state.History[r.state.Step-1].Loss, Seconds: time.Since(start).Seconds(), RSS: rssBytes()}
	for _, p := range r.params {
		end.Params += p.Value.T.Elems()
	}
	for _, s := range r.state.History {
		end.Tokens += s.Tokens
	}
	if end.compared, err = c.compare(); err != nil {
		return err
	}
	held := ""
	if n := len(r.state.Evals); n > 0 {
		end.Eval = &r.state.Evals[n-1].Result
		held = fmt.Sprintf(", held out %.4f (was %.4f)", end.Eval.Loss, r.state.Evals[0].Loss)
	}
	if c.json {
		return writeJSON(e.stdout, end)
	}
	if done {
		_, err = fmt.Fprintf(e.stderr, "%q had taken all %d steps: loss %.4f%s; written to %q\n", c.from.dir, end.Steps, end.Loss, held, c.out)
		return err
	}
	_, err = fmt.Fprintf(e.stderr, "%d steps in %s: loss %.4f (was %.4f)%s; %d parameters trained; written to %q; %v\n",
		end.Steps, time.Since(start).Round(100*time.Millisecond), end.Loss, r.state.History[0].Loss, held, end.Params, c.out, end.compared)
	return err
}

// run is a training run under way.
type run struct {
	*finetune
	*env
	*model
	heldOut []train.Example
	params  []train.Param
	state   train.State
}

// train takes the steps that are left.
func (r *run) train(ctx context.Context) error {
	if err := r.measure(ctx); err != nil {
		return err
	}
	bar := newProgress(r.stderr, r.state.Step, r.options.Steps, r.finetune.json)
	defer bar.close()
	perEpoch := r.loader.StepsPerEpoch()
	return train.Run(ctx, r.LM, r.Device, r.params, &r.loader, r.options, func(rep train.Report) error {
		r.state.Step, r.state.Epoch = rep.Step, float64(rep.Step)/float64(perEpoch)
		r.state.History = append(r.state.History, rep)
		s := stepReport{Report: rep, RSS: rssBytes()}
		if r.finetune.json {
			if err := writeJSON(r.stdout, s); err != nil {
				return err
			}
		}
		bar.step(s)
		if err := r.measure(ctx); err != nil {
			return err
		}
		if r.saveEvery > 0 && (rep.Step%r.saveEvery == 0 || rep.Step == r.options.Steps) {
			return r.checkpoint()
		}
		return nil
	})
}

// evaluations is how often the held-out loss is measured during a run.
const evaluations = 10

// measure measures the held-out loss, if that is due after the steps taken.
func (r *run) measure(ctx context.Context) error {
	every := max(1, (r.options.Steps+evaluations-1)/evaluations)
	step, n := r.state.Step, len(r.state.Evals)
	if r.heldOut == nil || step%every != 0 && step != r.options.Steps || n > 0 && r.state.Evals[n-1].Step == step {
		return nil
	}
	result, err := r.evaluate(ctx, r.eval, r.heldOut)
	if err != nil {
		return err
	}
	r.state.Evals = append(r.state.Evals, train.Evaluation{Step: step, Result: result})
	return nil
}

// checkpoint saves the state after the last step.
func (r *run) checkpoint() error {
	return r.k.save(r.state.Step, func(dir string) error {
		if err := r.write(dir, func(string, ...any) {}); err != nil {
			return err
		}
		return train.SaveState(dir, r.state, r.options.Optimizer)
	})
}

// stopped saves the last good state of a run that came to no good end, and adds to
// the error where it lies.
func (r *run) stopped(cmd *cobra.Command, err error) error {
	if r.state.Step == 0 {
		return err
	}
	// After a step that was half done, or when saving has failed already, there is
	// only what was saved before.
	_, tried := errors.AsType[*saveError](err)
	if r.k.good != r.state.Step && !tried && r.state.Step == r.options.Optimizer.Steps() {
		if failed := r.checkpoint(); failed != nil {
			err = fmt.Errorf("%w; %w", err, failed)
		}
	}
	path := r.k.last()
	switch {
	case path == "":
		return fmt.Errorf("%w; no state could be saved", err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w; the state is in %q; go on by: %s", err, path, r.resumeCommand(cmd))
	}
	return fmt.Errorf("%w; the last good state is in %q", err, path)
}

// finish writes the result and puts it in its place.
func (r *run) finish() error {
	dir := r.dir.dir()
	if err := r.dir.disk.may("write", dir); err != nil {
		return err
	}
	if err := r.write(dir, r.warn); err != nil {
		return err
	}
	var losses, evals []lossPoint
	for _, s := range r.state.History {
		losses = append(losses, lossPoint{s.Step, s.Loss})
	}
	for _, s := range r.state.Evals {
		evals = append(evals, lossPoint{s.Step, s.Loss})
	}
	if err := lossPlot(filepath.Join(dir, "loss.png"), losses, evals); err != nil {
		return err
	}
	if err := r.k.carry(); err != nil {
		return err
	}
	return r.dir.commit()
}

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
func (r *run) prepare() error {
	if r.method == "full" {
		for name, p := range nn.Params(r.LM) {
			r.params = append(r.params, train.Param{Name: name, Value: p})
		}
		if r.from != nil {
			return r.LoadWeights(r.from.dir)
		}
		return nil
	}
	var err error
	switch {
	case r.from != nil:
		r.adapter, err = lora.Load(r.LM, adapterName, r.from.dir, r.Device)
	case r.initAdapter != "":
		r.adapter, err = lora.Load(r.LM, adapterName, r.initAdapter, r.Device)
	default:
		if r.lora.Targets.None() {
			r.lora.Targets.List = lora.DefaultTargets(r.LM.Family())
		}
		for _, n := range r.lora.Layers {
			if blocks := len(r.LM.Block); n >= blocks {
				return fmt.Errorf("--layers has %d, and the model has %d blocks, from 0 on", n, blocks)
			}
		}
		r.lora.BaseModel = r.finetune.model
		if r.adapter, err = lora.New(r.LM, adapterName, r.lora, r.options.Seed, r.Device); err == nil {
			for _, idle := range r.adapter.Idle() {
				r.warn("--%s: %q matches no layer that is adapted", flagOf[idle.Key], idle.Value)
			}
		}
	}
	if err != nil {
		return err
	}
	r.options.Adapter = r.active()
	for name, p := range r.adapter.Params() {
		r.params = append(r.params, train.Param{Name: name, Value: p})
	}
	return nil
}

// write writes what was trained into a folder.
func (r *run) write(dir string, warn func(string, ...any)) error {
	for _, p := range r.params {
		if !tensor.Finite(p.Value.T.F32()) {
			return fmt.Errorf("%s: tensor %q is not finite after step %d: lower --lr", r.Path, p.Name, r.state.Step)
		}
	}
	if r.method == "full" {
		return r.SaveCheckpoint(dir, "f32", warn)
	}
	return r.adapter.Save(dir)
}
