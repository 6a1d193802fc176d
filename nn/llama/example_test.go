package llama_test

import (
	"fmt"
	"log"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// The logits of three tokens.
func Example() {
	dev := tensor.NewCPU(1)
	defer dev.Close()
	config, err := llama.ReadConfig("../../testdata/llama/gqa-tied/config.json")
	if err != nil {
		log.Fatal(err)
	}
	weights, err := safetensors.OpenDir("../../testdata/llama/gqa-tied")
	if err != nil {
		log.Fatal(err)
	}
	defer weights.Close()
	m, err := llama.Load(config, weights, dev)
	if err != nil {
		log.Fatal(err)
	}
	defer nn.Release(m)

	arena := tensor.NewArena(dev)
	defer arena.Close()
	step := &nn.Step{Tape: autograd.NoGrad(arena), B: 1, T: 3}
	logits := nn.Logits(m, step, []int32{1, 2, 3})
	fmt.Println(logits.Shape())
	// Output: [3, 96]
}
