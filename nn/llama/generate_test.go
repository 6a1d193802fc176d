package llama

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// TestGreedy continues prompts as transformers' generate does.
func TestGreedy(t *testing.T) {
	files, err := filepath.Glob(testdata + "/[lf]*/*/greedy.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no greedy.json", err)
	}
	for _, path := range files {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var g struct {
				Cases []struct {
					Prompt, IDs []int32
					MinGap      float64 `json:"min_gap"`
				}
			}
			if err := json.Unmarshal(data, &g); err != nil {
				t.Fatal(err)
			}
			dev := tensor.NewCPU(1)
			defer dev.Close()
			m := load(t, filepath.Dir(path), "config.json", dev)
			defer nn.Release(m)
			for _, c := range g.Cases {
				if got := generate(t, m, dev, nn.Request{Prompt: c.Prompt, MaxTokens: len(c.IDs)}); !slices.Equal(got, c.IDs) {
					t.Errorf("prompt %v: got %v, want %v (smallest gap %g)", c.Prompt, got, c.IDs, c.MinGap)
				}
			}
		})
	}
}

func generate(t *testing.T, m *Model, dev tensor.Device, r nn.Request) []int32 {
	t.Helper()
	var out []int32
	for id, err := range nn.Generate(context.Background(), m, dev, r, nil) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, id)
	}
	return out
}

// TestCached computes logits token by token, and in pieces, with a cache.
func TestCached(t *testing.T) {
	for _, name := range []string{"llama/gqa-tied", "llama/rope-llama3", "families/mistral-window", "families/qwen2-window", "families/qwen3"} {
		t.Run(name, func(t *testing.T) {
			dev := tensor.NewCPU(2)
			defer dev.Close()
			m := load(t, filepath.Join(testdata, name), "config.json", dev)
			defer nn.Release(m)
			ids := make([]int32, 70)
			for i := range ids {
				ids[i] = int32(i*i+3) % int32(m.Vocab())
			}
			run := func(cache *nn.KVCache, ids []int32) []float32 {
				arena := tensor.NewArena(dev)
				defer arena.Close()
				return nn.Logits(m, &nn.Step{Tape: autograd.NoGrad(arena), B: 1, T: len(ids), Cache: cache}, ids).T.F32s()
			}
			want := run(nil, ids)
			for _, piece := range []int{1, 7, 64} {
				cache := m.NewCache(dev, len(ids))
				var got []float32
				for part := range slices.Chunk(ids, piece) {
					got = append(got, run(cache, part)...)
				}
				var worst float64
				for i := range want {
					worst = max(worst, math.Abs(float64(got[i]-want[i])))
				}
				if len(got) != len(want) || !(worst <= 2e-5) {
					t.Errorf("in pieces of %d: logits are off by %g", piece, worst)
				}
				if cache.Len() != len(ids) {
					t.Errorf("the cache has %d tokens, want %d", cache.Len(), len(ids))
				}
				cache.Close()
			}
		})
	}
}

// TestSampling checks what the settings of sampling mean.
func TestSampling(t *testing.T) {
	dev := tensor.NewCPU(1)
	defer dev.Close()
	m := load(t, testdata+"/llama/gqa-tied", "config.json", dev)
	defer nn.Release(m)
	r := nn.Request{Prompt: []int32{5, 6, 7}, MaxTokens: 40}
	greedy := generate(t, m, dev, r)
	with := func(s nn.Sampling) []int32 {
		r := r
		r.Sampling = s
		return generate(t, m, dev, r)
	}
	if got := with(nn.Sampling{Temperature: 2, TopK: 1, Seed: 3}); !slices.Equal(got, greedy) {
		t.Error("top-k 1 is not greedy")
	}
	if got := with(nn.Sampling{Temperature: 2, TopP: 1e-9, Seed: 3}); !slices.Equal(got, greedy) {
		t.Error("a tiny top-p is not greedy")
	}
	hot := with(nn.Sampling{Temperature: 5, Seed: 1})
	if slices.Equal(hot, greedy) {
		t.Error("a high temperature draws the likeliest tokens alone")
	}
	if !slices.Equal(hot, with(nn.Sampling{Temperature: 5, Seed: 1})) {
		t.Error("a seed gives different tokens")
	}
	if slices.Equal(hot, with(nn.Sampling{Temperature: 5, Seed: 2})) {
		t.Error("two seeds give the same tokens")
	}
	r.EOS = []int32{greedy[2]}
	if got := generate(t, m, dev, r); !slices.Equal(got, greedy[:slices.Index(greedy, greedy[2])]) {
		t.Errorf("with an end token: %v of %v", got, greedy)
	}
}

func TestGenerateErrors(t *testing.T) {
	dev := tensor.NewCPU(1)
	defer dev.Close()
	m := load(t, testdata+"/llama/gqa-tied", "config.json", dev)
	defer nn.Release(m)
	fail := func(ctx context.Context, r nn.Request) error {
		for _, err := range nn.Generate(ctx, m, dev, r, nil) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	for name, r := range map[string]nn.Request{
		"no prompt":       {MaxTokens: 1},
		"unknown token":   {MaxTokens: 1, Prompt: []int32{int32(m.Vocab())}},
		"negative token":  {MaxTokens: 1, Prompt: []int32{-1}},
		"bad temperature": {MaxTokens: 1, Prompt: []int32{1}, Sampling: nn.Sampling{Temperature: -1}},
		"bad top-p":       {MaxTokens: 1, Prompt: []int32{1}, Sampling: nn.Sampling{TopP: 2}},
	} {
		if fail(context.Background(), r) == nil {
			t.Errorf("%s: no error", name)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := fail(ctx, nn.Request{MaxTokens: 1, Prompt: []int32{1}}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
	m.Norm.Weight.T.F32()[0] = float32(math.NaN())
	if _, ok := errors.AsType[*nn.NonFiniteError](fail(context.Background(), nn.Request{MaxTokens: 1, Prompt: []int32{1}})); !ok {
		t.Error("NaN weights: no error")
	}
}

// TestGenerateAllocates: a warm token takes nothing from Go's heap, nor memory from
// the system.
func TestGenerateAllocates(t *testing.T) {
	const warm, tokens = 16, 64
	for _, model := range []string{"llama/gqa-tied", "llama/bias", "families/qwen3"} {
		for _, threads := range []int{1, 2} {
			dev := tensor.NewCPU(threads)
			m := load(t, filepath.Join(testdata, model), "config.json", dev)
			var before, after runtime.MemStats
			var mapped, mappedAfter int
			n := 0
			for _, err := range nn.Generate(context.Background(), m, dev, nn.Request{Prompt: []int32{1, 2, 3}, MaxTokens: warm + tokens + 1}, nil) {
				if err != nil {
					t.Fatal(err)
				}
				switch n++; n {
				case warm:
					mapped, _, _ = dev.MemoryStats()
					runtime.ReadMemStats(&before)
				case warm + tokens:
					runtime.ReadMemStats(&after)
					mappedAfter, _, _ = dev.MemoryStats()
				}
			}
			if got := after.Mallocs - before.Mallocs; got >= tokens || n < warm+tokens {
				t.Errorf("%s, %d threads: %d allocations in %d tokens, %d bytes", model, threads, got, tokens, after.TotalAlloc-before.TotalAlloc)
			}
			if mapped != mappedAfter {
				t.Errorf("%s, %d threads: %d bytes from the system in %d tokens", model, threads, mappedAfter-mapped, tokens)
			}
			nn.Release(m)
			dev.Close()
		}
	}
}
