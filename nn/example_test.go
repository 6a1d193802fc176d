package nn_test

import (
	"fmt"

	"github.com/tenon-ml/tenon/nn"
)

// A model is a struct whose fields carry the checkpoint's names; what has the type
// Layer is a slot, which another layer can fill.
func ExampleSlots() {
	type block struct {
		Norm *nn.RMSNorm `nn:"input_layernorm"`
		Up   nn.Layer    `nn:"up_proj"`
	}
	type model struct {
		Blocks []*block `nn:"layers"`
	}
	m := &model{[]*block{{nn.NewRMSNorm(4, 1e-6), nn.NewLinear(4, 8, true)}}}
	for _, s := range nn.Slots(m) {
		fmt.Println("slot", s.Path)
	}
	for name, p := range nn.Params(m) {
		fmt.Println(name, p.Shape())
	}
	// Output:
	// slot layers.0.up_proj
	// layers.0.input_layernorm.weight [4]
	// layers.0.up_proj.weight [8, 4]
	// layers.0.up_proj.bias [8]
}
