// Command generate loads a model and writes text with it as it comes.
//
//	go run ./examples/generate
//	go run ./examples/generate -model SmolLM2.gguf -chat "What is the capital of France?"
package main

import (
	"context"
	"flag"
	"fmt"
	"log"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/format/chat"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
)

func main() {
	log.SetFlags(0)
	model := flag.String("model", "testdata/llama/chat", "Hugging Face folder, .safetensors or .gguf file; by default a tiny one with random weights")
	adapter := flag.String("adapter", "", "folder of a LoRA adapter, if any")
	prompt := flag.String("prompt", "Once upon a time", "text to continue")
	message := flag.String("chat", "", "message to answer instead, by the model's chat template")
	tokens := flag.Int("tokens", 64, "stop after so many")
	temperature := flag.Float64("temperature", 0, "0 takes the likeliest token")
	flag.Parse()

	m, err := tenon.Load(*model, tenon.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	r := tenon.Request{
		Prompt:    *prompt,
		MaxTokens: *tokens,
		Sampling:  nn.Sampling{Temperature: *temperature, TopP: 0.95},
	}
	if *message != "" {
		r.Messages = []chat.Message{{Role: "user", Content: *message}}
	}
	if *adapter != "" {
		// An adapter is chosen by the request: another one may use another, or none.
		a, err := lora.Load(m.LM, "mine", *adapter, m.Device)
		if err != nil {
			log.Fatal(err)
		}
		r.Adapter = a.Use()
	}
	g, err := m.Generate(context.Background(), r, func(piece string) error {
		_, err := fmt.Print(piece)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("\n%d tokens, %.1f tokens/s\n", g.Tokens, g.TokensPerSec)
}
