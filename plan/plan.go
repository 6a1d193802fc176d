package plan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// Options are what a training run is asked for, as far as it costs something.
type Options struct {
	Method        string      // of Methods
	LoRA          lora.Config // rank, targets and what is trained besides, for the methods that have them
	VirtualTokens int         // of prompts and prefixes

	Quantize string // "nf4", "fp4", "q8_0", or "" to leave the base as it is
	Block    int    // elements of nf4 and fp4 that share a scale; 0: 64
	Double   bool   // quantise the scales of nf4 and fp4 again
	F32      bool   // decode the base when it is loaded

	Batch, Seq, Accumulate int
	Recompute              bool
	Optimizer              string // of Optimizers

	Robots int // 0: do not plan for any
	Limits Limits
}

// Limits are what a machine can do at most.
type Limits struct {
	FMA  float64 // FLOP/s of fused multiply-adds in F32, of all threads
	Read float64 // bytes/s read from memory, by all threads
}

// Optimizers are the names of the optimizers that can be planned.
var Optimizers = []string{"adamw", "adamw8bit", "paged_adamw"}

// Plan is what a run takes. Its JSON is the whole of what `tenon plan --json` prints.
type Plan struct {
	Parameters Parameters `json:"parameters"`
	Trainable  Trainable  `json:"trainable"`
	Weights    Weights    `json:"weights"`

	Gradients int64 `json:"gradients_bytes"`
	Optimizer int64 `json:"optimizer_bytes"`
	Adapter   int64 `json:"adapter_bytes"`

	// Activations is what the peak of a step has beside the others. Gradients are
	// counted in full there, though the first of them come into being when
	// activations are already going.
	Activations int64 `json:"activations_bytes"`
	Total       int64 `json:"total_bytes"`

	AdapterFile int64   `json:"adapter_file_bytes"`
	FLOPs       FLOPs   `json:"flops"`
	Seconds     float64 `json:"seconds_per_step"`
	Robots      *Robots `json:"robots,omitempty"`
}

// Trainable is what is trained.
type Trainable struct {
	Parameters int64   `json:"parameters"`
	Tensors    int     `json:"tensors"`
	Share      float64 `json:"share"` // of the base's parameters
}

// Weights are the base's weights as they lie in memory.
type Weights struct {
	Quantized *Quantized `json:"quantized,omitempty"`
	Kept      Kept       `json:"kept"`
	Bytes     int64      `json:"bytes"`
}

// Quantized are the weights that are quantised: those of every linear layer but the
// output head. The maps, which all tensors share, and offsets are not counted.
type Quantized struct {
	Parameters int64 `json:"parameters"`
	Codes      int64 `json:"codes_bytes"`
	Statistics int64 `json:"statistics_bytes"`
}

// Kept are the weights that are left as they are stored.
type Kept struct {
	Parameters int64  `json:"parameters"`
	DType      string `json:"dtype"` // of most of them
	Bytes      int64  `json:"bytes"`
}

// Robots compares adapters of n robots on one base with a copy of the model for each,
// on disk.
type Robots struct {
	N        int   `json:"n"`
	Adapters int64 `json:"adapters_bytes"`
	Copies   int64 `json:"copies_bytes"`
}

// New plans a run.
func New(m *Model, o Options) (*Plan, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &Plan{}
	full := o.Method == "full"
	model := m.structure()
	p.Parameters = countParameters(model)
	p.Weights = m.weights(model, o)
	r, err := dryRun(m, o)
	if err != nil {
		return nil, err
	}
	p.AdapterFile = r.file
	for _, t := range r.trained {
		n := int64(t.shape.Elems())
		p.Trainable.Parameters += n
		p.Optimizer += optimizerBytes(o.Optimizer, n)
	}
	p.Trainable.Tensors = len(r.trained)
	p.Trainable.Share = float64(p.Trainable.Parameters) / float64(p.Parameters.Total)
	p.Gradients = 4 * p.Trainable.Parameters
	if !full {
		p.Adapter = 4 * p.Trainable.Parameters
	}
	p.Activations = r.activations
	p.Total = p.Weights.Bytes + p.Adapter + p.Gradients + p.Optimizer + p.Activations
	p.FLOPs = m.flops(o, r.trained)
	p.Seconds = o.Limits.seconds(p, o)
	if o.Robots > 0 {
		p.Robots = &Robots{N: o.Robots, Adapters: p.Weights.Bytes + int64(o.Robots)*p.AdapterFile, Copies: int64(o.Robots) * p.Weights.Bytes}
	}
	return p, nil
}

func (o *Options) check() error {
	var err error
	bad := func(format string, a ...any) { err = errors.Join(err, fmt.Errorf(format, a...)) }
	if !slices.Contains(Methods, o.Method) {
		bad("the method is %q, want one of %s", o.Method, strings.Join(Methods, ", "))
	}
	if !slices.Contains(Optimizers, o.Optimizer) {
		bad("the optimizer is %q, want one of %s", o.Optimizer, strings.Join(Optimizers, ", "))
	}
	if o.Quantize != "" && quantizers[o.Quantize] == nil {
		bad("the quantisation is %q, want nf4, fp4 or q8_0", o.Quantize)
	}
	if o.Double && o.Quantize != "nf4" && o.Quantize != "fp4" {
		bad("double quantisation is of nf4 and fp4")
	}
	if b := o.Block; b != 0 && (b < 32 || b > 4096 || b&(b-1) != 0) {
		bad("the block is %d, want a power of two, 32 to 4096", b)
	}
	if o.Method == "full" && o.Quantize != "" {
		bad("quantised weights cannot be trained")
	}
	if o.Method == "full" && o.Robots > 0 {
		bad("full fine-tuning makes no adapters for robots to share a model by")
	}
	for _, n := range []struct {
		what string
		v    int
	}{{"batch", o.Batch}, {"length", o.Seq}, {"number of batches of a step", o.Accumulate}} {
		if n.v < 1 || n.v > 1<<24 {
			bad("the %s is %d, want 1 to %d", n.what, n.v, 1<<24)
		}
	}
	if err == nil && int64(o.Batch)*int64(o.Seq) > 1<<24 {
		bad("the batch has %d tokens, want at most %d", int64(o.Batch)*int64(o.Seq), 1<<24)
	}
	if o.VirtualTokens < 1 && virtual(o.Method) {
		bad("%s wants a number of virtual tokens", o.Method)
	}
	return err
}

// quantizers return the bytes that the codes and the scales of n elements take.
var quantizers = map[string]func(n int64, o *Options) (codes, statistics int64){
	"nf4":  fourBits,
	"fp4":  fourBits,
	"q8_0": func(n int64, _ *Options) (codes, statistics int64) { return n, ceil(n, 32) * 2 },
}

// fourBits has a scale in F32 for a block of elements; quantised again, a byte, with a
// scale in F32 for 256 of them.
func fourBits(n int64, o *Options) (codes, statistics int64) {
	blocks := ceil(n, int64(cmp.Or(o.Block, 64)))
	if o.Double {
		return ceil(n, 2), blocks + 4*ceil(blocks, 256)
	}
	return ceil(n, 2), 4 * blocks
}

func ceil(n, by int64) int64 { return (n + by - 1) / by }

// weights returns what the base's weights take.
func (m *Model) weights(model nn.CausalLM, o Options) Weights {
	quantize := map[string]bool{}
	if o.Quantize != "" {
		for _, s := range nn.Slots(model) {
			if l, ok := s.Layer().(*nn.Linear); ok && s.Layer() != model.Output() && l.Weight != nil {
				quantize[s.Path+".weight"] = true
			}
		}
	}
	var w Weights
	kept := map[tensor.DType]int64{} // bytes by type
	var q Quantized
	for name, v := range nn.Params(model) {
		n := int64(v.T.Elems())
		if quantize[name] {
			codes, statistics := quantizers[o.Quantize](n, &o)
			q.Parameters += n
			q.Codes += codes
			q.Statistics += statistics
			continue
		}
		dt := tensor.F32
		if !o.F32 && o.Method != "full" {
			dt = m.Stored(name)
		}
		w.Kept.Parameters += n
		block, bytes := dt.Block()
		kept[dt] += ceil(n, int64(block)) * int64(bytes)
	}
	var most tensor.DType
	for dt, n := range kept {
		w.Kept.Bytes += n
		if n > kept[most] || n == kept[most] && dt < most {
			most = dt
		}
	}
	w.Kept.DType = strings.ToLower(most.String())
	w.Bytes = w.Kept.Bytes
	if o.Quantize != "" {
		w.Quantized = &q
		w.Bytes += q.Codes + q.Statistics
	}
	return w
}

// optimizerBytes returns what AdamW keeps of a tensor of n elements: two moments in F32,
// or in 8 bits with a scale for each 256, if the tensor is large enough.
func optimizerBytes(name string, n int64) int64 {
	if name == "adamw8bit" && n >= 4096 {
		return 2*n + 8*ceil(n, 256)
	}
	return 8 * n
}

// seconds returns the time in which the machine could do a step at its limits: as fast as
// it multiplies, or as it reads the weights, forward, back and with recomputation
// once more, and what the optimizer reads and writes.
func (l Limits) seconds(p *Plan, o Options) float64 {
	if !(l.FMA > 0 && l.Read > 0) {
		return 0
	}
	passes := int64(2 * o.Accumulate)
	if o.Recompute {
		passes += int64(o.Accumulate)
	}
	moved := passes*p.Weights.Bytes + 2*(4*p.Trainable.Parameters+p.Optimizer) + p.Gradients
	return max(float64(p.FLOPs.Step)*float64(o.Accumulate)/l.FMA, float64(moved)/l.Read)
}

// LargestBatch returns the largest batch, up to that of the options, with which a run
// fits into so many bytes, and 0 if none does.
func LargestBatch(m *Model, o Options, bytes int64) (int, error) {
	lo, hi := 0, o.Batch
	for lo < hi {
		o.Batch = lo + (hi-lo+1)/2
		p, err := New(m, o)
		if err != nil {
			return 0, err
		}
		if p.Total <= bytes {
			lo = o.Batch
		} else {
			hi = o.Batch - 1
		}
	}
	return lo, nil
}
