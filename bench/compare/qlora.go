package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/asm"
	"github.com/tenon-ml/tenon/bench"
	"github.com/tenon-ml/tenon/tensor"
)

// ours makes a rival of something of our own.
func ours(name string, run func() error) rival {
	return rival{name: name, sample: func(reps int) (float64, error) {
		start := time.Now()
		for range reps {
			if err := run(); err != nil {
				return 0, err
			}
		}
		return time.Since(start).Seconds() / float64(reps), nil
	}}
}

// outProductRows is up to how many rows ggml's product with an untransposed matrix is
// waited for.
const outProductRows = 128

// nf4 compares products with a 4-bit matrix, forward x·Wᵀ and backward dy·W, with the
// same by F32, and decoding it with filling as much memory.
func (r *runner) nf4() error {
	const n = 4096
	threads := most()
	defer r.stop("ggml")
	return confined(threads, func() error {
		dev := tensor.NewCPU(threads)
		defer dev.Close()
		for _, m := range []int{16, 128, 512} {
			for _, op := range []string{"matmulT", "matmul"} {
				c := bench.Case{Op: op, M: m, N: n, K: n}
				p, f := bench.NewProduct(dev, c, tensor.NF4), bench.NewProduct(dev, c, tensor.F32)
				t := task{group: "nf4", name: p.Name(), threads: threads, amount: p.FLOP() / 1e9, unit: "GFLOP/s", flop: p.FLOP(), run: func() error { p.Run(); return nil },
					against: []rival{ours("tenon, F32 weights", func() error { f.Run(); return nil })}}
				if op == "matmul" && m <= outProductRows {
					for _, v := range r.against(fmt.Sprintf("ggml --threads %d", threads), threads, map[string]any{"types": []string{"iq4_nl"}, "n": n, "k": n, "out_prod": m}) {
						v.name += ", OUT_PROD of iq4_nl"
						t.against = append(t.against, v)
					}
				}
				err := r.compare(t)
				p.Release()
				f.Release()
				if err != nil {
					return err
				}
			}
		}
		return r.decodeNF4(dev, n)
	})
}

// decodeNF4 compares decoding with filling the same memory past the caches.
func (r *runner) decodeNF4(dev *tensor.CPU, n int) error {
	x := make([]float32, n*n)
	tensor.NewRandom(4, "decode").Normal(x, 0, 1)
	q, err := tensor.Quantize(dev, x, tensor.Shape{n, n}, tensor.QuantOptions{DType: tensor.NF4, Block: 64})
	if err != nil {
		return err
	}
	defer q.Release()
	dst := tensor.New(dev, tensor.F32, n, n)
	defer dst.Release()
	size := n * n / dev.Threads()
	fill := func() error {
		var wg sync.WaitGroup
		for i := range dev.Threads() {
			wg.Go(func() { asm.StreamFill(dst.F32()[i*size:][:size], 1) })
		}
		wg.Wait()
		return nil
	}
	return r.compare(task{group: "nf4", name: fmt.Sprintf("decode/%d²", n), threads: dev.Threads(), amount: 4 * float64(n*n) / 1e9, unit: "GB/s written",
		run: func() error { dst.CopyFrom(q); return nil }, against: []rival{ours("non-temporal fill", fill)}})
}

// qlora compares a LoRA step on a base in NF4 with one on F32 weights, and with the
// same of bitsandbytes and PEFT.
func (r *runner) qlora() error {
	threads := most()
	defer r.stop("qlora")
	return confined(threads, func() (err error) {
		plain, err := r.newStepper(threads, tensor.ComputeF32, tenon.Options{F32: true})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, plain.close()) }()
		for _, double := range []bool{false, true} {
			o := tenon.Options{Quantize: tensor.QuantOptions{DType: tensor.NF4, Block: 64, Double: double}}
			s, err := r.newStepper(threads, tensor.ComputeF32, o)
			if err != nil {
				return err
			}
			name := fmt.Sprintf("tokens=%d/rank=%d", stepTokens, stepRank)
			against := []rival{ours("tenon, F32 weights", plain.run)}
			if double {
				name += "/double"
			} else {
				against = append(against, r.against(fmt.Sprintf("qlora --serve --threads %d", threads), threads, map[string]any{})...)
			}
			err = r.compare(task{group: "qlora", name: name, threads: threads, amount: stepTokens, unit: "tokens/s", flop: s.flop, run: s.run, against: against})
			if err = errors.Join(err, s.close()); err != nil {
				return err
			}
			r.stop("qlora")
		}
		return nil
	})
}
