package gguf_test

import (
	"fmt"
	"log"

	"github.com/tenon-ml/tenon/format/gguf"
)

func ExampleOpen() {
	f, err := gguf.Open("../../testdata/gguf/llama.gguf")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()

	arch, err := f.String("general.architecture")
	if err != nil {
		log.Fatal(err)
	}
	heads, err := f.Uint(arch + ".attention.head_count")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(arch, "with", heads, "heads")
	for _, t := range f.Tensors()[:3] {
		fmt.Println(t.Name, t.Type, t.Shape, t.Bytes, "bytes")
	}
	x := make([]float32, 24*64)
	if err := f.Decode(x, "q8_0.q.weight"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(x[:2])
	// Output:
	// llama with 4 heads
	// f32.q.weight F32 [24 64] 6144 bytes
	// f32.q.bias F32 [24] 96 bytes
	// q8_0.q.weight Q8_0 [24 64] 1632 bytes
	// [-1.0414124 -1.115799]
}

// The rows of attn_q in Hugging Face's order: one head of size 4.
func ExampleUnpermuteRows() {
	dst := make([]byte, 8)
	gguf.UnpermuteRows(dst, []byte("r0r1r2r3"), 4, 2, 1)
	fmt.Printf("%s\n", dst)
	// Output: r0r2r1r3
}

func ExampleHFName() {
	fmt.Println(gguf.HFName("blk.7.attn_q.weight"))
	// Output: model.layers.7.self_attn.q_proj.weight true
}

func ExamplePermuted() {
	for _, arch := range []string{"llama", "qwen3", "gpt2"} {
		yes, ok := gguf.Permuted(arch)
		fmt.Println(arch, yes, ok)
	}
	// Output:
	// llama true true
	// qwen3 false true
	// gpt2 false false
}
