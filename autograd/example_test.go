package autograd_test

import (
	"fmt"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/tensor"
)

// One step of gradient descent on w for the loss Σ (x·wᵀ)².
func Example() {
	cpu := tensor.NewCPU(1)
	defer cpu.Close()
	w := autograd.Param(tensor.FromF32(cpu, []float32{1, -1}, 1, 2))
	defer w.T.Release()
	w.Trainable = true

	arena := tensor.NewArena(cpu)
	defer arena.Close()
	tape := autograd.NewTape(arena)
	defer tape.Close()
	x := tape.Input(arena.FromF32([]float32{1, 2, 3, 4}, 2, 2))
	y := x.MatMulT(w)
	loss := y.Mul(y).SumAll()

	grads := autograd.Grads{}
	defer grads.Release()
	autograd.Backward(loss, grads)
	fmt.Println(loss.T.Item(), grads[w].F32s())

	w.T.AddInPlace(grads[w].In(arena).Scale(-0.01))
	fmt.Println(w.T.F32s())
	// Output:
	// 2 [-8 -12]
	// [1.08 -0.88]
}

// LoRA: the matrix is frozen and gets no gradient, its low-rank term does.
func ExampleValue_Affine() {
	cpu := tensor.NewCPU(1)
	defer cpu.Close()
	param := func(trainable bool, data []float32, shape ...int) *autograd.Value {
		p := autograd.Param(tensor.FromF32(cpu, data, shape...))
		p.Trainable = trainable
		return p
	}
	layer := autograd.Affine{
		W:     param(false, []float32{1, 0, 0, 1}, 2, 2),
		A:     param(true, []float32{1, 1}, 1, 2), // rank 1
		B:     param(true, []float32{0, 0}, 2, 1),
		Scale: 2,
	}
	arena := tensor.NewArena(cpu)
	tape := autograd.NewTape(arena)
	x := tape.Input(arena.FromF32([]float32{3, 4}, 1, 2))
	z := x.Affine(layer)
	grads := autograd.Grads{}
	autograd.Backward(z.SumAll(), grads)
	fmt.Println(z.T.F32s(), "dB", grads[layer.B].F32s(), "dA", grads[layer.A].F32s(), "dW", grads[layer.W])

	grads.Release()
	tape.Close()
	arena.Close()
	for _, p := range []*autograd.Value{layer.W, layer.A, layer.B} {
		p.T.Release()
	}
	_, inUse, _ := cpu.MemoryStats()
	fmt.Println(inUse, "bytes in use")
	// Output:
	// [3 4] dB [14 14] dA [0 0] dW <nil>
	// 0 bytes in use
}

// What f makes is computed again for the gradient instead of being kept.
func ExampleRecompute() {
	cpu := tensor.NewCPU(1)
	defer cpu.Close()
	arena := tensor.NewArena(cpu)
	defer arena.Close()
	tape := autograd.NewTape(arena)
	defer tape.Close()
	x := tape.Leaf(arena.FromF32([]float32{1, 4, 9}, 3))
	y := autograd.Recompute(x, func(x *autograd.Value) *autograd.Value { return x.Sqrt().Log().Scale(8) })
	grads := autograd.Grads{}
	defer grads.Release()
	autograd.Backward(y.SumAll(), grads)
	fmt.Printf("%.4f\n", grads[x].F32s()) // 4/x
	// Output: [4.0000 1.0000 0.4444]
}
