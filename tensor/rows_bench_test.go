package tensor

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/tenon-ml/tenon/asm"
)

// BenchmarkRows multiplies one to eight rows by the weights of a layer, which lie in
// memory and not in a cache. GB/s counts the weights' bytes; "limit" is their share
// of what reading alone reaches in the same run.
func BenchmarkRows(b *testing.B) {
	const n, k = 4096, 4096
	bandwidth := map[int]float64{1: readBandwidth(1), 2: readBandwidth(2)}
	for _, dt := range []DType{F32, BF16, F16, Q8_0, Q4_0, Q4_1, IQ4_NL, Q4_K, Q6_K, NF4} {
		var weights []matrix
		for _, v := range []struct{ m, threads int }{{1, 1}, {1, 2}, {2, 2}, {4, 2}, {8, 2}, {-1, 1}, {-1, 2}} {
			m, threads, name, integers := v.m, v.threads, strings.ToLower(dt.String()), v.m < 0
			if integers {
				if rowDotsInt16[dt] == nil && dt != NF4 {
					continue
				}
				m, name = 1, name+"-int16"
			}
			name = fmt.Sprintf("%s/n=%d/k=%d/m=%d/threads=%d/%s", name, n, k, m, threads, asm.Tier())
			group := b
			b.Run(name, func(b *testing.B) {
				if weights == nil {
					weights = rotated(group, dt, n, k)
				}
				w := NewWorkers(threads)
				if integers {
					w.compute = ComputeInt16
				}
				defer w.Close()
				x, _ := stored(rand.New(rand.NewPCG(1, 1)), F32, m, k)
				c := make([]float32, m*n)
				bytes := float64(dt.Bytes(n * k))
				if q := weights[0].quant; q != nil {
					bytes += float64(4 * n * k / q.Block)
				}
				i := 0
				for b.Loop() {
					gemm(w, c, n, x, weights[i%len(weights)], m, n, k, 1, false)
					i++
				}
				gbs := bytes * float64(b.N) / b.Elapsed().Seconds() / 1e9
				b.ReportMetric(gbs, "GB/s")
				b.ReportMetric(gbs/bandwidth[threads], "limit")
			})
		}
	}
}

// rotated returns matrices of one type, transposed, that no cache holds together.
func rotated(b *testing.B, dt DType, n, k int) []matrix {
	const enough = 192 << 20
	r := rand.New(rand.NewPCG(2, 2))
	var all []matrix
	for have := 0; have < enough; have += dt.Bytes(n * k) {
		if len(all) == 0 && dt.Quantized() {
			x := make([]float32, n*k)
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
			cpu := NewCPU(1)
			t, err := Quantize(cpu, x, Shape{n, k}, QuantOptions{DType: dt, Block: 64})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { cpu.Close() })
			b.Cleanup(t.Release)
			all = append(all, t.matrix(0, k, n, true))
			continue
		}
		if len(all) == 0 {
			m, _ := stored(r, dt, n, k)
			m.rs, m.cs = 1, k
			all = append(all, m)
			continue
		}
		m := all[0]
		if m.raw != nil {
			m.raw = mapped(b, m.raw)
		} else {
			bytes := mapped(b, unsafe.Slice((*byte)(unsafe.Pointer(&m.f32[0])), 4*len(m.f32)))
			m.f32 = unsafe.Slice((*float32)(unsafe.Pointer(&bytes[0])), len(m.f32))
		}
		if m.quant != nil {
			q := *m.quant
			q.absmax = append([]float32(nil), q.absmax...)
			m.quant = &q
		}
		all = append(all, m)
	}
	return all
}

// mapped returns a copy of x in memory like that of tensors.
func mapped(b *testing.B, x []byte) []byte {
	m, err := mapMemory(len(x))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unmapMemory(m) })
	copy(m, x)
	return m
}

// readBandwidth returns the GB/s of reading alone, the best of a few.
func readBandwidth(threads int) float64 {
	const n = 48 << 20
	bytes, err := mapMemory(4 * n)
	if err != nil {
		panic(err)
	}
	defer unmapMemory(bytes)
	x := unsafe.Slice((*float32)(unsafe.Pointer(&bytes[0])), n)
	for i := range x {
		x[i] = 1
	}
	w := NewWorkers(threads)
	defer w.Close()
	best := time.Hour
	for range 5 {
		start := time.Now()
		w.Run(threads, func(task, _ int) { asm.ReadStreams(x[task*n/threads:][:n/threads]) })
		best = min(best, time.Since(start))
	}
	return 4 * n / best.Seconds() / 1e9
}
