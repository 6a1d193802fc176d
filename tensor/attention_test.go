package tensor

import (
	"math"
	"math/rand/v2"
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
		if n := newAttnTask(s, false).bytes(); n > most {
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

// TestAttentionTypes: a cache of a stored type gives what one of its decoded
// values does, bit by bit, for any number of threads.
func TestAttentionTypes(t *testing.T) {
	cpu, two := NewCPU(1), NewCPU(2)
	defer cpu.Close()
	defer two.Close()
	for _, s := range []AttentionShape{
		{B: 1, Tq: 1, Tk: 300, Room: 320, H: 6, KV: 2, D: 64, Scale: 0.125},
		{B: 2, Tq: 3, Tk: 70, Room: 71, H: 2, KV: 2, D: 32, Scale: 0.2, Window: 9},
		{B: 1, Tq: 40, Tk: 190, Room: 190, H: 4, KV: 1, D: 32, Scale: 0.2},
	} {
		arena := NewArena(cpu)
		r := NewRandom(1, "attention")
		x := func(shape ...int) *Tensor {
			x := arena.New(F32, shape...)
			r.Normal(x.F32(), 0, 1)
			return x
		}
		q, k, v := x(s.B, s.Tq, s.H, s.D), x(s.B, s.KV, s.Room, s.D), x(s.B, s.KV, s.Room, s.D)
		run := func(c *CPU, k, v *Tensor) []float32 {
			z, lse := x(q.Shape()...), x(s.B, s.H, s.Tq)
			c.attention(z, lse, q, k, v, s)
			return append(z.F32s(), lse.F32s()...)
		}
		exact := run(cpu, k, v)
		if !slices.Equal(exact, run(two, k, v)) {
			t.Errorf("%+v: two threads give other bits", s)
		}
		for _, dt := range []DType{F16, Q8_0} {
			store := func(x *Tensor) (stored, decoded *Tensor) {
				stored, decoded = arena.New(dt, x.Shape()...), arena.New(F32, x.Shape()...)
				stored.CopyFrom(x)
				stored.CopyTo(decoded.F32())
				return stored, decoded
			}
			ks, kd := store(k)
			vs, vd := store(v)
			want := run(cpu, kd, vd)
			if slices.Equal(want, exact) {
				t.Errorf("%+v: %v rounds nothing", s, dt)
			}
			if !slices.Equal(run(cpu, ks, vs), want) || !slices.Equal(run(two, ks, vs), want) {
				t.Errorf("%+v: %v does not give what its values do", s, dt)
			}
		}
		arena.Close()
	}
}

// TestEncodeQ8_0 compares with ggml's definition, in float64.
func TestEncodeQ8_0(t *testing.T) {
	x := make([]float32, 96)
	NewRandom(1, "q8_0").Normal(x, 0, 3)
	clear(x[32:64]) // a scale of 0
	x[64], x[65], x[66] = 127, 0.5, -2.5
	for i := 67; i < 96; i++ {
		x[i] = 0
	}
	raw, got := make([]byte, Q8_0.Bytes(96)), make([]float32, 96)
	encodeQ8_0(raw, x)
	Q8_0.Decode(got, raw)
	if got[64] != 127 || got[65] != 1 || got[66] != -3 || got[40] != 0 {
		t.Errorf("%v, want 127, 1, -3 (halves go away from zero) and 0", []float32{got[64], got[65], got[66], got[40]})
	}
	var top float64
	for _, v := range x[:32] {
		top = max(top, math.Abs(float64(v)))
	}
	for i, v := range x[:32] {
		// Half a step, and what the rounding of the scale to F16 adds.
		if d := math.Abs(float64(got[i] - v)); d > top/127/2+top/2048 {
			t.Errorf("element %d: %g became %g", i, v, got[i])
		}
	}
}

// Attention in BF16 is near the exact one and not the same, whatever the number of
// threads.
func TestAttentionBF16(t *testing.T) {
	s := AttentionShape{B: 2, Tq: 75, Tk: 75, H: 6, KV: 2, D: 24, Scale: 0.2}
	compute := func(compute Compute, threads int) (out [][]float32) {
		cpu := NewCPU(threads)
		defer cpu.Close()
		cpu.SetCompute(compute)
		arena := NewArena(cpu)
		defer arena.Close()
		x := func(h int) *Tensor { return arena.New(F32, s.B, s.Tq, h, s.D) }
		q, k, v, dz := x(s.H), x(s.KV), x(s.KV), x(s.H)
		for i, y := range []*Tensor{q, k, v, dz} {
			r := rand.New(rand.NewPCG(uint64(i), 9))
			for j := range y.F32() {
				y.F32()[j] = float32(r.NormFloat64())
			}
		}
		z, dq, dk, dv := x(s.H), x(s.H), x(s.KV), x(s.KV)
		lse := arena.New(F32, s.B, s.H, s.Tq)
		cpu.attention(z, lse, q, k, v, s)
		cpu.attentionGrad(dq, dk, dv, dz, z, lse, q, k, v, s)
		for _, y := range []*Tensor{z, dq, dk, dv} {
			out = append(out, y.F32s())
		}
		return out
	}
	exact, rounded, alone := compute(ComputeF32, 1), compute(ComputeBF16, 3), compute(ComputeBF16, 1)
	for i, name := range []string{"z", "dq", "dk", "dv"} {
		if !slices.Equal(rounded[i], alone[i]) {
			t.Errorf("%s depends on the number of threads", name)
		}
		var off, size float64
		for j, v := range exact[i] {
			off, size = off+math.Pow(float64(v-rounded[i][j]), 2), size+math.Pow(float64(v), 2)
		}
		if off = math.Sqrt(off / size); !(off > 0x1p-12 && off < 0x1p-7) {
			t.Errorf("%s is off by %.2g of its size, want about 2^-9", name, off)
		}
	}
}
