package llama

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/lora"
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
				cache, err := m.NewCache(dev, tensor.F32, len(ids))
				if err != nil {
					t.Fatal(err)
				}
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

// random returns a small model of random weights, whose heads are of 32.
func random(t *testing.T, dev tensor.Device) *Model {
	t.Helper()
	c, err := ParseConfig([]byte(`{"model_type": "llama", "vocab_size": 97, "hidden_size": 128, "intermediate_size": 96,
		"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
		"rms_norm_eps": 1e-5, "rope_theta": 10000, "hidden_act": "silu"}`))
	if err != nil {
		t.Fatal(err)
	}
	m := New(c)
	for name, p := range nn.Params(m) {
		r := tensor.NewRandom(1, name)
		p.T, err = tensor.Make(dev, p.Shape(), func(dst []float32) error {
			r.Normal(dst, 0, 0.15)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// TestCacheTypes: F16 and Q8_0 caches give the logits of an F32 one but for the
// rounding of keys and values, and take the memory that they should while the text
// grows past their room.
func TestCacheTypes(t *testing.T) {
	dev := tensor.NewCPU(2)
	defer dev.Close()
	m := random(t, dev)
	defer nn.Release(m)
	ids := make([]int32, 600)
	for i := range ids {
		ids[i] = int32(i*i+3) % int32(m.Vocab())
	}
	arena := tensor.NewArena(dev)
	s := &nn.Step{Tape: autograd.NoGrad(arena), B: 1}
	run := func(dt tensor.DType) (logits []float32, bytes int) {
		cache, err := m.NewCache(dev, dt, 1000)
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		s.Cache = cache
		rest := ids
		for _, n := range []int{250, 3, 20, 1, 1, 235, 90} {
			s.T = n
			logits = append(logits, nn.Logits(m, s, rest[:n]).T.F32s()...)
			s.Tape.Close()
			arena.Close()
			rest = rest[n:]
		}
		return logits, cache.Bytes()
	}
	want, most := run(tensor.F32)
	if most > 1000*3*2*64*4 || most < 600*3*2*64*4 {
		t.Errorf("a cache of 600 tokens takes %d bytes", most)
	}
	var size float64
	for _, v := range want {
		size += float64(v) * float64(v) / float64(len(want))
	}
	for _, c := range []struct {
		dt           tensor.DType
		bytes, worst float64 // beside F32: of memory, and of the logits' root mean square
	}{{tensor.F16, 0.5, 2e-3}, {tensor.Q8_0, 34.0 / 128, 5e-2}} {
		got, bytes := run(c.dt)
		var worst, mean float64
		for i, v := range got {
			d := math.Abs(float64(v - want[i]))
			worst, mean = max(worst, d), mean+d*d/float64(len(got))
		}
		worst, mean = worst/math.Sqrt(size), math.Sqrt(mean/size)
		t.Logf("%v: logits differ by %.1e in the mean square, at most %.1e", c.dt, mean, worst)
		if !(worst <= c.worst) || float64(bytes) != c.bytes*float64(most) || !(mean > 0) {
			t.Errorf("%v: logits differ by up to %g, want %g; %d bytes beside %d", c.dt, worst, c.worst, bytes, most)
		}
	}
	m.Config.HeadDim = 33
	for _, dt := range []tensor.DType{tensor.Q8_0, tensor.BF16} {
		if _, err := m.NewCache(dev, dt, 10); err == nil {
			t.Errorf("a cache of %v and heads of 33: no error", dt)
		}
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
		for _, r := range []nn.Request{{}, {Sampling: nn.Sampling{Temperature: 1, TopP: 0.9}}, {Cache: tensor.F16}, {Adapter: new(nn.Adapter)}} {
			r.Prompt, r.MaxTokens = []int32{1, 2, 3}, warm+tokens+1
			dev := tensor.NewCPU(2)
			m := load(t, filepath.Join(testdata, model), "config.json", dev)
			remove := func() {}
			if r.Adapter != nil {
				a, err := lora.New(m, "x", lora.Config{Rank: 4, Alpha: 8, Targets: lora.Names{AllLinear: true}, Init: "random"}, 1, dev)
				if err != nil {
					t.Fatal(err)
				}
				r.Adapter = a.Use()
				remove = a.Remove
			}
			var before, after runtime.MemStats
			var mapped, mappedAfter int
			n := 0
			for _, err := range nn.Generate(context.Background(), m, dev, r, nil) {
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
				t.Errorf("%s, %+v: %d allocations in %d tokens, %d bytes", model, r, got, tokens, after.TotalAlloc-before.TotalAlloc)
			}
			if mapped != mappedAfter {
				t.Errorf("%s, %+v: %d bytes from the system in %d tokens", model, r, mappedAfter-mapped, tokens)
			}
			remove()
			nn.Release(m)
			dev.Close()
		}
	}
}

// TestGenerateTogether: goroutines that generate at once on one model, in F32 and in NF4,
// with different adapters, caches and sampling, get what each gets alone.
func TestGenerateTogether(t *testing.T) {
	dev := tensor.NewCPU(2)
	defer dev.Close()
	m := random(t, dev)
	defer nn.Release(m)
	var requests []nn.Request
	for i, cache := range []tensor.DType{tensor.F32, tensor.F16, tensor.Q8_0, tensor.F16} {
		r := nn.Request{Prompt: []int32{1, 2, int32(3 + i)}, MaxTokens: 24, Cache: cache}
		if i > 0 {
			a, err := lora.New(m, fmt.Sprint("a", i), lora.Config{Rank: 2 + i, Alpha: 16, Targets: lora.Names{AllLinear: true}, Init: "random"}, uint64(i), dev)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Remove()
			r.Adapter, r.Sampling = a.Use(), nn.Sampling{Temperature: 1, TopP: 0.9, Seed: uint64(i)}
		}
		requests = append(requests, r)
	}
	for _, base := range []string{"F32", "NF4"} {
		if base == "NF4" {
			for _, s := range nn.Slots(m) {
				l, ok := s.Layer().(*nn.Linear)
				if !ok || s.Layer() == m.Head {
					continue
				}
				w := l.Weight.T
				q, err := tensor.Quantize(dev, w.F32(), w.Shape(), tensor.QuantOptions{DType: tensor.NF4, Block: 64, Double: true})
				if err != nil {
					t.Fatal(err)
				}
				w.Release()
				l.Weight.T = q
			}
		}
		var want [][]int32
		for _, r := range requests {
			want = append(want, generate(t, m, dev, r))
		}
		var wait sync.WaitGroup
		for i, r := range requests {
			wait.Go(func() {
				for range 3 {
					var got []int32
					for id, err := range nn.Generate(context.Background(), m, dev, r, nil) {
						if err != nil {
							t.Error(err)
						}
						got = append(got, id)
					}
					if !slices.Equal(got, want[i]) {
						t.Errorf("%s, request %d: %v beside others, alone %v", base, i, got, want[i])
					}
				}
			})
		}
		wait.Wait()
	}
}
