package tensor

import (
	"runtime"
	"slices"
	"testing"
)

// TestAttentionScratch: no matrix of T×T, and a worker's tiles are small.
func TestAttentionScratch(t *testing.T) {
	const most = 4 << 20
	for _, s := range []AttentionShape{
		{B: 1, Tq: 8192, Tk: 8192, H: 9, KV: 3, D: 64}, // SmolLM2-135M
		{B: 1, Tq: 8192, Tk: 8192, H: 32, KV: 8, D: 128},
		{B: 1, Tq: 8192, Tk: 8192, H: 32, KV: 1, D: 256},
		{B: 1, Tq: 1, Tk: 8192, H: 9, KV: 3, D: 64},
	} {
		if n := newAttnTask(s).bytes(); n > most {
			t.Errorf("%+v: %d bytes of scratch a worker, want at most %d", s, n, most)
		}
		if n := newGradTask(&s).bytes(); n > most {
			t.Errorf("%+v: %d bytes of scratch a worker for the gradient, want at most %d", s, n, most)
		}
		// Not handed back: the next one would be measured with this one's memory.
	}

	cpu := NewCPU(2)
	defer cpu.Close()
	s := AttentionShape{B: 1, Tq: 8192, Tk: 8192, H: 1, KV: 1, D: 4, Scale: 0.5}
	arena := NewArena(cpu)
	defer arena.Close()
	x := func() *Tensor { return arena.New(F32, s.B, s.Tq, s.H, s.D).Fill(0.25) }
	q, k, v, z, dq, dk, dv := x(), x(), x(), x(), x(), x(), x()
	lse := arena.New(F32, s.B, s.H, s.Tq)
	_, _, before := cpu.MemoryStats()
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	cpu.attention(z, lse, q, k, v, s)
	cpu.attentionGrad(dq, dk, dv, z, z, lse, q, k, v, s)
	runtime.ReadMemStats(&m1)
	if _, _, after := cpu.MemoryStats(); after != before {
		t.Errorf("the kernels took %d bytes of device memory", after-before)
	}
	// Two workers, forward and backward, and what a collection in between drops.
	if n := m1.TotalAlloc - m0.TotalAlloc; n > 8*most {
		t.Errorf("%d bytes of scratch allocated at T = %d, want at most %d", n, s.Tq, 8*most)
	}
}

// TestAttentionGradThreads: with one key head every block of queries adds to the
// same gradients, in one order.
func TestAttentionGradThreads(t *testing.T) {
	s := AttentionShape{B: 1, Tq: 300, Tk: 300, H: 2, KV: 1, D: 24, Scale: 0.2, Window: 170}
	var want [3][]float32
	for _, threads := range []int{1, 2, 5} {
		cpu := NewCPU(threads)
		arena := NewArena(cpu)
		r := NewRandom(1, "attention")
		x := func(heads int) *Tensor {
			t := arena.New(F32, s.B, s.Tq, heads, s.D)
			r.Normal(t.F32(), 0, 1)
			return t
		}
		q, k, v, dz, z := x(s.H), x(s.KV), x(s.KV), x(s.H), x(s.H)
		dq, dk, dv, lse := x(s.H), x(s.KV), x(s.KV), arena.New(F32, s.B, s.H, s.Tq)
		cpu.attention(z, lse, q, k, v, s)
		for range 3 {
			cpu.attentionGrad(dq, dk, dv, dz, z, lse, q, k, v, s)
			for i, g := range []*Tensor{dq, dk, dv} {
				if want[i] == nil {
					want[i] = g.F32s()
				} else if !slices.Equal(g.F32s(), want[i]) {
					t.Errorf("gradient %d differs with %d threads", i, threads)
				}
			}
		}
		arena.Close()
		cpu.Close()
	}
}
