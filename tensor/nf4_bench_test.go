package tensor

import (
	"fmt"
	"testing"

	"github.com/tenon-ml/tenon/asm"
)

// The rate is that of the F32 that is written, or read to be encoded.
func BenchmarkQuant(b *testing.B) {
	const n = 4096
	x := normal(1, n*n)
	for _, threads := range []int{1, 2} {
		dev := NewCPU(threads)
		bench := func(name string, f func()) {
			b.Run(fmt.Sprintf("%s/%d threads/%s", name, threads, asm.Tier()), func(b *testing.B) {
				b.SetBytes(4 * n * n)
				for b.Loop() {
					f()
				}
			})
		}
		for _, o := range []QuantOptions{{DType: NF4, Block: 64}, {DType: NF4, Block: 64, Double: true}} {
			q, err := Quantize(dev, x, Shape{n, n}, o)
			if err != nil {
				b.Fatal(err)
			}
			f := New(dev, F32, n, n)
			bench(fmt.Sprintf("decode/double=%v", o.Double), func() { f.CopyFrom(q) })
			f.Release()
			q.Release()
		}
		bench("encode", func() {
			q, err := Quantize(dev, x, Shape{n, n}, QuantOptions{DType: NF4, Block: 64})
			if err != nil {
				b.Fatal(err)
			}
			q.Release()
		})
		dev.Close()
	}
}
