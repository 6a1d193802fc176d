// Command finetune trains a LoRA adapter and saves it as Hugging Face PEFT does.
//
//	go run ./examples/finetune
//	go run ./examples/finetune -model SmolLM2.gguf -data examples/smollm2/train.jsonl -out my-adapter -lr 1e-3
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/train"
)

func main() {
	log.SetFlags(0)
	model := flag.String("model", "testdata/llama/chat", "Hugging Face folder, .safetensors or .gguf file; by default a tiny one with random weights")
	data := flag.String("data", "examples/smollm2/train.jsonl", "JSONL file")
	out := flag.String("out", "", "folder to write the adapter into; none is written if it is empty")
	steps := flag.Int("steps", 10, "optimizer steps")
	rate := flag.Float64("lr", 1e-2, "learning rate")
	flag.Parse()

	if err := run(*model, *data, *out, *steps, *rate); err != nil {
		log.Fatal(err)
	}
}

func run(model, data, out string, steps int, rate float64) error {
	m, err := tenon.Load(model, tenon.Options{})
	if err != nil {
		return err
	}
	defer m.Close()

	examples, err := train.ReadFile(data, train.ReadOptions{Encoder: tenon.NewEncoder(model), Vocab: m.LM.Vocab(), Seq: 512})
	if err != nil {
		return err
	}

	// The adapter: low-rank terms beside all linear layers of the frozen model.
	config := lora.Config{Rank: 8, Alpha: 16, Targets: lora.Names{AllLinear: true}, BaseModel: model}
	adapter, err := lora.New(m.LM, "mine", config, 0, m.Device)
	if err != nil {
		return err
	}
	defer adapter.Remove()
	var params []train.Param
	for name, p := range adapter.Params() {
		params = append(params, train.Param{Name: name, Value: p})
	}
	fmt.Printf("%d parameters to train, on %d examples\n", adapter.Elems(), len(examples))

	loader := &train.Loader{Examples: examples, Batch: 4, Accumulate: 1, Shuffle: true}
	options := train.Options{Steps: steps, LR: rate, Schedule: train.Linear, Clip: 1, Adapter: adapter.Use()}
	err = train.Run(context.Background(), m.LM, m.Device, params, loader, options, func(r train.Report) error {
		fmt.Printf("step %2d: loss %.4f, %.0f tokens/s\n", r.Step, r.Loss, r.TokensPerSec)
		return nil
	})
	if err != nil || out == "" {
		return err
	}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return err
	}
	return adapter.Save(out)
}
