package tensor_test

import (
	"fmt"

	"github.com/tenon-ml/tenon/tensor"
)

func Example() {
	cpu := tensor.NewCPU(0)
	defer cpu.Close()
	arena := tensor.NewArena(cpu) // owns what is made in it
	defer arena.Close()

	x := arena.FromF32([]float32{1, 2, 3, 4, 5, 6}, 2, 3)
	w := arena.FromF32([]float32{1, 0, -1, 0.5, 0.5, 0.5}, 2, 3)
	y := x.MatMulT(w) // x·wᵀ
	fmt.Println(y.Shape(), y.F32s())
	// Output: [2, 2] [-2 3 -2 7.5]
}

// The second shape is matched from the last axis; an axis of extent 1 repeats.
func ExampleTensor_Add() {
	cpu := tensor.NewCPU(1)
	defer cpu.Close()
	arena := tensor.NewArena(cpu)
	defer arena.Close()

	x := arena.FromF32([]float32{1, 2, 3, 4}, 2, 2)
	bias := arena.FromF32([]float32{10, 20}, 2)
	fmt.Println(x.Add(bias).F32s())
	// Output: [11 22 13 24]
}

// A scope returns to the pool what was made inside, but for its result.
func ExampleArena_Scope() {
	cpu := tensor.NewCPU(1)
	defer cpu.Close()
	arena := tensor.NewArena(cpu)
	defer arena.Close()

	x := arena.FromF32(make([]float32, 1<<10), 1<<10)
	arena.Scope(func() []*tensor.Tensor {
		y := x.Scale(2).Scale(2).Scale(2)
		return []*tensor.Tensor{y}
	})
	_, inUse, _ := cpu.MemoryStats()
	fmt.Println(inUse, "bytes: x and y")
	// Output: 8192 bytes: x and y
}

// A shape that does not fit is a mistake in a program: a panic. Try makes an
// error of it where shapes come from outside.
func ExampleTry() {
	cpu := tensor.NewCPU(1)
	defer cpu.Close()
	err := tensor.Try(func() error {
		x := tensor.FromF32(cpu, []float32{1, 2}, 2)
		defer x.Release()
		x.Reshape(3)
		return nil
	})
	fmt.Println(err)
	// Output: tensor: reshape of [2] and [3]: want equal numbers of elements
}
