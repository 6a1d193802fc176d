package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// Options are the settings of a training run.
type Options struct {
	Steps       int     // optimizer steps in all
	LR          float64 // peak learning rate
	Schedule    Schedule
	Warmup      float64 // steps, or a share of all below 1
	WeightDecay float64
	Clip        float64     // largest norm of the gradients; 0 does not clip
	Seed        uint64      // of dropout
	Adapter     *nn.Adapter // that the model computes with; nil: none
	Recompute   bool

	// Optimizer is what to take the steps with, of the same parameters. It goes on
	// behind the steps that it has taken already: with parameters and moments of a
	// run that was cut off, the rest is bit for bit what it would have been. nil: a
	// new one, that is released in the end.
	Optimizer *AdamW
}

// Report tells of one optimizer step.
type Report struct {
	Step         int     `json:"step"` // from 1
	Loss         float64 `json:"loss"` // mean over the step's tokens that have a loss
	LR           float64 `json:"lr"`   // that the step used
	GradNorm     float64 `json:"grad_norm"`
	Tokens       int     `json:"tokens"` // read by the step, padding not counted
	TokensPerSec float64 `json:"tokens_per_s"`
}

// Run trains the parameters on the loader's examples: each step computes the mean
// loss over the tokens of all its batches, clips, and takes a step of AdamW. The
// parameters are marked trainable meanwhile. After each step it calls report,
// whose error ends the run; parameters and optimizer are those of that step then
// and may be saved. A context that is done ends it between two steps. A loss or a
// gradient that is not finite ends it before the parameters change.
func Run(ctx context.Context, m nn.CausalLM, dev tensor.Device, params []Param, data *Loader, o Options, report func(Report) error) error {
	if len(params) == 0 {
		return errors.New("nothing to train: no parameter is trainable")
	}
	if err := data.Check(o.Steps); err != nil {
		return err
	}
	for _, p := range params {
		p.Value.Trainable = true
		defer func() { p.Value.Trainable = false }()
	}
	opt := o.Optimizer
	if opt == nil {
		opt = NewAdamW(params, o.WeightDecay)
		defer opt.Release()
	}
	arena := tensor.NewArena(dev)
	tape := autograd.NewTape(arena)
	warmup := WarmupSteps(o.Warmup, o.Steps)
	for s := range data.steps(opt.step, o.Steps) {
		if err := ctx.Err(); err != nil {
			return err
		}
		start := time.Now()
		r := Report{Step: s.Number, LR: o.LR * o.Schedule.Factor(s.Number-1, warmup, o.Steps)}
		err := tensor.Try(func() error { return step(m, tape, params, opt, s, o, &r) })
		if err != nil {
			return err
		}
		r.TokensPerSec = float64(r.Tokens) / time.Since(start).Seconds()
		if err := report(r); err != nil {
			return err
		}
	}
	return nil
}

// step takes one optimizer step and fills in the report.
func step(m nn.CausalLM, tape *autograd.Tape, params []Param, opt *AdamW, s Step, o Options, r *Report) error {
	if s.Targets == 0 {
		return fmt.Errorf("step %d (lines %s): nothing to learn: no label behind the first token is left after cutting", s.Number, lines(s.Batches...))
	}
	grads := autograd.Grads{}
	defer grads.Release()
	for i, b := range s.Batches {
		loss := backward(m, tape, b, float64(s.Targets), grads, o, fmt.Sprintf("step %d batch %d", s.Number, i))
		if !isFinite(loss) {
			return fmt.Errorf("step %d, batch %d (lines %s): the loss is not finite", s.Number, i+1, lines(b))
		}
		r.Loss += loss
		r.Tokens += b.Tokens
	}
	r.GradNorm = gradNorm(tape.Arena().Device(), params, grads)
	if !isFinite(r.GradNorm) {
		return fmt.Errorf("step %d (lines %s): the gradient is not finite", s.Number, lines(s.Batches...))
	}
	if o.Clip > 0 {
		clip(params, grads, r.GradNorm, o.Clip)
	}
	opt.Step(grads, r.LR)
	return nil
}

// backward adds a batch's gradients and returns its part of the mean loss. The tape
// is empty, and is so again afterwards.
func backward(m nn.CausalLM, tape *autograd.Tape, b Batch, denom float64, grads autograd.Grads, o Options, stream string) float64 {
	defer tape.Arena().Close()
	defer tape.Close()
	s := &nn.Step{Tape: tape, B: b.B, T: b.T, Starts: b.Starts, Train: true, Seed: tensor.StreamKey(o.Seed, stream), Adapter: o.Adapter, Recompute: o.Recompute}
	loss := nn.Loss(m, s, b.IDs, b.Labels, denom)
	v := loss.T.Item()
	if isFinite(v) {
		autograd.Backward(loss, grads)
	}
	return v
}

// Result is what Evaluate measured.
type Result struct {
	Loss       float64 `json:"loss"` // mean over the tokens that have a loss
	Perplexity float64 `json:"perplexity"`
	Tokens     int     `json:"tokens"` // that have a loss
}

// Evaluate returns the mean loss of the examples, batch rows at a time.
func Evaluate(ctx context.Context, m nn.CausalLM, dev tensor.Device, examples []Example, batch int, adapter *nn.Adapter) (Result, error) {
	var r Result
	var sum float64
	for lo := 0; lo < len(examples); lo += batch {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		var rows [][]*Example
		for i := lo; i < min(lo+batch, len(examples)); i++ {
			rows = append(rows, []*Example{&examples[i]})
		}
		b := NewBatch(rows)
		if b.Targets() == 0 {
			continue
		}
		err := tensor.Try(func() error {
			arena := tensor.NewArena(dev)
			defer arena.Close()
			s := &nn.Step{Tape: autograd.NoGrad(arena), B: b.B, T: b.T, Adapter: adapter}
			loss := nn.Loss(m, s, b.IDs, b.Labels, 1).T.Item()
			if !isFinite(loss) {
				return fmt.Errorf("lines %s: the loss is not finite", lines(b))
			}
			sum += loss
			return nil
		})
		if err != nil {
			return r, err
		}
		r.Tokens += b.Targets()
	}
	if r.Tokens == 0 {
		return r, errors.New("no token has a loss")
	}
	r.Loss = sum / float64(r.Tokens)
	r.Perplexity = min(math.Exp(r.Loss), math.MaxFloat64) // JSON has no infinity
	return r, nil
}

func isFinite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// lines names the lines of the data file that batches are made of.
func lines(batches ...Batch) string {
	var all []int
	for _, b := range batches {
		all = append(all, b.Lines...)
	}
	s := fmt.Sprint(all[:min(len(all), 8)])
	s = s[1 : len(s)-1]
	if len(all) > 8 {
		s += " …"
	}
	return s
}
