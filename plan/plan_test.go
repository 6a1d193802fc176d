package plan

import (
	"math"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/tensor"
)

func options(method string, rank int, targets string) Options {
	return Options{
		Method: method, LoRA: lora.Config{Rank: rank, Alpha: 16, Targets: lora.ParseNames(targets)},
		Batch: 1, Seq: 512, Accumulate: 1, Optimizer: "adamw",
	}
}

func plan(t *testing.T, m *Model, o Options) *Plan {
	t.Helper()
	p, err := New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func smolLM2(t *testing.T) *Model {
	t.Helper()
	m, err := ParseModel(goldens(t)["smollm2"].Config)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const (
	qkvo       = "q_proj,k_proj,v_proj,o_proj"
	linears    = qkvo + ",gate_proj,up_proj,down_proj"
	publishedR = linears + ",proj,fc1,fc2,fc3,qkv,q,kv,lm_head" // OpenVLA's published adapter
)

// OpenVLA's adapters of rank 32: what the names mean decides how large they are.
func TestOpenVLA(t *testing.T) {
	m := model(t, "openvla-7b")
	for targets, want := range map[string]int64{qkvo: 33_554_432, linears: 79_953_920, "all-linear": 109_563_904, publishedR: 110_828_288} {
		o := options("lora", 32, targets)
		o.Seq = 16
		p := plan(t, m, o)
		if p.Trainable.Parameters != want {
			t.Errorf("%s: %d parameters, want %d", targets, p.Trainable.Parameters, want)
		}
		if p.Adapter != 4*want || p.Gradients != 4*want || p.Optimizer != 8*want {
			t.Errorf("%s: %+v", targets, p)
		}
	}
	// 276 tokens of an action: 3.61 TFLOP, and 0.40 for the image.
	o := options("lora", 1, "q_proj")
	o.Seq = 276
	all := plan(t, m, o).FLOPs.Forward
	m.Vision = false
	text := plan(t, m, o).FLOPs.Forward
	const head = 275 * 2 * 4096 * 32064 // of all tokens but the last, which alone is needed
	if math.Abs(float64(text)-head-3.61e12) > 0.02e12 || math.Abs(float64(all-text)-0.40e12) > 0.01e12 {
		t.Errorf("%d FLOP for the text, %d for the image", text, all-text)
	}
}

// A matrix of 4096×4096 has 65,536 parameters at rank 8 and 262,144 at rank 32.
func TestLlama2(t *testing.T) {
	m := model(t, "llama2-7b")
	for rank, each := range map[int]int64{8: 65_536, 32: 262_144} {
		o := options("lora", rank, qkvo)
		o.Seq = 16
		if p := plan(t, m, o); p.Trainable.Parameters != 32*4*each {
			t.Errorf("rank %d: %d parameters", rank, p.Trainable.Parameters)
		}
	}
	o := options("lora", 16, "all-linear")
	o.Seq, o.Quantize = 16, "nf4"
	const linear = 32 * (4*4096*4096 + 3*4096*11008)
	p := plan(t, m, o)
	if q := p.Weights.Quantized; q.Parameters != linear || q.Codes != linear/2 || q.Statistics != linear/64*4 {
		t.Errorf("nf4: %+v", q)
	}
	if k := p.Weights.Kept; k.Parameters != p.Parameters.Total-linear || k.DType != "f16" || k.Bytes != 2*k.Parameters {
		t.Errorf("kept: %+v", k)
	}
	o.Double = true
	p = plan(t, m, o)
	if q := p.Weights.Quantized; q.Statistics != linear/64+4*(linear/64/256) {
		t.Errorf("double quantisation: %+v", q)
	}
	if p.Weights.Bytes != p.Weights.Quantized.Codes+p.Weights.Quantized.Statistics+p.Weights.Kept.Bytes ||
		p.Total != p.Weights.Bytes+p.Adapter+p.Gradients+p.Optimizer+p.Activations {
		t.Errorf("%+v does not add up", p)
	}
	o = options("full", 0, "")
	o.Seq = 16
	if p = plan(t, m, o); p.Weights.Bytes+p.Gradients+p.Optimizer != 16*p.Parameters.Total || p.Adapter != 0 {
		t.Errorf("full: %+v", p)
	}
}

func TestRobots(t *testing.T) {
	o := options("lora", 8, qkvo)
	o.Seq, o.Robots = 16, 10
	p := plan(t, smolLM2(t), o)
	if r := p.Robots; r.N != 10 || r.Adapters != p.Weights.Bytes+10*p.AdapterFile || r.Copies != 10*p.Weights.Bytes {
		t.Errorf("%+v of %+v", r, p)
	}
}

func TestOptimizer(t *testing.T) {
	for n, want := range map[int64]int64{100: 800, 4095: 8 * 4095, 4096: 2*4096 + 8*16, 4097: 2*4097 + 8*17} {
		if got := optimizerBytes("adamw8bit", n); got != want {
			t.Errorf("%d elements: %d bytes, want %d", n, got, want)
		}
	}
}

// The step on SmolLM2 has 309.6 GFLOP at rank 8 and 317.1 at rank 16.
func TestFLOPs(t *testing.T) {
	m := smolLM2(t)
	for rank, want := range map[int]float64{8: 309.6e9, 16: 317.1e9} {
		if got := plan(t, m, options("lora", rank, "all-linear")).FLOPs.Step; math.Abs(float64(got)-want) > 0.05e9 {
			t.Errorf("rank %d: %d FLOP, want %g", rank, got, want)
		}
	}
}

// What arithmetic counts is what a step multiplies.
func TestFLOPsOfStep(t *testing.T) {
	m := smolLM2(t)
	var counted int64
	k := noKernels()
	k.MatMul = func(dst, x, y *tensor.Tensor, tx, ty bool, _ float64, _ bool) {
		inner := x.Dim(-1)
		if tx {
			inner = x.Dim(-2)
		}
		counted += 2 * int64(dst.Elems()) * int64(inner)
	}
	product := func(t *tensor.Tensor, inner int) { // that gives t
		if t != nil {
			counted += 2 * int64(t.Elems()) * int64(inner)
		}
	}
	k.Affine = func(z []*tensor.Tensor, h, x, _ *tensor.Tensor, terms []tensor.AffineTerm) {
		product(h, x.Dim(1))
		for i, t := range terms {
			product(z[i], x.Dim(1))
			if t.B != nil {
				product(z[i], t.B.Dim(1))
			}
		}
	}
	k.AffineGrad = func(dx, da *tensor.Tensor, db []*tensor.Tensor, u *tensor.Tensor, dz []*tensor.Tensor, _, _, _ *tensor.Tensor, terms []tensor.AffineTerm) {
		n := dz[0].Dim(0)
		for i, t := range terms {
			product(dx, t.W.Dim(0))
			if t.B != nil {
				product(db[i], n)
			}
			if u != nil && t.B != nil {
				counted += 2 * int64(n) * int64(t.B.Elems())
			}
		}
		if u != nil {
			product(dx, u.Dim(1))
			product(da, n)
		}
	}
	attention := func(s tensor.AttentionShape) int64 {
		var keys int64
		for b := range s.B {
			for q := range s.Tq {
				first, end := s.Visible(b, q)
				keys += int64(end - first)
			}
		}
		return 4 * keys * int64(s.H*s.D)
	}
	k.Attention = func(_, _, _, _, _ *tensor.Tensor, s tensor.AttentionShape) { counted += attention(s) }
	k.AttentionGrad = func(_, _, _, _, _, _, _, _, _ *tensor.Tensor, s tensor.AttentionShape) { counted += 2 * attention(s) }
	for _, change := range []func(o *Options){
		func(*Options) {},
		func(o *Options) { o.Batch = 3 },
		func(o *Options) { o.LoRA.Targets = lora.ParseNames("v_proj,down_proj") },
		func(o *Options) { o.LoRA.Targets = lora.ParseNames("q_proj"); o.LoRA.Layers = []int{28} },
		func(o *Options) { o.LoRA.Save = []string{"lm_head"} },
		func(o *Options) { o.Method = "full" },
		func(o *Options) { o.Recompute = true },
	} {
		o := options("lora", 8, "all-linear")
		o.Seq = 64
		change(&o)
		counted = 0
		dev := tensor.NewDry(k)
		r, err := stepOn(dev, m, o)
		if err != nil {
			t.Fatal(err)
		}
		want := m.flops(o, r.trained).Step
		// The last token of a row has no label, so the head never sees it.
		c := m.Config
		head := int64(o.Batch * 2 * c.HiddenSize * c.VocabSize)
		want -= 2 * head
		if o.Method == "full" || o.LoRA.Save != nil {
			want -= head
		}
		if counted != want {
			t.Errorf("%+v: the step multiplies %d, arithmetic has %d (%.4f)", o, counted, want, float64(counted)/float64(want))
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A dry run takes the memory that the real one takes: the same code allocates, and
// kernels bring no large tensors of their own.
func TestPeak(t *testing.T) {
	m := smolLM2(t)
	m.Config.NumHiddenLayers, m.Config.VocabSize = 3, 2000
	for _, method := range []string{"lora", "full"} {
		for _, recompute := range []bool{false, true} {
			for _, accumulate := range []int{1, 3} {
				o := options(method, 8, "all-linear")
				o.Seq, o.Batch, o.Recompute, o.Accumulate = 48, 2, recompute, accumulate
				dry, real := tensor.NewDry(noKernels()), tensor.NewCPU(2)
				want, err := stepOn(real, m, o)
				if err != nil {
					t.Fatal(err)
				}
				got, err := stepOn(dry, m, o)
				if err != nil {
					t.Fatal(err)
				}
				if d := math.Abs(float64(got.activations-want.activations)) / float64(want.activations); d > 0.02 {
					t.Errorf("%s, recompute %v, accumulate %d: %d bytes planned, %d taken", method, recompute, accumulate, got.activations, want.activations)
				}
				_, _, p := dry.MemoryStats()
				_, _, q := real.MemoryStats()
				if d := math.Abs(float64(p-q)) / float64(q); d > 0.02 {
					t.Errorf("%s, recompute %v, accumulate %d: a peak of %d planned, %d taken", method, recompute, accumulate, p, q)
				}
			}
		}
	}
}

func TestErrors(t *testing.T) {
	m := smolLM2(t)
	for want, change := range map[string]func(o *Options){
		"method":            func(o *Options) { o.Method = "lors" },
		"optimizer":         func(o *Options) { o.Optimizer = "sgd" },
		"quantisation":      func(o *Options) { o.Quantize = "nf5" },
		"double":            func(o *Options) { o.Quantize, o.Double = "q8_0", true },
		"cannot be trained": func(o *Options) { o.Method, o.Quantize = "full", "nf4" },
		"robots":            func(o *Options) { o.Method, o.Robots = "full", 3 },
		"batch":             func(o *Options) { o.Batch = 0 },
		"virtual":           func(o *Options) { o.Method = "prompt-tuning" },
		"rank":              func(o *Options) { o.LoRA.Rank = 0 },
		"matches no module": func(o *Options) { o.LoRA.Targets = lora.ParseNames("x_proj") },
		"nothing to train":  func(o *Options) { o.Method = "bitfit" },
		"blocks of 32":      func(o *Options) { o.Method = "oft"; m = smolLM2(t); m.Config.HiddenSize, m.Config.HeadDim = 90, 10 },
	} {
		m = smolLM2(t)
		o := options("lora", 8, "all-linear")
		change(&o)
		if _, err := New(m, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestLargestBatch(t *testing.T) {
	m := smolLM2(t)
	o := options("lora", 8, "all-linear")
	o.Seq, o.Batch = 64, 9
	for _, want := range []int{0, 1, 4, 9} {
		at := o
		at.Batch = max(want, 1)
		limit := plan(t, m, at).Total
		if want == 0 {
			limit--
		}
		if got, err := LargestBatch(m, o, limit); err != nil || got != want {
			t.Errorf("%d in %d bytes: %v, want %d", got, limit, err, want)
		}
	}
}
