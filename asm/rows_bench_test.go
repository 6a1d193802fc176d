package asm

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkRowDots multiplies rows that lie in the L2 cache: what decoding costs where
// memory costs nothing.
func BenchmarkRowDots(b *testing.B) {
	const rows, k, ldx = 32, 4096, 4096 + 512
	r := rand.New(rand.NewPCG(1, 1))
	for _, m := range []int{1, 2, 4, 8} {
		x, dst := make([]float32, m*ldx), make([]float32, m*rows)
		normal(r, x)
		report := func(b *testing.B, bytes int) {
			b.ReportMetric(float64(bytes)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
			b.ReportMetric(2*rows*k*float64(m*b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		}
		for _, f := range storedFormats {
			b.Run(fmt.Sprintf("%s/m=%d/%s", f.name, m, Tier()), func(b *testing.B) {
				w := make([]byte, rows*k/f.block*f.bytes)
				randomBlocks(r, w, f.name, f.bytes, f.scales)
				for b.Loop() {
					f.run(dst, rows, w, k, rows, x, ldx, m, k)
				}
				report(b, len(w))
			})
		}
		b.Run(fmt.Sprintf("F32/m=%d/%s", m, Tier()), func(b *testing.B) {
			w := make([]float32, rows*k)
			normal(r, w)
			for b.Loop() {
				RowDotsMulti(dst, rows, w, k, rows, x, ldx, m, k)
			}
			report(b, 4*len(w))
		})
		if !HasRowDotsNF4(m, k, 64) {
			continue
		}
		b.Run(fmt.Sprintf("NF4/m=%d/%s", m, Tier()), func(b *testing.B) {
			codes, absmax, book := make([]byte, rows*k/2), make([]float32, rows*k/64), NewCodebook([16]float32{1, 2, 3})
			normal(r, absmax)
			for b.Loop() {
				RowDotsNF4(dst, rows, codes, absmax, 64, book, 0, rows, x, ldx, m, k)
			}
			report(b, len(codes)+4*len(absmax))
		})
	}
}
