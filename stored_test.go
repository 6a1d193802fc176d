package tenon_test

import (
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// manyIDs are token ids of more rows than the kernels for few rows take, which may sum
// in another order.
func manyIDs(m *tenon.Model) []int32 {
	ids := make([]int32, 40)
	for i := range ids {
		ids[i] = int32(7*i+3) % int32(m.LM.Vocab())
	}
	return ids
}

// outcome is what a model computes, in bits that can be compared.
type outcome struct {
	logits []float32
	loss   float64
	grads  map[string][]float32
}

func computed(m *tenon.Model, a *lora.Adapter, recompute bool) outcome {
	ids := manyIDs(m)
	arena := tensor.NewArena(m.Device)
	defer arena.Close()
	var use *nn.Adapter
	if a != nil {
		use = a.Use()
	}
	o := outcome{grads: map[string][]float32{}}
	o.logits = nn.Logits(m.LM, &nn.Step{Tape: autograd.NoGrad(arena), B: 1, T: len(ids), Adapter: use}, ids).T.F32s()
	if a == nil {
		return o
	}
	tape := autograd.NewTape(arena)
	defer tape.Close()
	g := autograd.Grads{}
	defer g.Release()
	loss := nn.Loss(m.LM, &nn.Step{Tape: tape, B: 1, T: len(ids), Adapter: use, Train: true, Recompute: recompute}, ids, ids, float64(len(ids)-1))
	o.loss = loss.T.Item()
	autograd.Backward(loss, g)
	for name, p := range a.Params() {
		if g[p] != nil { // of parameters that nothing depends on there is none
			o.grads[name] = g[p].F32s()
		}
	}
	return o
}

func (o outcome) equal(p outcome) bool {
	return slices.Equal(o.logits, p.logits) && o.loss == p.loss && maps.EqualFunc(o.grads, p.grads, slices.Equal[[]float32])
}

func contents(m *tenon.Model) map[string][]float32 {
	out := map[string][]float32{}
	for name, p := range nn.Params(m.LM) {
		out[name] = p.T.F32s()
	}
	return out
}

// TestStored holds models as their files store them, and decoded. They have one digest
// and compute the same bits: logits, losses and gradients of every kind of adapter,
// merged weights. What is merged and unmerged again is stored as before.
func TestStored(t *testing.T) {
	paths := []string{
		"testdata/families/qwen2-bf16", "testdata/families/mistral-f16",
		"testdata/families/gguf/mistral-wide.Q5_K.gguf", "testdata/bnb/nf4-double", "testdata/bnb/fp4",
	}
	more, err := filepath.Glob("testdata/llama/gguf/*.gguf")
	if err != nil || len(more) == 0 {
		t.Fatal("no files", err)
	}
	linear := lora.Names{AllLinear: true}
	configs := []lora.Config{
		{Rank: 2, Alpha: 8, Targets: linear, Dropout: 0.1},
		{Rank: 2, Alpha: 8, Targets: lora.Names{List: []string{"embed_tokens", "lm_head", "down_proj"}}, Tokens: map[string][]int32{"embed_tokens": {3, 10}}},
		{Rank: 2, Alpha: 8, Targets: linear, Save: []string{"lm_head", "norm"}, Bias: "all"},
		{Rank: 2, Alpha: 8, Targets: linear, Replicate: [][2]int{{0, 2}, {1, 2}}},
	}
	for _, path := range append(paths, more...) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			for i, c := range configs {
				stored, err := tenon.Load(path, tenon.Options{Threads: 2})
				if err != nil {
					t.Fatal(err)
				}
				defer stored.Close()
				decoded, err := tenon.Load(path, tenon.Options{Threads: 2, F32: true})
				if err != nil {
					t.Fatal(err)
				}
				defer decoded.Close()
				held := map[tensor.DType]int{}
				for _, p := range nn.Params(stored.LM) {
					if len(p.Shape()) == 1 && p.T.DType() != tensor.F32 {
						t.Errorf("a vector is held as %v", p.T.DType())
					}
					held[p.T.DType()]++
				}
				if len(held) < 2 && !strings.Contains(path, "F32") {
					t.Fatalf("no matrix is held as it is stored: %v", held)
				}
				for _, p := range nn.Params(decoded.LM) {
					if p.T.DType() != tensor.F32 {
						t.Fatalf("asked for F32, holds %v", p.T.DType())
					}
				}
				sameDigest(t, stored, decoded)
				if !computed(stored, nil, false).equal(computed(decoded, nil, false)) {
					t.Error("other logits")
				}

				c.Init = "random"
				if len(stored.LM.Block) < 2 {
					c.Replicate = nil
				}
				s, err := lora.New(stored.LM, "x", c, 7, stored.Device)
				if err != nil {
					t.Fatal(i, err)
				}
				d, err := lora.New(decoded.LM, "x", c, 7, decoded.Device)
				if err != nil {
					t.Fatal(i, err)
				}
				want := computed(decoded, d, false)
				for _, recompute := range []bool{false, true} {
					if !computed(stored, s, recompute).equal(want) {
						t.Errorf("adapter %d, recompute %v: other logits, losses or gradients", i, recompute)
					}
				}
				digest := sameDigest(t, stored, decoded)
				if err := s.Merge(); err != nil {
					t.Fatal(i, err)
				}
				if err := d.Merge(); err != nil {
					t.Fatal(i, err)
				}
				if !maps.EqualFunc(contents(stored), contents(decoded), slices.Equal[[]float32]) {
					t.Errorf("adapter %d: other merged weights", i)
				}
				if i < 2 && stored.Savable() == nil {
					checkMerge(t, stored, s, path)
				}
				s.Unmerge()
				if sameDigest(t, stored, stored) != digest {
					t.Errorf("adapter %d: unmerged is not as before", i)
				}
			}
		})
	}
}

// quiet is for warnings that are not what a test is about.
func quiet(string, ...any) {}

// checkMerge asks that merging tensor by tensor, from the files, writes what the merged
// model in memory is written as.
func checkMerge(t *testing.T, m *tenon.Model, a *lora.Adapter, path string) {
	t.Helper()
	saved := t.TempDir()
	if err := a.Save(saved); err != nil {
		t.Fatal(err)
	}
	for _, dtype := range []string{"f32", "bf16"} {
		got, want := t.TempDir(), t.TempDir()
		if err := m.SaveCheckpoint(want, dtype, quiet); err != nil {
			t.Fatal(err)
		}
		if err := tenon.Merge(t.Context(), path, saved, got, tenon.MergeOptions{DType: dtype}, quiet); err != nil {
			t.Fatal(err)
		}
		sameFolders(t, got, want)
	}
}

func sameDigest(t *testing.T, a, b *tenon.Model) string {
	t.Helper()
	x, err := a.Digest()
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if x != y {
		t.Error("two digests of one model")
	}
	return x
}

// A packed model computes what it did, to rounding, with an adapter too.
func TestPack(t *testing.T) {
	m, err := tenon.Load(filepath.Join("testdata", "llama", "head-dim"), tenon.Options{F32: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	a, err := lora.New(m.LM, "a", lora.Config{Rank: 4, Alpha: 8, Targets: lora.ParseNames("all-linear")}, 1, m.Device)
	if err != nil {
		t.Fatal(err)
	}
	want := computed(m, nil, false).logits
	m.Pack()
	packed := 0
	for _, p := range nn.Params(m.LM) {
		if p.T.DType() == tensor.Panels {
			packed++
		}
	}
	if packed == 0 {
		t.Fatal("no matrix is packed")
	}
	got := computed(m, nil, false).logits
	for i := range want {
		if d := math.Abs(float64(got[i] - want[i])); d > 1e-5 {
			t.Fatalf("logit %d is %g, was %g", i, got[i], want[i])
		}
	}
	ids, use := manyIDs(m), a.Use()
	arena := tensor.NewArena(m.Device)
	defer arena.Close()
	nn.Logits(m.LM, &nn.Step{Tape: autograd.NoGrad(arena), B: 1, T: len(ids), Adapter: use}, ids)
}
