package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/tenon-ml/tenon/format/gguf"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// modelFlags are the flags of the commands that compute.
type modelFlags struct {
	model, adapter string
	threads        int
}

func (m *modelFlags) add(f *pflag.FlagSet) {
	m.addBase(f)
	f.StringVar(&m.adapter, "adapter", "", "folder of a LoRA adapter that PEFT or tenon saved")
}

func (m *modelFlags) addBase(f *pflag.FlagSet) {
	f.StringVar(&m.model, "model", "", "Hugging Face folder, .safetensors or .gguf file (required)")
	f.IntVar(&m.threads, "threads", 0, "threads to compute with; 0 is all cores")
}

func (m *modelFlags) check() error {
	if m.threads < 0 || m.threads > 1<<12 {
		return usagef("--threads is %d, want 0 to %d", m.threads, 1<<12)
	}
	return nil
}

// model is a language model in memory, with an adapter or without.
type model struct {
	path    string
	dev     *tensor.CPU
	lm      *llama.Model
	adapter *lora.Adapter // nil: the base alone
}

// adapterName is what the model calls its adapter: there is one.
const adapterName = "adapter"

// open loads the model and the adapter that the flags name.
func (m *modelFlags) open() (*model, error) {
	dev := tensor.NewCPU(m.threads)
	lm, err := loadLlama(m.model, dev)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	out := &model{path: m.model, dev: dev, lm: lm}
	if m.adapter != "" {
		if out.adapter, err = lora.Load(lm, adapterName, m.adapter, dev); err != nil {
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
	nn.Release(m.lm)
	return m.dev.Close()
}

// active is the adapter that calls are to use.
func (m *model) active() *nn.Adapter {
	if m.adapter != nil {
		return m.adapter.Use()
	}
	return nil
}

// notFinite is the error about results that are no numbers.
func (m *model) notFinite(what string) error {
	return fmt.Errorf("%s: %s not finite: a weight is NaN or Inf, or too large", m.path, what)
}

// configFile returns where the configuration of a Hugging Face checkpoint lies.
func configFile(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, "config.json")
	}
	return filepath.Join(filepath.Dir(path), "config.json")
}

// loadLlama reads a model of any form.
func loadLlama(path string, dev tensor.Device) (*llama.Model, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() && isGGUF(path) {
		f, err := gguf.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		c, err := configOfGGUF(f)
		if err != nil {
			return nil, err
		}
		return llama.Load(c, newGGUFSource(f, c), dev)
	}
	c, err := llama.ReadConfig(configFile(path))
	if err != nil {
		return nil, err
	}
	var f *safetensors.File
	if info.IsDir() {
		f, err = safetensors.OpenDir(path)
	} else {
		f, err = safetensors.Open(path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return llama.Load(c, readOnce{f}, dev)
}

// readOnce is a checkpoint whose pages go back to the system once they are
// decoded, so that loading does not hold the file beside the weights.
type readOnce struct{ *safetensors.File }

// Decode writes a tensor's elements to dst as F32.
func (r readOnce) Decode(dst []float32, name string) error {
	defer r.Release(name)
	return r.File.Decode(dst, name)
}
