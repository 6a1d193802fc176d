package asm_test

import (
	"fmt"

	"github.com/tenon-ml/tenon/asm"
)

func ExampleAddScaled() {
	y := []float32{1, 2, 3}
	asm.AddScaled(y, []float32{1, 1, 1}, 0.5)
	fmt.Println(y)
	// Output: [1.5 2.5 3.5]
}
