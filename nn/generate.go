package nn

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/tensor"
)

// Sampling says how the next token is chosen. The zero value is greedy.
type Sampling struct {
	// Temperature divides the logits; 0 takes the likeliest token.
	Temperature float64
	// TopK keeps the K likeliest tokens; 0 keeps all.
	TopK int
	// TopP keeps the likeliest tokens whose probabilities reach P together; 0 and
	// 1 keep all.
	TopP float64
	// Seed decides what is drawn.
	Seed uint64
}

// Check returns an error about a setting that makes no sense.
func (s Sampling) Check() error {
	switch {
	case !(s.Temperature >= 0) || math.IsInf(s.Temperature, 0):
		return fmt.Errorf("temperature is %g, want 0 or more", s.Temperature)
	case s.TopK < 0:
		return fmt.Errorf("top-k is %d, want 0 or more", s.TopK)
	case !(s.TopP >= 0 && s.TopP <= 1):
		return fmt.Errorf("top-p is %g, want 0 to 1", s.TopP)
	}
	return nil
}

// Request asks for a continuation of a prompt.
type Request struct {
	Prompt    []int32 // at least one token
	MaxTokens int
	Sampling  Sampling
	EOS       []int32  // tokens that end the text; they are not yielded
	Adapter   *Adapter // nil is the base model

	// Cache is the type in which keys and values are kept, see NewKVCache; the zero
	// value is F32.
	Cache tensor.DType
}

// Timing tells how long the parts of a generation took.
type Timing struct {
	Prompt, Tokens time.Duration // the prompt's pass; all tokens after it
}

// Generate yields the tokens that follow a prompt, each as soon as it is known.
// It stops at an end token, at MaxTokens, at an error, which it yields, or when
// ctx ends. timing, if not nil, is kept up to date.
func Generate(ctx context.Context, m CausalLM, dev tensor.Device, r Request, timing *Timing) iter.Seq2[int32, error] {
	return func(yield func(int32, error) bool) {
		if timing == nil {
			timing = new(Timing)
		}
		if err := r.check(m.Vocab()); err != nil {
			yield(0, err)
			return
		}
		random := tensor.NewRandom(r.Sampling.Seed, "generate")
		cache, err := m.NewCache(dev, cmp.Or(r.Cache, tensor.F32), len(r.Prompt)+max(r.MaxTokens-1, 0))
		if err != nil {
			yield(0, err)
			return
		}
		defer cache.Close()
		s := &Step{Tape: autograd.NoGrad(tensor.NewArena(dev)), B: 1, Cache: cache, Adapter: r.Adapter}
		logits := make([]float32, m.Vocab())
		start, next, last := time.Now(), r.Prompt, make([]int32, 1)
		for i := range r.MaxTokens {
			if err := ctx.Err(); err != nil {
				yield(0, err)
				return
			}
			err := tensor.Try(func() error {
				forward(m, s, next, logits)
				return nil
			})
			var id int32
			if err == nil {
				id, err = r.Sampling.choose(logits, random)
			}
			if err != nil {
				yield(0, err)
				return
			}
			if i == 0 {
				timing.Prompt = time.Since(start)
				start = time.Now()
			} else {
				timing.Tokens = time.Since(start)
			}
			if slices.Contains(r.EOS, id) || !yield(id, nil) {
				return
			}
			last[0] = id
			next = last
		}
	}
}

func (r *Request) check(vocab int) error {
	if r.MaxTokens > 1<<30 {
		return fmt.Errorf("at most %d tokens are more than a cache can hold", r.MaxTokens)
	}
	if len(r.Prompt) == 0 {
		return fmt.Errorf("the prompt has no tokens")
	}
	for _, id := range r.Prompt {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("token %d of the prompt is outside the vocabulary of %d", id, vocab)
		}
	}
	return r.Sampling.Check()
}

// forward puts the logits that follow the last of the tokens into logits.
func forward(m CausalLM, s *Step, ids []int32, logits []float32) {
	defer s.Tape.Arena().Close()
	defer s.Tape.Close()
	s.T = len(ids)
	x := m.Hidden(s, ids)
	last := s.Tape.Input(x.T.Slice(len(ids)-1, len(ids)))
	m.Output().Forward(s, last).T.CopyTo(logits)
}

// NonFiniteError is returned when a model's logits are not numbers, which means
// that its weights or its adapter's are not.
type NonFiniteError struct{ What string }

func (e *NonFiniteError) Error() string { return e.What + " are not finite" }

// choose picks a token: temperature, then top-k, then top-p, as transformers
// orders them.
func (s Sampling) choose(logits []float32, random *tensor.Random) (int32, error) {
	best := 0
	for i, l := range logits {
		if math.IsNaN(float64(l)) || math.IsInf(float64(l), 0) {
			return 0, &NonFiniteError{"logits"}
		}
		if l > logits[best] {
			best = i
		}
	}
	if s.Temperature == 0 {
		return int32(best), nil
	}
	order := make([]int32, len(logits))
	for i := range order {
		order[i] = int32(i)
	}
	// Likeliest first; equal ones by id, so that a seed means the same everywhere.
	slices.SortFunc(order, func(a, b int32) int {
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return int(a - b)
	})
	if s.TopK > 0 && s.TopK < len(order) {
		order = order[:s.TopK]
	}
	p := make([]float64, len(order))
	var sum float64
	for i, id := range order {
		p[i] = math.Exp((float64(logits[id]) - float64(logits[order[0]])) / s.Temperature)
		sum += p[i]
	}
	if s.TopP > 0 && s.TopP < 1 {
		var before float64
		for i := range p {
			if before >= s.TopP*sum {
				p, order = p[:i], order[:i]
				break
			}
			before += p[i]
		}
		sum = 0
		for _, v := range p {
			sum += v
		}
	}
	at := random.Float64() * sum
	for i, v := range p {
		if at -= v; at < 0 {
			return order[i], nil
		}
	}
	return order[len(order)-1], nil
}
