package plan

import (
	"context"
	"reflect"

	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

// result is what a dry run found out.
type result struct {
	trained     []tensorOf
	file        int64 // bytes of the adapter's file
	activations int64
}

// tensorOf is one of a method's tensors.
type tensorOf struct {
	name  string
	shape tensor.Shape
}

// dryRun takes a training step of the model itself on a device that computes nothing: what
// the step allocates and when is what it will allocate, because it is the same code.
func dryRun(m *Model, o Options) (r result, err error) {
	dev := tensor.NewDry(noKernels())
	defer dev.Close()
	err = tensor.Try(func() (err error) {
		r, err = stepOn(dev, m, o)
		return err
	})
	return r, err
}

func stepOn(dev *tensor.CPU, m *Model, o Options) (result, error) {
	var r result
	model := m.structure()
	for _, p := range nn.Params(model) {
		p.T = tensor.New(dev, tensor.F32, p.Shape()...)
	}
	var params []train.Param
	var use *nn.Adapter
	if o.Method == "full" {
		for name, p := range nn.Params(model) {
			params = append(params, train.Param{Name: name, Value: p})
			r.trained = append(r.trained, tensorOf{name, p.Shape()})
		}
	} else {
		c := o.LoRA
		c.Targets = defaultTargets(o.Method, c.Targets, m.Config.ModelType)
		if m.Vision && c.Targets.AllLinear {
			c.Exclude = withoutConvolutions(c.Exclude)
		}
		a, err := lora.Outline(model, "plan", c, dev)
		if err != nil {
			return r, err
		}
		for name, p := range a.Params() {
			params = append(params, train.Param{Name: name, Value: p})
		}
		if r.trained, r.file, err = tensorsOf(m, o, a); err != nil {
			return r, err
		}
		use = a.Use()
	}

	opt := train.NewAdamW(params, 0)
	before := dev.Touched()
	ids := make([]int32, o.Seq+o.VirtualTokens)
	loader := train.Loader{Batch: o.Batch, Accumulate: min(o.Accumulate, 2)} // a third batch finds what the second left
	for range o.Batch * loader.Accumulate {
		loader.Examples = append(loader.Examples, train.Example{IDs: ids, Labels: ids})
	}
	const clip = 1e-9 // below any norm: the gradients are scaled
	err := train.Run(context.Background(), model, dev, params, &loader,
		train.Options{Steps: 1, Clip: clip, Optimizer: opt, Adapter: use, Recompute: o.Recompute}, func(train.Report) error { return nil })
	if err != nil {
		return r, err
	}
	gradients := 0
	for _, p := range params {
		if !ofVision(p.Name) { // what does not run has none
			gradients += 4 * p.Value.T.Elems()
		}
	}
	r.activations = int64(max(0, dev.Touched()-before-gradients))
	return r, nil
}

// noKernels returns a table of kernels that do nothing, but that a single number is
// what it is filled with: the gradient of the loss is 1.
func noKernels() tensor.Kernels {
	var k tensor.Kernels
	v := reflect.ValueOf(&k).Elem()
	for i := range v.NumField() {
		t := v.Field(i).Type()
		v.Field(i).Set(reflect.MakeFunc(t, func([]reflect.Value) []reflect.Value {
			out := make([]reflect.Value, t.NumOut())
			for i := range out {
				out[i] = reflect.Zero(t.Out(i))
			}
			return out
		}))
	}
	k.Fill = func(dst *tensor.Tensor, v float64) {
		if dst.Elems() == 1 && dst.DType() == tensor.F32 {
			dst.F32()[0] = float32(v)
		}
	}
	return k
}
