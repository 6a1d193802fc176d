package bench

import "github.com/tenon-ml/tenon/tensor"

// A Product is a matrix product on fixed operands, random ones.
type Product struct {
	Case
	dt        tensor.DType
	dev       *tensor.CPU
	dst, x, y *tensor.Tensor
}

// NewProduct returns a product whose right side is of type dt; Release it.
func NewProduct(dev *tensor.CPU, c Case, dt tensor.DType) *Product {
	p := &Product{Case: c, dt: dt, dev: dev, dst: tensor.New(dev, tensor.F32, c.M, c.N)}
	if c.Op == "matmulTA" {
		p.x = weights(dev, tensor.F32, c.K, c.M)()
	} else {
		p.x = weights(dev, tensor.F32, c.M, c.K)()
	}
	if p.transposed() {
		p.y = weights(dev, dt, c.N, c.K)()
	} else {
		p.y = weights(dev, dt, c.K, c.N)()
	}
	if c.Op == "packed" {
		p.y = p.y.Pack()
	}
	return p
}

func (p *Product) transposed() bool { return p.Op == "matmulT" || p.Op == "packed" }

// Run computes the product.
func (p *Product) Run() {
	p.dev.Kernels().MatMul(p.dst, p.x, p.y, p.Op == "matmulTA", p.transposed(), 1, false)
}

// Name is op/type of y/shape/threads, as benchstat groups them.
func (p *Product) Name() string { return p.name(p.dt, p.dev) }

// FLOP returns the floating-point operations of a run.
func (p *Product) FLOP() float64 { return 2 * float64(p.M) * float64(p.N) * float64(p.K) }

// Bytes returns the bytes of the operands and the result.
func (p *Product) Bytes() float64 { return float64(stored(p.x) + stored(p.y) + stored(p.dst)) }

// Release gives the operands' memory back.
func (p *Product) Release() {
	p.dst.Release()
	p.x.Release()
	p.y.Release()
}
