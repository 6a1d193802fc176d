package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/machine"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

// Jobs are the names of what Run can measure, in order. "memory" is no part of
// them: it takes a process of its own.
var Jobs = []string{"limits", "matmul", "prefill", "decode", "step"}

// Options says what Run measures.
type Options struct {
	Jobs      []string
	Path      string // of the model, for the report
	Tokens    int    // of the prompt, and of a step's sequence
	Generate  int    // tokens decoded in a sample
	Rank      int    // of the adapter
	Recompute bool
	Samples   int              // that count, of each figure
	Progress  func(job string) // nil: silent
}

// Run measures jobs on a model.
func Run(ctx context.Context, m *llama.Model, dev *tensor.CPU, o Options) (Report, error) {
	r := run{Options: o, ctx: ctx, model: m, dev: dev, work: workOf(m), report: now()}
	r.sampler = Sampler{Clock: machine.Clock{Threads: dev.Threads()}, Wanted: o.Samples}
	r.report.Model = ModelInfo{Path: o.Path, Parameters: r.work.params, Types: r.work.types, Bytes: r.work.held}
	r.report.Compute = dev.Compute().String()
	if slices.Contains(o.Jobs, "limits") {
		r.tell("limits")
		l := machine.Measure(dev.Threads(), 2*time.Second)
		r.report.Limits = Limits{Threads: l.Threads, FMA: l.FMA, Read: l.Read}
		r.sampler.Best = l.FMA
	} else {
		r.report.Limits.Threads = dev.Threads()
	}
	jobs := map[string]func() error{"matmul": r.matmul, "prefill": r.prefill, "decode": r.decode, "step": r.step}
	for _, job := range Jobs {
		if f := jobs[job]; f != nil && slices.Contains(o.Jobs, job) {
			r.tell(job)
			if err := tensor.Try(f); err != nil {
				return Report{}, fmt.Errorf("%s: %w", job, err)
			}
		}
	}
	r.report.Memory = machine.Resident()
	return r.report, nil
}

// run is a Run under way.
type run struct {
	Options
	ctx     context.Context
	model   *llama.Model
	dev     *tensor.CPU
	work    work
	sampler Sampler
	report  Report
}

func (r *run) tell(job string) {
	if r.Progress != nil {
		r.Progress(job)
	}
}

// add adds a result, without a share where no limit was measured.
func (r *run) add(x Result) {
	if r.report.Limits.FMA == 0 {
		x.Limit, x.Share = "", 0
	}
	r.report.Results = append(r.report.Results, x)
}

// matmul measures F32 products: squares, and Tokens rows by each of the model's
// matrices.
func (r *run) matmul() error {
	for _, n := range []int{256, 512, 1024, 2048} {
		if err := r.product(Case{"matmul", n, n, n}); err != nil {
			return err
		}
	}
	for _, s := range r.work.shapes {
		if err := r.product(Case{"matmulT", r.Tokens, s.n, s.k}); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) product(c Case) error {
	p := NewProduct(r.dev, c, tensor.F32)
	defer p.Release()
	t, err := r.sampler.repeated(r.ctx, p.Run)
	if err != nil {
		return err
	}
	r.add(t.rate("matmul", p.Name(), p.FLOP()/1e9, "GFLOP/s").ofFMA(p.FLOP(), r.report.Limits).withBytes(p.Bytes()))
	return nil
}

func (r Result) withBytes(n float64) Result {
	r.Bytes = n
	return r
}

// ids returns n token ids of the model.
func (r *run) ids(n int) []int32 {
	random := tensor.NewRandom(2, "ids")
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(random.Uint32() % uint32(r.model.Vocab()))
	}
	return out
}

// generate continues a prompt by n tokens and returns how long its parts took.
func (r *run) generate(prompt, n int) (nn.Timing, error) {
	var timing nn.Timing
	request := nn.Request{Prompt: r.ids(prompt), MaxTokens: n}
	for _, err := range nn.Generate(r.ctx, r.model, r.dev, request, &timing) {
		if err != nil {
			return timing, err
		}
	}
	return timing, nil
}

func (r *run) prefill() error {
	f := func() (float64, error) {
		t, err := r.generate(r.Tokens, 1)
		return t.Prompt.Seconds(), err
	}
	if _, err := f(); err != nil { // warm-up
		return err
	}
	t, err := r.sampler.measure(r.ctx, f)
	if err != nil {
		return err
	}
	flop := r.work.prefill(r.Tokens)
	name := fmt.Sprintf("%s/tokens=%d/%s", r.typesName(), r.Tokens, threadsName(r.dev.Threads()))
	r.add(t.rate("prefill", name, float64(r.Tokens), "tokens/s").ofFMA(flop, r.report.Limits).withBytes(float64(r.work.bytes)))
	return nil
}

// typesName names the types of the model's matrices.
func (r *run) typesName() string { return strings.ToLower(strings.Join(r.work.types, "+")) }

// shortPrompt is what decoding begins with: nearly nothing.
const shortPrompt = 16

func (r *run) decode() error {
	f := func() (float64, error) {
		t, err := r.generate(shortPrompt, r.Generate+1)
		return t.Tokens.Seconds() / float64(r.Generate), err
	}
	if _, err := f(); err != nil { // warm-up
		return err
	}
	r.sampler.Reader = machine.NewReader(r.dev.Threads())
	defer func() {
		r.sampler.Reader.Release()
		r.sampler.Reader = nil
	}()
	t, err := r.sampler.measure(r.ctx, f)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s/%s", r.typesName(), threadsName(r.dev.Threads()))
	x := t.rate("decode", name, 1, "tokens/s").ofRead(float64(r.work.bytes), t)
	x.FLOP = 2 * float64(r.work.layers+r.work.head)
	r.add(x)
	return nil
}

// errEnough ends a training run that has gone on for long enough.
var errEnough = errors.New("enough")

func (r *run) step() error {
	s, err := NewStep(r.model, r.dev, r.Rank, r.ids(r.Tokens))
	if err != nil {
		return err
	}
	defer s.Release()
	s.Recompute = r.Recompute
	t, err := r.sampler.steps(r.ctx, s)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s/tokens=%d/rank=%d/recompute=%v/%s", r.typesName(), r.Tokens, r.Rank, r.Recompute, threadsName(r.dev.Threads()))
	r.add(t.rate("step", name, float64(r.Tokens), "tokens/s").ofFMA(s.FLOP(), r.report.Limits))
	return nil
}

// steps samples the steps of a LoRA run.
func (s *Sampler) steps(ctx context.Context, step *Step) (timings, error) {
	var all []machine.Sample
	var stretch *machine.Stretch
	err := step.Train(ctx, stepWarmUp+3*s.Wanted, func(n int) error {
		if stretch != nil {
			all = append(all, stretch.Stop())
			if s.counting(all).quiet == s.Wanted {
				return errEnough
			}
		}
		if n >= stepWarmUp {
			stretch = s.Start()
		}
		return nil
	})
	if err == errEnough {
		err = nil
	}
	return s.counting(all), err
}

// Steps returns the median time of a step, in seconds.
func (s *Sampler) Steps(ctx context.Context, step *Step) (float64, error) {
	t, err := s.steps(ctx, step)
	return median(t.seconds), err
}

// Median returns the median of what f returns for a run, in seconds.
func (s *Sampler) Median(ctx context.Context, f func() (float64, error)) (float64, error) {
	if _, err := f(); err != nil { // warm-up
		return 0, err
	}
	t, err := s.measure(ctx, f)
	return median(t.seconds), err
}

// stepWarmUp is how many steps are taken before any is measured.
const stepWarmUp = 2

// A Step is a LoRA step on all linear layers of a model, over one sequence.
type Step struct {
	Recompute bool

	model   *llama.Model
	dev     *tensor.CPU
	work    work // of the model without the adapter
	adapter *lora.Adapter
	params  []train.Param
	data    *train.Loader
}

// NewStep puts an adapter on a model.
func NewStep(m *llama.Model, dev *tensor.CPU, rank int, ids []int32) (*Step, error) {
	w := workOf(m)
	a, err := lora.New(m, "bench", lora.Config{Rank: rank, Alpha: 2 * float64(rank), Targets: lora.Names{AllLinear: true}}, 0, dev)
	if err != nil {
		return nil, err
	}
	s := &Step{model: m, dev: dev, work: w, adapter: a}
	for name, v := range a.Params() {
		s.params = append(s.params, train.Param{Name: name, Value: v})
	}
	s.data = &train.Loader{Examples: []train.Example{{IDs: ids, Labels: ids}}, Batch: 1, Accumulate: 1}
	return s, nil
}

// FLOP returns the useful floating-point operations of a step.
func (s *Step) FLOP() float64 { return s.work.step(len(s.data.Examples[0].IDs), s.trained()) }

// trained returns the number of trained parameters.
func (s *Step) trained() int {
	n := 0
	for _, p := range s.params {
		n += p.Value.T.Elems()
	}
	return n
}

// Train takes steps and calls report after each, counted from 1; its error ends
// the run.
func (s *Step) Train(ctx context.Context, steps int, report func(step int) error) error {
	o := train.Options{Steps: steps, LR: 1e-4, Schedule: train.Constant, Clip: 1, Adapter: s.adapter.Use(), Recompute: s.Recompute}
	return train.Run(ctx, s.model, s.dev, s.params, s.data, o, func(r train.Report) error { return report(r.Step) })
}

// Release takes the adapter off the model.
func (s *Step) Release() { s.adapter.Remove() }
