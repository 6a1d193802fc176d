package cli

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// modelFlags are the flags of the commands that compute.
type modelFlags struct {
	model, adapter string
	threads        int
	weights        string
	compute        string
	quant          quantFlags
}

func (m *modelFlags) add(f *pflag.FlagSet) {
	m.addBase(f)
	m.addAdapter(f)
}

func (m *modelFlags) addAdapter(f *pflag.FlagSet) {
	f.StringVar(&m.adapter, "adapter", "", "folder of a LoRA adapter that PEFT or tenon saved")
}

// addBase adds the flags of how the model is held and computed with.
func (m *modelFlags) addBase(f *pflag.FlagSet) {
	m.addPaths(f)
	f.StringVar(&m.weights, "weights", weightsStored, "hold the model's matrices as the file stores them, or decoded: stored or f32")
	f.StringVar(&m.compute, "compute", tensor.ComputeF32.String(), "arithmetic of matrix products: f32; bf16, operands rounded to BF16 where that is faster; int16, 4-bit and Q8_0 weights by up to 8 rows, as in decoding, in 16-bit integers")
	m.quant.add(f, "quantize", "encode the weights of linear layers, but the output head's, when the model is loaded: nf4, fp4 or q8_0")
}

func (m *modelFlags) addPaths(f *pflag.FlagSet) {
	f.StringVar(&m.model, "model", "", "Hugging Face folder, .safetensors or .gguf file (required)")
	f.IntVar(&m.threads, "threads", 0, "threads to compute with; 0 is all cores")
}

// What --weights can be.
const (
	weightsStored = "stored"
	weightsF32    = "f32"
)

func (m *modelFlags) check() error {
	_, err := m.quantize()
	return errors.Join(checkWeights(m.weights), checkCompute(m.compute), checkThreads(m.threads), err)
}

// quantize returns how the model is to be quantised; the zero value is not.
func (m *modelFlags) quantize() (tensor.QuantOptions, error) {
	switch {
	case m.quant.to != "" && m.weights == weightsF32:
		return tensor.QuantOptions{}, usagef("--quantize and --weights %s exclude each other", weightsF32)
	case m.quant.to != "":
		return m.quant.options("quantize", "nf4", "fp4", "q8_0")
	case m.quant.double || m.quant.block != defaultBlock:
		return tensor.QuantOptions{}, usagef("--double-quant and --block want --quantize")
	}
	return tensor.QuantOptions{}, nil
}

func checkWeights(how string) error {
	if how != weightsStored && how != weightsF32 {
		return usagef("--weights is %q, want %s or %s", how, weightsStored, weightsF32)
	}
	return nil
}

func checkCompute(how string) error {
	if _, ok := tensor.ParseCompute(how); !ok {
		return usagef("--compute is %q, want %v, %v or %v", how, tensor.ComputeF32, tensor.ComputeBF16, tensor.ComputeInt16)
	}
	return nil
}

func checkThreads(n int) error {
	if n < 0 || n > 1<<12 {
		return usagef("--threads is %d, want 0 to %d", n, 1<<12)
	}
	return nil
}

// model is a language model with an adapter or without.
type model struct {
	*tenon.Model
	adapter *lora.Adapter // nil: the base alone
}

// adapterName is what the model calls its adapter: there is one.
const adapterName = "adapter"

// open loads the model and the adapter that the flags name.
func (m *modelFlags) open(e *env) (*model, error) {
	quant, err := m.quantize()
	if err != nil {
		return nil, err
	}
	compute, _ := tensor.ParseCompute(m.compute)
	return m.load(e, tenon.Options{Threads: m.threads, F32: m.weights == weightsF32, Compute: compute, Quantize: quant})
}

// load loads the model, as the options say, and the adapter.
func (m *modelFlags) load(e *env, o tenon.Options) (*model, error) {
	base, err := tenon.Load(m.model, o)
	if err != nil {
		return nil, err
	}
	for _, w := range base.LM.Config.Warnings {
		e.warn("%s: %s", m.model, w)
	}
	out := &model{Model: base}
	if m.adapter != "" {
		if out.adapter, err = lora.Load(base.LM, adapterName, m.adapter, base.Device); err != nil {
			return nil, errors.Join(err, out.close())
		}
	}
	return out, nil
}

// close releases the model's memory.
func (m *model) close() error {
	if m.adapter != nil {
		m.adapter.Remove()
	}
	return m.Close()
}

// active is the adapter that calls are to use.
func (m *model) active() *nn.Adapter {
	if m.adapter != nil {
		return m.adapter.Use()
	}
	return nil
}
