package safetensors_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/tensor"
)

func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	path := filepath.Join(dir, "adapter_model.safetensors")
	err = safetensors.Write(path, []safetensors.Entry{
		safetensors.FromFloats("lora_A.weight", tensor.F32, []int{2, 3}, []float32{1, 2, 3, 4, 5, 6}),
		safetensors.FromFloats("lora_B.weight", tensor.BF16, []int{1, 2}, []float32{0.5, 0.1}),
	}, map[string]string{"format": "pt"})
	if err != nil {
		log.Fatal(err)
	}

	f, err := safetensors.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	for name, info := range f.All() {
		x := make([]float32, info.Shape[0]*info.Shape[1])
		if err := f.Decode(x, name); err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, info.DType, info.Shape, x)
	}
	// Output:
	// lora_A.weight F32 [2 3] [1 2 3 4 5 6]
	// lora_B.weight BF16 [1 2] [0.5 0.100097656]
}
