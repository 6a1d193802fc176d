package tensor

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/asm"
)

// BenchmarkGemm names a case as op/type of b/shape/threads: matmul is a·b,
// matmulT is a·bᵀ with b stored [n, k], matmulTA is aᵀ·b with a stored [k, m].
// The tier that runs is a part of the name, since machines differ.
func BenchmarkGemm(b *testing.B) {
	type shape struct{ m, n, k int }
	train := []shape{{512, 1536, 576}, {512, 576, 1536}, {512, 576, 576}, {512, 192, 576}, {512, 49152, 576}}
	skinny := []shape{{1, 4096, 4096}, {4, 4096, 4096}, {8, 4096, 4096}, {16, 4096, 4096}, {1, 576, 576}}
	rank := []shape{{512, 16, 576}, {512, 576, 16}, {512, 8, 576}, {512, 576, 8}}
	squares := []shape{{64, 64, 64}, {256, 256, 256}, {512, 512, 512}, {1024, 1024, 1024}, {2048, 2048, 2048}}
	for _, group := range []struct {
		op     string
		types  []DType
		shapes []shape
	}{
		{"matmul", []DType{F32}, squares},
		{"matmul", []DType{F32}, []shape{{512, 576, 1536}, {512, 576, 49152}}},
		{"matmulT", []DType{F32}, append(train, rank...)},
		{"matmulT", []DType{BF16, Q8_0, Q4_0}, train[:1]},
		{"matmulTA", []DType{F32}, []shape{{1536, 576, 512}, {16, 576, 512}, {576, 16, 512}}},
		{"matmulT", []DType{F32, BF16, Q4_0}, skinny},
	} {
		for _, dt := range group.types {
			for _, s := range group.shapes {
				for _, threads := range []int{1, 2} {
					name := fmt.Sprintf("%s/%s/m=%d/n=%d/k=%d/threads=%d/%s", group.op, strings.ToLower(dt.String()), s.m, s.n, s.k, threads, asm.Tier())
					b.Run(name, func(b *testing.B) {
						r := rand.New(rand.NewPCG(1, 1))
						x, _ := operand(r, F32, s.m, s.k, group.op == "matmulTA")
						y, _ := operand(r, dt, s.k, s.n, group.op == "matmulT")
						c := make([]float32, s.m*s.n)
						w := NewWorkers(threads)
						defer w.Close()
						for b.Loop() {
							gemm(w, c, s.n, x, y, s.m, s.n, s.k, 1, false)
						}
						b.ReportMetric(2*float64(s.m)*float64(s.n)*float64(s.k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
					})
				}
			}
		}
	}
}
