package bench

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/tensor"
)

// A Product is a matrix product on fixed operands: "matmul" is x·y, "matmulT"
// x·yᵀ and "matmulTA" xᵀ·y, of the result's shape [m, n] over k. y may be of a
// stored type.
type Product struct {
	op        string
	dev       *tensor.CPU
	m, n, k   int
	dst, x, y *tensor.Tensor
}

// NewProduct returns a product of random operands; Release it.
func NewProduct(dev *tensor.CPU, op string, dt tensor.DType, m, n, k int) *Product {
	p := &Product{op: op, dev: dev, m: m, n: n, k: k}
	r := tensor.NewRandom(3, op)
	random := func(dt tensor.DType, rows, cols int) *tensor.Tensor {
		v := make([]float32, rows*cols)
		r.Uniform(v, -1, 1)
		t := tensor.FromF32(dev, v, rows, cols)
		if dt == tensor.F32 {
			return t
		}
		defer t.Release()
		return t.To(dt)
	}
	xs, ys := []int{m, k}, []int{k, n}
	if op == "matmulTA" {
		xs = []int{k, m}
	}
	if op == "matmulT" {
		ys = []int{n, k}
	}
	p.dst, p.x, p.y = tensor.New(dev, tensor.F32, m, n), random(tensor.F32, xs[0], xs[1]), random(dt, ys[0], ys[1])
	return p
}

// Run computes the product.
func (p *Product) Run() {
	p.dev.Kernels().MatMul(p.dst, p.x, p.y, p.op == "matmulTA", p.op == "matmulT", 1, false)
}

// Name is op/type of y/shape/threads, as benchstat groups them.
func (p *Product) Name() string {
	return fmt.Sprintf("%s/%s/m=%d/n=%d/k=%d/%s", p.op, strings.ToLower(p.y.DType().String()), p.m, p.n, p.k, threadsName(p.dev.Threads()))
}

// FLOP returns the floating-point operations of a run.
func (p *Product) FLOP() float64 { return 2 * float64(p.m) * float64(p.n) * float64(p.k) }

// Bytes returns the bytes of the operands and the result.
func (p *Product) Bytes() float64 { return float64(stored(p.x) + stored(p.y) + stored(p.dst)) }

// Release gives the operands' memory back.
func (p *Product) Release() {
	p.dst.Release()
	p.x.Release()
	p.y.Release()
}
