package bench

import (
	"fmt"
	"math"
	"strings"

	"github.com/tenon-ml/tenon/asm"
	"github.com/tenon-ml/tenon/tensor"
)

// A Case is a matrix product's name and shape: "matmul" x·y, "matmulT" x·yᵀ,
// "matmulTA" xᵀ·y, "packed" x·Wᵀ with a W that was packed before.
type Case struct {
	Op      string
	M, N, K int
}

// Thin returns the products of LoRA's shapes, tokens by SmolLM2's sizes and ranks:
// what goes through A and through B, and the gradients of x and of both.
func Thin() []Case {
	const tokens = 512
	var out []Case
	for _, r := range []int{8, 16, 64} {
		for _, d := range []int{576, 1536} {
			out = append(out,
				Case{"matmulT", tokens, r, d},  // x·Aᵀ
				Case{"matmulT", tokens, d, r},  // (x·Aᵀ)·Bᵀ
				Case{"matmul", tokens, r, d},   // dy·B
				Case{"matmul", tokens, d, r},   // (dy·B)·A
				Case{"matmulTA", r, d, tokens}, // dA
				Case{"matmulTA", d, r, tokens}, // dB
			)
		}
	}
	return out
}

// RowTypes returns the types that the weights of a decoded token have.
func RowTypes() []tensor.DType {
	return []tensor.DType{tensor.F32, tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0, tensor.Q4_1, tensor.Q4_K, tensor.Q6_K, tensor.NF4}
}

// weights returns a function that makes a matrix [n, k] of a type, each time with
// the same random contents.
func weights(dev tensor.Device, dt tensor.DType, n, k int) func() *tensor.Tensor {
	r := tensor.NewRandom(4, dt.String())
	var values []float32
	if dt.Quantized() || dt == tensor.F32 || dt == tensor.BF16 || dt == tensor.F16 {
		values = make([]float32, n*k)
		r.Uniform(values, -1, 1)
	}
	raw := make([]byte, dt.Bytes(n*k))
	switch dt {
	case tensor.F32:
		return func() *tensor.Tensor { return tensor.FromF32(dev, values, n, k) }
	case tensor.NF4, tensor.FP4:
		t, err := tensor.Quantize(dev, values, tensor.Shape{n, k}, tensor.QuantOptions{DType: dt, Block: 64})
		if err != nil {
			panic(err) // the numbers are finite and the shape is right
		}
		return func() *tensor.Tensor { return t.Clone() }
	case tensor.BF16:
		asm.EncodeBF16(raw, values)
	case tensor.F16:
		asm.EncodeF16(raw, values)
	default: // blocks of random codes, with scales that are numbers
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		_, size := dt.Block()
		scales := map[tensor.DType][]int{tensor.Q4_1: {0, 2}, tensor.Q4_K: {0, 2}, tensor.Q6_K: {size - 2}}[dt]
		if scales == nil {
			scales = []int{0}
		}
		for at := 0; at < len(raw); at += size {
			for _, s := range scales {
				raw[at+s], raw[at+s+1] = 0, 0x20 // 2⁻⁷ in F16
			}
		}
	}
	return func() *tensor.Tensor { return tensor.FromBytes(dev, dt, raw, n, k) }
}

// A Rotated is the product of one row with one after the other of several equal
// matrices, together larger than the caches: as a decoded token meets its weights.
type Rotated struct {
	dev    *tensor.CPU
	x, dst *tensor.Tensor
	w      []*tensor.Tensor
	next   int
}

// NewRotated returns products with matrices [n, k] of a type that have so many bytes
// together; Release them.
func NewRotated(dev *tensor.CPU, dt tensor.DType, n, k, bytes int) *Rotated {
	p := &Rotated{dev: dev, dst: tensor.New(dev, tensor.F32, 1, n), x: weights(dev, tensor.F32, 1, k)()}
	next := weights(dev, dt, n, k)
	for held := 0; held < bytes; held += stored(p.w[0]) {
		p.w = append(p.w, next())
	}
	return p
}

// Run computes the next product.
func (p *Rotated) Run() {
	p.dev.Kernels().MatMul(p.dst, p.x, p.w[p.next], false, true, 1, false)
	p.next = (p.next + 1) % len(p.w)
}

// Error returns how far the product is from that of another device with the same
// matrices, at most and as a share of its largest element: what an arithmetic costs.
func (p *Rotated) Error(exact *tensor.CPU) float64 {
	q := NewRotated(exact, p.w[0].DType(), p.w[0].Dim(0), p.w[0].Dim(1), 1)
	defer q.Release()
	p.Run()
	q.Run()
	var largest, most float64
	for i, want := range q.dst.F32() {
		largest = max(largest, math.Abs(float64(want)))
		most = max(most, math.Abs(float64(p.dst.F32()[i])-float64(want)))
	}
	return most / largest
}

// Name is op/type/shape/threads.
func (p *Rotated) Name() string {
	w := p.w[0]
	return Case{"matmulT", 1, w.Dim(0), w.Dim(1)}.name(w.DType(), p.dev)
}

// Bytes returns the bytes of one matrix.
func (p *Rotated) Bytes() float64 { return float64(stored(p.w[0])) }

// FLOP returns the floating-point operations of a run.
func (p *Rotated) FLOP() float64 { return 2 * float64(p.w[0].Elems()) }

// Release gives the memory back.
func (p *Rotated) Release() {
	p.dst.Release()
	p.x.Release()
	for _, w := range p.w {
		w.Release()
	}
}

// name is op/type of the right side/shape/threads, as benchstat groups them.
func (c Case) name(dt tensor.DType, dev *tensor.CPU) string {
	return fmt.Sprintf("%s/%s/m=%d/n=%d/k=%d/%s", c.Op, strings.ToLower(dt.String()), c.M, c.N, c.K, threadsName(dev.Threads()))
}
