package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/asm"
	"github.com/tenon-ml/tenon/bench"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// groups are what can be compared, in order.
var groups = []struct {
	name string
	run  func(r *runner) error
}{
	{"squares", (*runner).squares},
	{"packed", (*runner).packed},
	{"thin", (*runner).thin},
	{"rows", (*runner).rows},
	{"go", (*runner).goPeersGroup},
	{"decode", (*runner).decode},
	{"prefill", (*runner).prefill},
	{"step", (*runner).step},
	{"threads", (*runner).threads},
	{"nf4", (*runner).nf4},
	{"qlora", (*runner).qlora},
}

func groupNames() []string {
	var out []string
	for _, g := range groups {
		out = append(out, g.name)
	}
	return out
}

func groupOf(name string) func(*runner) error {
	for _, g := range groups {
		if g.name == name {
			return g.run
		}
	}
	return nil
}

// most is the thread count of the groups that have one.
func most() int { return min(2, runtime.NumCPU()) }

// products compares products of F32 matrices.
func (r *runner) products(group string, threads int, cases []bench.Case, peers ...string) error {
	return confined(threads, func() error {
		dev := tensor.NewCPU(threads)
		defer dev.Close()
		for _, c := range cases {
			if err := r.product(group, dev, c, peers...); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *runner) squares() error {
	var cases []bench.Case
	for _, n := range []int{256, 512, 1024, 2048, 4096} {
		cases = append(cases, bench.Case{Op: "matmul", M: n, N: n, K: n})
	}
	for threads := 1; threads <= most(); threads++ {
		if err := r.products("squares", threads, cases, "openblas"); err != nil {
			return err
		}
	}
	r.stop("openblas")
	return nil
}

// packed is x·Wᵀ with a W that stays as it is.
func (r *runner) packed() error {
	var cases []bench.Case
	for _, m := range []int{16, 128, 512} {
		cases = append(cases, bench.Case{Op: "packed", M: m, N: 4096, K: 4096})
	}
	defer r.stop("openblas")
	return r.products("packed", most(), cases, "openblas")
}

func (r *runner) thin() error {
	defer r.stop("openblas")
	defer r.stop("onednn")
	return r.products("thin", most(), bench.Thin(), "openblas", "onednn")
}

// rotated is how many bytes of weights a product of one row goes through before it
// meets the first again: more than caches hold.
const rotated = 192 << 20

func (r *runner) rows() error {
	const n = 4096
	threads := most()
	for _, c := range []tensor.Compute{tensor.ComputeF32, tensor.ComputeInt16} {
		if err := r.rowsIn(c, threads, n); err != nil {
			return err
		}
	}
	r.stop("ggml")
	return nil
}

func (r *runner) rowsIn(c tensor.Compute, threads, n int) error {
	return confined(threads, func() error {
		dev := tensor.NewCPU(threads)
		defer dev.Close()
		dev.SetCompute(c)
		for _, dt := range bench.RowTypes() {
			if plain, _ := dt.Block(); c == tensor.ComputeInt16 && plain == 1 && !dt.Quantized() {
				continue // it changes nothing
			}
			p := bench.NewRotated(dev, dt, n, n, rotated)
			t := task{group: "rows", name: p.Name() + computeName(c), threads: threads, amount: p.FLOP() / 1e9, unit: "GFLOP/s", bytes: p.Bytes(), run: func() error { p.Run(); return nil }}
			if c != tensor.ComputeF32 {
				exact := tensor.NewCPU(threads)
				t.name += fmt.Sprintf(", error %.1e", p.Error(exact))
				if err := exact.Close(); err != nil {
					return err
				}
			}
			// A type that ggml has under the same name, and for 4 bits the best that it has.
			for name, types := range map[string][]string{"same type": {ggmlTypes[dt]}, "best 4-bit type": {"q4_0", "q4_K", "iq4_nl"}} {
				if types[0] == "" || len(types) > 1 && p.Bytes() > 0.7*float64(n*n) {
					continue
				}
				for _, v := range r.against(fmt.Sprintf("ggml --threads %d", threads), threads, map[string]any{"types": types, "n": n, "k": n}) {
					v.name += ", " + name
					t.against = append(t.against, v)
				}
			}
			err := r.compare(t)
			p.Release()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// ggmlTypes are ggml's names of the types that it has, too.
var ggmlTypes = map[tensor.DType]string{
	tensor.F32: "f32", tensor.F16: "f16", tensor.BF16: "bf16", tensor.Q8_0: "q8_0",
	tensor.Q4_0: "q4_0", tensor.Q4_1: "q4_1", tensor.Q4_K: "q4_K", tensor.Q6_K: "q6_K",
}

// goPeersGroup compares with what else there is in Go.
func (r *runner) goPeersGroup() error {
	cases := []bench.Case{{Op: "matmul", M: 64, N: 64, K: 64}, {Op: "matmul", M: 256, N: 256, K: 256}, {Op: "matmul", M: 1024, N: 1024, K: 1024},
		{Op: "matmulT", M: 1, N: 4096, K: 4096}, {Op: "matmulT", M: 16, N: 4096, K: 4096}, {Op: "matmulT", M: 512, N: 1536, K: 576}, {Op: "matmulT", M: 512, N: 16, K: 576}, {Op: "matmulT", M: 512, N: 576, K: 16}, {Op: "matmulTA", M: 16, N: 576, K: 512}}
	defer r.stop("go")
	return r.products("go", most(), cases, "gonum", "gomlx")
}

// decodeTokens and shortPrompt are what a sample of decoding has; llama.cpp's the same.
const (
	decodeTokens = 64
	shortPrompt  = 16
	promptTokens = 512
)

// file is where a form of SmolLM2 lies.
func (r *runner) file(form string) string {
	return filepath.Join(r.models, "SmolLM2-135M-Instruct."+form+".gguf")
}

// load loads a form of SmolLM2 to be computed with in the arithmetic of compute.
func (r *runner) load(form string, o tenon.Options, compute tensor.Compute) (*tenon.Model, error) {
	m, err := tenon.Load(r.file(form), o)
	if err == nil {
		m.Device.SetCompute(compute)
	}
	return m, err
}

// computes are the arithmetics that pay on this machine, exact first.
func computes() []tensor.Compute {
	if asm.Tier() == "avx512bf16" {
		return []tensor.Compute{tensor.ComputeF32, tensor.ComputeBF16}
	}
	return []tensor.Compute{tensor.ComputeF32}
}

// computeName names an arithmetic in a case; the exact one has no name.
func computeName(c tensor.Compute) string {
	if c == tensor.ComputeF32 {
		return ""
	}
	return "/compute=" + c.String()
}

// generate returns a function that continues a prompt and tells how long its parts took.
func (r *runner) generate(m *tenon.Model, prompt, tokens int) func() (nn.Timing, error) {
	ids := make([]int32, prompt)
	for i := range ids {
		ids[i] = int32((7*i + 3) % m.LM.Vocab())
	}
	return func() (nn.Timing, error) {
		var t nn.Timing
		for _, err := range nn.Generate(r.ctx, m.LM, m.Device, nn.Request{Prompt: ids, MaxTokens: tokens}, &t) {
			if err != nil {
				return t, err
			}
		}
		return t, nil
	}
}

// forms are the forms of SmolLM2 that are compared with llama.cpp.
var forms = []string{"F16", "Q8_0", "Q4_0", "Q4_1"}

// decodes are the arithmetics in which a form is decoded: 16-bit integers pay for
// quantised weights alone.
func decodes(form string) []tensor.Compute {
	if form == "F16" {
		return []tensor.Compute{tensor.ComputeF32}
	}
	return []tensor.Compute{tensor.ComputeF32, tensor.ComputeInt16}
}

func (r *runner) decode() error {
	threads := most()
	return confined(threads, func() error {
		for _, form := range forms {
			for _, c := range decodes(form) {
				m, err := r.load(form, tenon.Options{Threads: threads}, c)
				if err != nil {
					return err
				}
				f := r.generate(m, shortPrompt, decodeTokens+1)
				own := func() (float64, error) {
					t, err := f()
					return t.Tokens.Seconds() / decodeTokens, err
				}
				key := fmt.Sprintf("llamacpp %s --serve --threads %d --tokens %d --short %d", r.file(form), threads, decodeTokens, shortPrompt)
				t := task{group: "decode", name: form + computeName(c), threads: threads, amount: 1, unit: "tokens/s", bytes: float64(bench.TokenBytes(m.LM)), own: own,
					against: r.against(key, threads, map[string]any{"kind": "decode"})}
				_, err = own() // warm-up
				if err == nil {
					err = r.compare(t)
				}
				if err = errors.Join(err, m.Close()); err != nil {
					return err
				}
			}
			r.stop("llamacpp")
		}
		return nil
	})
}

func (r *runner) prefill() error {
	threads := most()
	return confined(threads, func() error {
		defer r.stop("llamacpp")
		for _, c := range computes() {
			m, err := r.load("F16", tenon.Options{Threads: threads}, c)
			if err != nil {
				return err
			}
			f := r.generate(m, promptTokens, 1)
			own := func() (float64, error) {
				t, err := f()
				return t.Prompt.Seconds(), err
			}
			t := task{group: "prefill", name: fmt.Sprintf("tokens=%d%s", promptTokens, computeName(c)), threads: threads, amount: promptTokens, unit: "tokens/s", flop: bench.PrefillFLOP(m.LM, promptTokens), own: own}
			for _, form := range []string{"F16", "Q8_0", "Q4_0"} {
				key := fmt.Sprintf("llamacpp %s --serve --threads %d", r.file(form), threads)
				for _, v := range r.against(key, threads, map[string]any{"kind": "prefill"}) {
					v.name += " " + form
					t.against = append(t.against, v)
				}
			}
			_, err = own()
			if err == nil {
				err = r.compare(t)
			}
			if err = errors.Join(err, m.Close()); err != nil {
				return err
			}
		}
		return nil
	})
}

// stepRank and stepTokens are the LoRA step's.
const (
	stepRank   = 16
	stepTokens = 512
)

// stepper takes LoRA steps of a model one at a time.
type stepper struct {
	model *tenon.Model
	step  *bench.Step
	flop  float64
	turn  chan struct{}
	done  chan error
	end   chan error
}

func (r *runner) newStepper(threads int, c tensor.Compute, o tenon.Options) (*stepper, error) {
	o.Threads = threads
	m, err := r.load("Q4_1", o, c)
	if err != nil {
		return nil, err
	}
	ids := make([]int32, stepTokens)
	for i := range ids {
		ids[i] = int32((7*i + 3) % m.LM.Vocab())
	}
	step, err := bench.NewStep(m.LM, m.Device, stepRank, ids)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	s := &stepper{model: m, step: step, flop: step.FLOP(), turn: make(chan struct{}), done: make(chan error), end: make(chan error, 1)}
	go func() {
		if _, ok := <-s.turn; !ok {
			s.end <- nil
			return
		}
		err := step.Train(r.ctx, 1<<20, func(int) error {
			s.done <- nil
			if _, ok := <-s.turn; !ok {
				return errEnough
			}
			return nil
		})
		if err == errEnough {
			err = nil
		}
		s.end <- err
	}()
	for range 3 { // warm-up
		if err := s.run(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

var errEnough = errors.New("enough")

// run takes one step.
func (s *stepper) run() error {
	s.turn <- struct{}{}
	select {
	case err := <-s.done:
		return err
	case err := <-s.end:
		s.end <- err
		return err
	}
}

func (s *stepper) close() error {
	close(s.turn)
	err := <-s.end
	s.step.Release()
	return errors.Join(err, s.model.Close())
}

func (r *runner) step() error {
	threads := most()
	return confined(threads, func() error {
		for _, c := range computes() {
			var against []rival
			for _, args := range r.torch {
				key := fmt.Sprintf("torch --serve --threads %d %s", threads, args)
				if c == tensor.ComputeBF16 {
					if args != "" {
						continue // PyTorch's autocast as it is
					}
					key += " --bf16"
				}
				against = append(against, r.against(key, threads, map[string]any{})...)
			}
			s, err := r.newStepper(threads, c, tenon.Options{F32: true})
			if err != nil {
				return err
			}
			name := fmt.Sprintf("tokens=%d/rank=%d%s", stepTokens, stepRank, computeName(c))
			err = r.compare(task{group: "step", name: name, threads: threads, amount: stepTokens, unit: "tokens/s", flop: s.flop, run: s.run, against: against})
			if err = errors.Join(err, s.close()); err != nil {
				return err
			}
			r.stop("torch")
		}
		return nil
	})
}

// threads compares a step on two threads with one on one.
func (r *runner) threads() error {
	if most() < 2 {
		return nil
	}
	two, err := r.newStepper(2, tensor.ComputeF32, tenon.Options{F32: true})
	if err != nil {
		return err
	}
	one, err := r.newStepper(1, tensor.ComputeF32, tenon.Options{F32: true})
	if err != nil {
		return errors.Join(err, two.close())
	}
	alone := func(int) (float64, error) {
		start := time.Now()
		err := confined(1, one.run)
		return time.Since(start).Seconds(), err
	}
	err = r.compare(task{group: "threads", name: fmt.Sprintf("tokens=%d/rank=%d", stepTokens, stepRank), threads: 2, amount: stepTokens, unit: "tokens/s", flop: two.flop, run: two.run,
		against: []rival{{name: "tenon, 1 thread", sample: alone}}})
	return errors.Join(err, two.close(), one.close())
}
