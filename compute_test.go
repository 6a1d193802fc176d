package tenon_test

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/asm"
	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// tokenByToken returns the logits of tokens that are fed one at a time.
func tokenByToken(t *testing.T, path string, o tenon.Options) []float32 {
	t.Helper()
	m, err := tenon.Load(path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ids := manyIDs(m)[:12]
	cache, err := m.LM.NewCache(m.Device, tensor.F32, len(ids))
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	var out []float32
	for i := range ids {
		arena := tensor.NewArena(m.Device)
		s := &nn.Step{Tape: autograd.NoGrad(arena), B: 1, T: 1, Cache: cache}
		out = append(out, nn.Logits(m.LM, s, ids[i:i+1]).T.F32s()...)
		arena.Close()
	}
	return out
}

// TestComputeInt16 decodes with quantised weights in 14-bit integers: near the exact
// logits, and not the same where the CPU has a kernel for it.
func TestComputeInt16(t *testing.T) {
	nf4 := tensor.QuantOptions{DType: tensor.NF4, Block: 64}
	for name, c := range map[string]struct {
		path string
		o    tenon.Options
	}{
		"Q4_0": {"llama/gguf/chat.Q4_0.gguf", tenon.Options{}},
		"Q8_0": {"llama/gguf/chat.Q8_0.gguf", tenon.Options{}},
		"NF4":  {"llama/gguf/chat.F32.gguf", tenon.Options{Quantize: nf4}},
	} {
		path := filepath.Join("testdata", c.path)
		c.o.Threads = 2
		exact := tokenByToken(t, path, c.o)
		c.o.Compute = tensor.ComputeInt16
		got := tokenByToken(t, path, c.o)
		var off, most float64
		for i, v := range exact {
			off = max(off, math.Abs(float64(got[i]-v)))
			most = max(most, math.Abs(float64(v)))
		}
		t.Logf("%s: off by %.3g, the largest logit is %.3g", name, off, most)
		if !(off <= 1e-3*most) {
			t.Errorf("%s: too far from the exact logits", name)
		}
		if asm.HasInt16() == (off == 0) {
			t.Errorf("%s: off by %g", name, off)
		}
		c.o.Threads = 1
		if !slices.Equal(tokenByToken(t, path, c.o), got) {
			t.Errorf("%s: depends on the number of threads", name)
		}
	}
}
