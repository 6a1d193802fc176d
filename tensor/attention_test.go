package tensor

import (
	"runtime"
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
		task := newAttnTask(s, true)
		if n := task.bytes(); n > most {
			t.Errorf("%+v: %d bytes of scratch a worker, want at most %d", s, n, most)
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
