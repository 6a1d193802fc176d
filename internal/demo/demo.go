// Package demo is what `tenon demo` shows: a small language model, which tenon has
// trained and the binary contains, learns by LoRA the commands that a robot has
// after an update. Nothing is read or written.
package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/tokenizer"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

// What the demo demands of itself.
const (
	MostBefore = 0.05 // share of held-out requests that the base may answer right
	LeastAfter = 0.90 // that it must answer right with the adapter
	// MostDifference is how far logits of the merged model may be from those of
	// the base with the adapter; rounding alone is a hundredth of it.
	MostDifference = 1e-3
)

// The adaptation: chosen so that every seed passes with a margin.
const (
	batch    = 16
	rank     = 16
	alpha    = 32
	rate     = 6e-3
	newToken = 128 // most tokens of an answer
)

// Options are the settings of a demo.
type Options struct {
	Threads int    // 0: all cores
	Seed    uint64 // of the data and of the adapter
	Lines   int    // of adaptation data
	Steps   int    // of training
	HeldOut int    // requests to judge by

	// Say is told what happens, as text for people; Phase what takes time next,
	// and in how many steps; Advance that so many of them are done.
	Say     func(text string)
	Phase   func(name string, steps int)
	Advance func(done int)
}

// Defaults are the settings that the demo is meant for.
func Defaults() Options { return Options{Lines: 2000, Steps: 250, HeldOut: 200} }

// Report is what a demo measured.
type Report struct {
	Passed  bool    `json:"passed"`
	Before  float64 `json:"before"` // share of held-out requests answered right by the base,
	After   float64 `json:"after"`  // with the adapter,
	Merged  float64 `json:"merged"` // and by the merged model
	HeldOut int     `json:"held_out"`

	SameAnswers bool    `json:"same_answers"`      // merged and not
	Difference  float64 `json:"logits_difference"` // largest, merged and not

	Lines        int     `json:"train_lines"`
	Steps        int     `json:"steps"`
	Loss         float64 `json:"loss"`
	BaseParams   int     `json:"base_parameters"`
	Trainable    int     `json:"trainable"`
	TrainSeconds float64 `json:"train_seconds"`
	Seconds      float64 `json:"seconds"` // in all
	Seed         uint64  `json:"seed"`
	Threads      int     `json:"threads"`
}

// Judge returns an error that says which demand the report does not meet.
func (r *Report) Judge() error {
	var bad []string
	if !(r.Before <= MostBefore) {
		bad = append(bad, fmt.Sprintf("the base answers %s right before, want at most %s", percent(r.Before), percent(MostBefore)))
	}
	if !(r.After >= LeastAfter) {
		bad = append(bad, fmt.Sprintf("with the adapter it answers %s right, want at least %s", percent(r.After), percent(LeastAfter)))
	}
	if !(r.Difference <= MostDifference) {
		bad = append(bad, fmt.Sprintf("merged logits differ by %.2g, want at most %g", r.Difference, MostDifference))
	}
	if !r.SameAnswers {
		bad = append(bad, "the merged model answers otherwise than the base with the adapter")
	}
	if bad != nil {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// run is a demo under way.
type run struct {
	Options
	dev *tensor.CPU
	lm  *llama.Model
	tok *tokenizer.Tokenizer
}

// Run runs the demo. It returns an error if something did not work; whether the
// model learnt is in the report (see Report.Judge).
func Run(ctx context.Context, o Options) (r *Report, err error) {
	start := time.Now()
	d := &run{Options: o, dev: tensor.NewCPU(o.Threads)}
	defer func() { err = errors.Join(err, d.dev.Close()) }()
	if d.lm, d.tok, err = LoadBase(d.dev); err != nil {
		return nil, err
	}
	defer nn.Release(d.lm)
	r = &Report{HeldOut: o.HeldOut, Lines: o.Lines, Steps: o.Steps, Seed: o.Seed, Threads: d.dev.Threads()}
	for _, p := range nn.Params(d.lm) {
		r.BaseParams += p.T.Elems()
	}
	data, heldOut := AdaptationData(o.Lines, o.Seed), HeldOutData(o.HeldOut, o.Seed)

	d.say("A language model of %.2f million parameters is part of this command. tenon has trained\n"+
		"it to turn requests into the commands of four robots:\n\n", float64(r.BaseParams)/1e6)
	for _, s := range tour() {
		answer, err := d.answer(ctx, s.Prompt, nil)
		if err != nil {
			return nil, err
		}
		d.show(s, answer)
	}

	before, err := d.ask(ctx, "asking the base", heldOut, nil)
	if err != nil {
		return nil, err
	}
	r.Before = share(heldOut, before)
	d.say("\nThen dan is updated: its commands have other words, brackets and units now. Of %d\n"+
		"requests to dan the model answers %s right:\n\n", o.HeldOut, percent(r.Before))
	d.showFirst(heldOut, before)

	adapter, err := d.adapt(ctx, data, r)
	if err != nil {
		return nil, err
	}
	defer adapter.Remove()
	after, err := d.ask(ctx, "asking it with the adapter", heldOut, adapter.Use())
	if err != nil {
		return nil, err
	}
	r.After = share(heldOut, after)
	d.say("\nLoRA trained %d parameters beside it for %.1f s, on %d requests of which none\n"+
		"asks for one of these commands. With the adapter it answers %s right:\n\n", r.Trainable, r.TrainSeconds, o.Lines, percent(r.After))
	d.showFirst(heldOut, after)

	logits, err := d.logits(heldOut, adapter.Use())
	if err != nil {
		return nil, err
	}
	if err := adapter.Merge(); err != nil {
		return nil, err
	}
	merged, err := d.ask(ctx, "asking the merged model", heldOut, nil)
	if err != nil {
		return nil, err
	}
	r.Merged = share(heldOut, merged)
	r.SameAnswers = slices.Equal(after, merged)
	again, err := d.logits(heldOut, nil)
	if err != nil {
		return nil, err
	}
	r.Difference = distance(logits, again)
	same := "the same"
	if !r.SameAnswers {
		same = "other"
	}
	d.say("\nMerged into the base's weights it gives %s answers; logits differ by at most %.1g.\n", same, r.Difference)

	r.Passed = r.Judge() == nil
	r.Seconds = time.Since(start).Seconds()
	return r, nil
}

func (d *run) say(format string, a ...any) { d.Say(fmt.Sprintf(format, a...)) }

// tour is a request to each robot that the base knows.
func tour() []Sample {
	return []Sample{
		{"ada: gently pick up the red cup and then turn left 90 degrees\n", "pick(red cup, slow); turn(left, 90)"},
		{"bob: drive back three metres, then look at the blue box\n", "DRIVE -3 / LOOK BOX BLUE"},
		{"dan: wait for five seconds and then grab the pink spoon quickly\n", "(wait 5) (pick (spoon pink) fast)"},
		{"eve: put the green ball on top of the white plate\n", "do=put what=ball colour=green at=on of=plate tint=white"},
	}
}

// show shows an answer, and what is right if it is wrong.
func (d *run) show(s Sample, answer string) {
	if answer == s.Completion {
		d.say("  %s    ✓ %s\n", s.Prompt, answer)
	} else {
		d.say("  %s    ✗ %s\n    right: %s\n", s.Prompt, strings.TrimSpace(answer), s.Completion)
	}
}

func (d *run) showFirst(asked []Sample, answers []string) {
	for i := range asked[:min(3, len(asked))] {
		d.show(asked[i], answers[i])
	}
}

// ask asks every request and returns the answers.
func (d *run) ask(ctx context.Context, name string, all []Sample, adapter *nn.Adapter) ([]string, error) {
	d.Phase(name, len(all))
	out := make([]string, len(all))
	for i, s := range all {
		var err error
		if out[i], err = d.answer(ctx, s.Prompt, adapter); err != nil {
			return nil, err
		}
		d.Advance(i + 1)
	}
	return out, nil
}

// answer is what the model says to a prompt, likeliest token by likeliest token.
func (d *run) answer(ctx context.Context, prompt string, adapter *nn.Adapter) (string, error) {
	q := nn.Request{Prompt: d.tok.Encode(prompt, false), MaxTokens: newToken, EOS: d.tok.Stops(), Adapter: adapter}
	var ids []int32
	for id, err := range nn.Generate(ctx, d.lm, d.dev, q, nil) {
		if err != nil {
			return "", err
		}
		ids = append(ids, id)
	}
	return d.tok.Decode(ids, true), nil
}

// adapt trains an adapter on the data.
func (d *run) adapt(ctx context.Context, data []Sample, r *Report) (*lora.Adapter, error) {
	config := lora.Config{Rank: rank, Alpha: alpha, Targets: lora.Names{AllLinear: true}}
	adapter, err := lora.New(d.lm, "dan", config, d.Seed, d.dev)
	if err != nil {
		return nil, err
	}
	r.Trainable = adapter.Elems()
	var params []train.Param
	for name, p := range adapter.Params() {
		params = append(params, train.Param{Name: name, Value: p})
	}
	loader := &train.Loader{Examples: d.examples(data), Batch: batch, Accumulate: 1, Shuffle: true, Seed: d.Seed}
	options := train.Options{Steps: d.Steps, LR: rate, Schedule: train.Linear, Warmup: 0.05, Clip: 1, Seed: d.Seed, Adapter: adapter.Use()}
	d.Phase("adapting by LoRA", d.Steps)
	start := time.Now()
	err = train.Run(ctx, d.lm, d.dev, params, loader, options, func(s train.Report) error {
		r.Loss = s.Loss
		d.Advance(s.Step)
		return nil
	})
	r.TrainSeconds = time.Since(start).Seconds()
	if err != nil {
		adapter.Remove()
		return nil, err
	}
	return adapter, nil
}

// examples turns lines into tokens: the loss is on the answer and the end, as for
// a line of `tenon finetune`'s data that has a prompt and a completion.
func (d *run) examples(data []Sample) []train.Example {
	end, _ := d.tok.EOS()
	var out []train.Example
	for i, s := range data {
		prompt, answer := d.tok.Encode(s.Prompt, false), append(d.tok.Encode(s.Completion, false), end)
		e := train.Example{IDs: append(prompt, answer...), Line: i + 1}
		for range prompt {
			e.Labels = append(e.Labels, train.Ignore)
		}
		e.Labels = append(e.Labels, answer...)
		out = append(out, e)
	}
	return out
}

// compared is how many lines' logits are compared, merged and not.
const compared = 16

// logits returns those of every position of the first lines, request and right
// answer.
func (d *run) logits(data []Sample, adapter *nn.Adapter) (out []float32, err error) {
	err = tensor.Try(func() error {
		for _, e := range d.examples(data[:min(compared, len(data))]) {
			arena := tensor.NewArena(d.dev)
			s := &nn.Step{Tape: autograd.NoGrad(arena), B: 1, T: len(e.IDs), Adapter: adapter}
			out = append(out, nn.Logits(d.lm, s, e.IDs).T.F32s()...)
			arena.Close()
		}
		return nil
	})
	return out, err
}

// distance is the largest difference, +Inf if there is NaN.
func distance(a, b []float32) float64 {
	most := 0.0
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		most = max(most, d)
	}
	return most
}

// share is the share of the requests that are answered right.
func share(asked []Sample, answers []string) float64 {
	right := 0
	for i, s := range asked {
		if answers[i] == s.Completion {
			right++
		}
	}
	return float64(right) / float64(len(asked))
}
