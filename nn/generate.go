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
		draw := &sampler{Sampling: r.Sampling, random: tensor.NewRandom(r.Sampling.Seed, "generate")}
		cache, err := m.NewCache(dev, cmp.Or(r.Cache, tensor.F32), len(r.Prompt)+max(r.MaxTokens-1, 0))
		if err != nil {
			yield(0, err)
			return
		}
		defer cache.Close()
		s := &Step{Tape: autograd.NoGrad(tensor.NewArena(dev)), B: 1, Cache: cache, Adapter: r.Adapter}
		start, next, last := time.Now(), r.Prompt, make([]int32, 1)
		for i := range r.MaxTokens {
			if err := ctx.Err(); err != nil {
				yield(0, err)
				return
			}
			var id int32
			err := tensor.Try(func() (err error) {
				forward(m, s, next, func(logits []float32) { id, err = draw.choose(logits) })
				return err
			})
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

// forward calls f with the logits that follow the last of the tokens.
func forward(m CausalLM, s *Step, ids []int32, f func(logits []float32)) {
	defer s.Tape.Arena().Close()
	defer s.Tape.Close()
	s.T = len(ids)
	x := m.Hidden(s, ids)
	last := s.Tape.Input(x.T.Slice(len(ids)-1, len(ids)))
	m.Output().Forward(s, last).T.Read(f)
}

// NonFiniteError is returned when a model's logits are not numbers, which means
// that its weights or its adapter's are not.
type NonFiniteError struct{ What string }

func (e *NonFiniteError) Error() string { return e.What + " are not finite" }

// sampler draws tokens. It is kept from token to token, with its memory.
type sampler struct {
	Sampling
	random *tensor.Random
	logits []float32
	heap   []int32 // the tokens that are not in kept, each likelier than its children
	kept   []int32 // the likeliest, in order
}

// choose picks a token: temperature, then top-k, then top-p, as transformers
// orders them.
func (s *sampler) choose(logits []float32) (int32, error) {
	if !tensor.Finite(logits) {
		return 0, &NonFiniteError{"logits"}
	}
	best := int32(tensor.ArgMax(logits))
	if s.Temperature == 0 {
		return best, nil
	}
	s.sort(logits)
	p := func(id int32) float64 { // over that of the likeliest
		return math.Exp((float64(logits[id]) - float64(logits[best])) / s.Temperature)
	}
	n, sum := len(logits), 0.0
	if s.TopK > 0 && s.TopK < n {
		n = s.TopK
		for i := range n {
			sum += p(s.likeliest(i))
		}
	} else {
		for id := range logits {
			sum += p(int32(id))
		}
	}
	if s.TopP > 0 && s.TopP < 1 {
		var before float64
		for i := range n {
			if before >= s.TopP*sum {
				n = i
				break
			}
			before += p(s.likeliest(i))
		}
		sum = before
	}
	at := s.random.Float64() * sum
	for i := range n {
		if at -= p(s.likeliest(i)); at < 0 {
			return s.likeliest(i), nil
		}
	}
	return s.likeliest(n - 1), nil
}

// sort prepares likeliest. Sorting all of a vocabulary would take longer than the
// model: what is not looked at stays a heap.
func (s *sampler) sort(logits []float32) {
	s.logits, s.heap, s.kept = logits, s.heap[:0], s.kept[:0]
	for id := range logits {
		s.heap = append(s.heap, int32(id))
	}
	for i := len(s.heap)/2 - 1; i >= 0; i-- {
		s.down(i)
	}
}

// likeliest returns token number i by falling logit; equal ones by id, so that a
// seed means the same everywhere.
func (s *sampler) likeliest(i int) int32 {
	for i >= len(s.kept) {
		last := len(s.heap) - 1
		s.kept = append(s.kept, s.heap[0])
		s.heap[0] = s.heap[last]
		s.heap = s.heap[:last]
		s.down(0)
	}
	return s.kept[i]
}

// down moves the token at place i of the heap below its likelier children.
func (s *sampler) down(i int) {
	likelier := func(i, j int) bool {
		a, b := s.heap[i], s.heap[j]
		return s.logits[a] > s.logits[b] || s.logits[a] == s.logits[b] && a < b
	}
	for {
		child := 2*i + 1
		if child+1 < len(s.heap) && likelier(child+1, child) {
			child++
		}
		if child >= len(s.heap) || !likelier(child, i) {
			return
		}
		s.heap[i], s.heap[child] = s.heap[child], s.heap[i]
		i = child
	}
}
