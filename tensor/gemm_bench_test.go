package tensor

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/tenon-ml/tenon/asm"
)

// BenchmarkGemm names a case as op/type of b/shape/threads: matmul is a·b,
// matmulT is a·bᵀ with b stored [n, k], matmulTA is aᵀ·b with a stored [k, m].
func BenchmarkGemm(b *testing.B) {
	fmt.Println("tier:", asm.Tier()) // benchstat's way to tell what differs between runs
	type shape struct{ m, n, k int }
	squares := []shape{{64, 64, 64}, {128, 128, 128}, {256, 256, 256}, {512, 512, 512}, {1024, 1024, 1024}, {2048, 2048, 2048}, {4096, 4096, 4096}}
	train := []shape{{512, 1536, 576}, {512, 576, 1536}, {512, 576, 576}, {512, 192, 576}, {128, 1536, 576}, {512, 49152, 576}}
	rows := []shape{{1, 4096, 4096}, {2, 4096, 4096}, {4, 4096, 4096}, {8, 4096, 4096}, {16, 4096, 4096}, {64, 4096, 4096}, {128, 4096, 4096}, {512, 4096, 4096},
		{1, 11008, 4096}, {16, 11008, 4096}, {128, 11008, 4096}, {512, 11008, 4096}, {1, 576, 576}}
	var down, up, left, right []shape // thin: x·Aᵀ, u·A and h·Bᵀ, uᵀ·x, dzᵀ·h
	for _, r := range []int{8, 16, 32, 64} {
		down = append(down, shape{512, r, 576}, shape{512, r, 1536})
		up = append(up, shape{512, 576, r}, shape{512, 1536, r})
		left = append(left, shape{r, 576, 512}, shape{r, 1536, 512})
		right = append(right, shape{576, r, 512}, shape{1536, r, 512})
	}
	for _, group := range []struct {
		op     string
		types  []DType
		shapes []shape
	}{
		{"matmul", []DType{F32}, squares},
		{"matmul", []DType{F32}, []shape{{512, 576, 1536}, {512, 576, 49152}}},
		{"matmul", []DType{F32}, up},
		{"matmulT", []DType{F32}, train},
		{"matmulT", []DType{F32}, append(down, up...)},
		{"matmulT", []DType{F32, BF16, Q4_0}, rows},
		{"matmulT", []DType{BF16, Q8_0, Q4_0}, train[:1]},
		{"matmulTA", []DType{F32}, []shape{{1536, 576, 512}}},
		{"matmulTA", []DType{F32}, append(left, right...)},
	} {
		for _, dt := range group.types {
			for _, s := range group.shapes {
				for _, threads := range []int{1, 2} {
					b.Run(fmt.Sprintf("%s/%s/m=%d/n=%d/k=%d/threads=%d", group.op, strings.ToLower(dt.String()), s.m, s.n, s.k, threads), func(b *testing.B) {
						r := rand.New(rand.NewPCG(1, 1))
						x, _ := operand(r, F32, s.m, s.k, group.op == "matmulTA")
						y, _ := operand(r, dt, s.k, s.n, group.op == "matmulT")
						c := make([]float32, s.m*s.n)
						w := NewWorkers(threads)
						defer w.Close()
						for b.Loop() {
							gemm(w, c, s.n, x, y, s.m, s.n, s.k, 1, false)
						}
						report(b, s.m, s.n, s.k)
					})
				}
			}
		}
	}
}

// BenchmarkGemmBF16 is matmulT with ComputeBF16; the type is that of b.
func BenchmarkGemmBF16(b *testing.B) {
	for _, dt := range []DType{F32, BF16, Q4_0} {
		for _, s := range [][3]int{{512, 4096, 4096}, {128, 4096, 4096}, {512, 1536, 576}, {512, 576, 1536}} {
			for _, threads := range []int{1, 2} {
				m, n, k := s[0], s[1], s[2]
				b.Run(fmt.Sprintf("matmulT/%s/m=%d/n=%d/k=%d/threads=%d", strings.ToLower(dt.String()), m, n, k, threads), func(b *testing.B) {
					r := rand.New(rand.NewPCG(1, 1))
					x, _ := operand(r, F32, m, k, false)
					y, _ := operand(r, dt, k, n, true)
					c := make([]float32, m*n)
					w := NewWorkers(threads)
					w.compute = ComputeBF16
					defer w.Close()
					for b.Loop() {
						gemm(w, c, n, x, y, m, n, k, 1, false)
					}
					report(b, m, n, k)
				})
			}
		}
	}
}

// BenchmarkGemm4Bit is matmulT and matmul by weights in NF4, with plain scales and with
// quantised ones, beside F32, BF16 and Q8_0.
func BenchmarkGemm4Bit(b *testing.B) {
	const n, k = 4096, 4096
	cpu := NewCPU(2)
	defer cpu.Close()
	x := make([]float32, n*k)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	weights := map[string]matrix{}
	for _, dt := range []DType{F32, BF16, Q8_0} {
		y, _ := stored(r, dt, n, k)
		if dt == F32 {
			bytes := mapped(b, bytesOf(y.f32))
			y.f32 = unsafe.Slice((*float32)(unsafe.Pointer(&bytes[0])), n*k)
		} else {
			y.raw = mapped(b, y.raw)
		}
		weights[dt.String()] = y
	}
	for _, double := range []bool{false, true} {
		q, err := Quantize(cpu, x, Shape{n, k}, QuantOptions{DType: NF4, Block: 64, Double: double})
		if err != nil {
			b.Fatal(err)
		}
		defer q.Release()
		weights[map[bool]string{false: "NF4", true: "NF4-double"}[double]] = q.matrix(0, n, k, false)
	}
	for _, name := range []string{"NF4", "NF4-double", "F32", "BF16", "Q8_0"} {
		for _, m := range []int{16, 32, 64, 128, 512} {
			for _, op := range []string{"matmulT", "matmul"} {
				for _, threads := range []int{1, 2} {
					b.Run(fmt.Sprintf("%s/%s/m=%d/threads=%d", op, strings.ToLower(name), m, threads), func(b *testing.B) {
						w := NewWorkers(threads)
						defer w.Close()
						y, c := weights[name], make([]float32, m*n)
						if op == "matmulT" {
							y = y.transposed()
						}
						a := matrix{f32: x[:m*k], dt: F32, rs: k, cs: 1}
						for b.Loop() {
							gemm(w, c, n, a, y, m, n, k, 1, false)
						}
						report(b, m, n, k)
					})
				}
			}
		}
	}
}

// report adds the rate of a product.
func report(b *testing.B, m, n, k int) {
	b.ReportMetric(2*float64(m)*float64(n)*float64(k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}
