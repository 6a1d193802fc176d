package lora_test

import (
	"fmt"
	"log"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/lora"
)

// An adapter that PEFT saved changes what a call computes, and nothing else.
func Example() {
	m, err := tenon.Load("../testdata/llama/mha", tenon.Options{Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	a, err := lora.Load(m.LM, "mine", "../testdata/lora/default/adapter", m.Device)
	if err != nil {
		log.Fatal(err)
	}
	defer a.Remove()
	fmt.Println(a.Config.Rank, a.Config.Alpha, a.Elems())
	for name, p := range a.Params() {
		fmt.Println(name, p.Shape())
		break
	}
	// a.Use() is what a call names the adapter by; a.Merge() makes it part of the
	// model's own weights.

	// Output:
	// 8 16 2048
	// base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight [8, 32]
}
