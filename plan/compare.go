package plan

import "fmt"

// Row is one method's plan.
type Row struct {
	Name string
	Plan *Plan
}

// virtualTokens is how many virtual tokens methods have where nothing is said.
const virtualTokens = 20

// Compare plans each method that has something to train in the model, and LoRA on a
// base in 4 bits, side by side: with the options' rank, targets, batch and the rest.
func Compare(m *Model, o Options) []Row {
	var rows []Row
	add := func(name string, o Options) {
		if !virtual(o.Method) {
			o.VirtualTokens = 0
		} else if o.VirtualTokens == 0 {
			o.VirtualTokens = virtualTokens
		}
		if p, err := New(m, o); err == nil { // the others have nothing to adapt here
			rows = append(rows, Row{name, p})
		}
	}
	o.Robots = 0
	base := o
	base.Quantize, base.Double = "", false
	for _, method := range Methods {
		at := base
		at.Method = method
		if at.Method == "full" {
			at.F32 = true
		}
		add(method, at)
		if method == "lora" {
			at.Quantize, at.Double = "nf4", true
			add("qlora", at)
			if o.Quantize != "" && !(o.Quantize == "nf4" && o.Double) {
				at.Quantize, at.Double = o.Quantize, o.Double
				add(fmt.Sprintf("lora on %s", o.Quantize), at)
			}
		}
	}
	return rows
}
