package lora_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/tensor"
)

// TestCombine sums two adapters as PEFT's add_weighted_adapter does with "cat", saves
// the sum and loads it again.
func TestCombine(t *testing.T) {
	dirs, err := filepath.Glob(testdata + "/loramore/weighted-cat*")
	if err != nil || len(dirs) == 0 {
		t.Fatal("no cases", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, "case.json"))
			if err != nil {
				t.Fatal(err)
			}
			var c struct {
				Base     string
				Weighted struct {
					Adapters []string
					Weights  []float64
				}
			}
			if err := json.Unmarshal(data, &c); err != nil {
				t.Fatal(err)
			}
			dev := tensor.NewCPU(1)
			defer dev.Close()
			m := curve.LoadModel(t, filepath.Join(testdata, c.Base), dev)
			var parts []*lora.Adapter
			for _, name := range c.Weighted.Adapters {
				a, err := lora.Load(m, name, filepath.Join(dir, name), dev)
				if err != nil {
					t.Fatal(err)
				}
				parts = append(parts, a)
			}
			sum, err := lora.Combine("sum", parts, c.Weighted.Weights, dev)
			if err != nil {
				t.Fatal(err)
			}
			g, err := safetensors.Open(filepath.Join(dir, "golden.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			ids, b := tokens(t, g)
			want := decode(t, g, "logits")
			if w := worst(logits(m, dev, sum.Use(), ids, b), want); w > 1e-4 {
				t.Errorf("off by %g", w)
			}
			out := t.TempDir()
			if err := sum.Save(out); err != nil {
				t.Fatal(err)
			}
			again, err := lora.Load(m, "again", out, dev)
			if err != nil {
				t.Fatal(err)
			}
			if w := worst(logits(m, dev, again.Use(), ids, b), want); w > 1e-4 {
				t.Errorf("saved and loaded: off by %g", w)
			}

			// A sum of weight 1 is the adapter itself; w and -w cancel out.
			one, err := lora.Combine("one", parts[:1], []float64{1}, dev)
			if err != nil {
				t.Fatal(err)
			}
			if w := worst(logits(m, dev, one.Use(), ids, b), logits(m, dev, parts[0].Use(), ids, b)); w > 1e-5 {
				t.Errorf("weight 1: off by %g", w)
			}
			none, err := lora.Combine("none", []*lora.Adapter{parts[0], parts[0]}, []float64{0.5, -0.5}, dev)
			if err != nil {
				t.Fatal(err)
			}
			if w := worst(logits(m, dev, none.Use(), ids, b), logits(m, dev, nil, ids, b)); w > 1e-5 {
				t.Errorf("0.5 and -0.5: off by %g", w)
			}
		})
	}
}

func TestCombineRefused(t *testing.T) {
	s := newSubject(t, "llama/mha", lora.Config{Rank: 2, Alpha: 2, Targets: allLinear})
	saved, err := lora.New(s.m, "saved", lora.Config{Rank: 2, Alpha: 2, Targets: allLinear, Save: []string{"lm_head"}}, 1, s.dev)
	if err != nil {
		t.Fatal(err)
	}
	other := newSubject(t, "llama/mha", lora.Config{Rank: 2, Alpha: 2, Targets: allLinear})
	for _, c := range []struct {
		want     string
		adapters []*lora.Adapter
		weights  []float64
	}{
		{"no adapters", nil, nil},
		{"1 adapters and 2 weights", []*lora.Adapter{s.a}, []float64{1, 2}},
		{"cannot be summed", []*lora.Adapter{s.a, saved}, []float64{1, 2}},
		{"another model's", []*lora.Adapter{s.a, other.a}, []float64{1, 2}},
	} {
		if _, err := lora.Combine("sum", c.adapters, c.weights, s.dev); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one about %q", err, c.want)
		}
	}
}

// TestSwap loads, uses and removes adapters while other calls go on: every call
// computes with the whole of the adapter that it took.
func TestSwap(t *testing.T) {
	dev := tensor.NewCPU(2)
	defer dev.Close()
	m := curve.LoadModel(t, filepath.Join(testdata, "llama/mha"), dev)
	ids := []int32{1, 5, 9, 2, 7}
	dirs := []string{"default", "all-linear-untied", "rslora"}
	var want [][]float32
	for _, d := range dirs {
		a, err := lora.Load(m, d, filepath.Join(testdata, "lora", d, "adapter"), dev)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, logits(m, dev, a.Use(), ids, 1))
		a.Remove()
	}
	type current struct {
		a *lora.Adapter
		i int
	}
	now := make(chan current, 1)
	load := func(n int) current {
		i := n % len(dirs)
		a, err := lora.Load(m, dirs[i], filepath.Join(testdata, "lora", dirs[i], "adapter"), dev)
		if err != nil {
			t.Error(err)
		}
		return current{a, i}
	}
	now <- load(0)
	stop := make(chan bool)
	calls := make(chan int)
	for range 3 {
		go func() {
			n := 0
			defer func() { calls <- n }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := <-now
				use, done, ok := c.a.Hold()
				now <- c
				if !ok {
					t.Error("the current adapter is removed")
					return
				}
				if got := logits(m, dev, use, ids, 1); worst(got, want[c.i]) != 0 {
					t.Errorf("adapter %s: logits are off by %g", dirs[c.i], worst(got, want[c.i]))
				}
				done()
				n++
			}
		}()
	}
	for n := range 200 {
		next := load(n + 1)
		old := <-now
		now <- next
		old.a.Remove()
	}
	close(stop)
	total := 0
	for range 3 {
		total += <-calls
	}
	t.Logf("%d calls during 200 swaps", total)
	if total == 0 {
		t.Error("no calls during the swaps")
	}
}
