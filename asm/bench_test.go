package asm

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkGemm measures tiles of attention's size.
func BenchmarkGemm(b *testing.B) {
	for _, s := range [][3]int{{64, 64, 64}, {192, 64, 64}, {128, 128, 64}, {64, 128, 128}} {
		m, n, k := s[0], s[1], s[2]
		for _, op := range []string{"matmul", "matmulT", "matmulTA"} {
			b.Run(fmt.Sprintf("%s/m=%d/n=%d/k=%d/%s", op, m, n, k, Tier()), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 1))
				x, y, c, scratch := make([]float32, m*k), make([]float32, k*n), make([]float32, m*n), make([]float32, GemmScratch())
				normal(r, x)
				normal(r, y)
				ars, acs, brs, bcs := k, 1, n, 1
				if op == "matmulT" {
					brs, bcs = 1, k
				}
				if op == "matmulTA" {
					ars, acs = 1, m
				}
				for b.Loop() {
					Gemm(c, n, x, ars, acs, y, brs, bcs, m, n, k, 1, false, scratch)
				}
				b.ReportMetric(2*float64(m*n*k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

// BenchmarkRows measures elementwise kernels on rows that lie in the cache.
func BenchmarkRows(b *testing.B) {
	const n = 1536
	for _, k := range rowKernels {
		b.Run(k.name+"/"+Tier(), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			in, out := make([][]float32, k.ins), make([][]float32, k.outs)
			for i := range in {
				in[i] = make([]float32, n)
				normal(r, in[i])
			}
			for i := range out {
				out[i] = make([]float32, n)
			}
			for b.Loop() {
				k.run(out, in)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
		})
	}
	raw := make([]byte, 4*n)
	dst := make([]float32, n)
	for _, d := range []struct {
		name   string
		decode func([]float32, []byte)
	}{{"DecodeBF16", DecodeBF16}, {"DecodeF16", DecodeF16}, {"DecodeQ8_0", DecodeQ8_0}, {"DecodeQ4_0", DecodeQ4_0}, {"DecodeQ4_1", DecodeQ4_1}, {"DecodeQ4_K", DecodeQ4_K}, {"DecodeQ6_K", DecodeQ6_K}} {
		b.Run(d.name+"/"+Tier(), func(b *testing.B) {
			for b.Loop() {
				d.decode(dst, raw)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
		})
	}
}

// BenchmarkReadStreams is the machine's other limit.
func BenchmarkReadStreams(b *testing.B) {
	x := make([]float32, 64<<20)
	for i := range x {
		x[i] = 1
	}
	b.SetBytes(int64(4 * len(x)))
	for b.Loop() {
		ReadStreams(x)
	}
}
