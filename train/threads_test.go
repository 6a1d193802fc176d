package train_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

// wide is a Llama whose matrices, rows and attention are all above the sizes from
// which work is split among threads.
const wide = `{"model_type": "llama", "vocab_size": 700, "hidden_size": 192, "intermediate_size": 400, "num_hidden_layers": 2,
	"num_attention_heads": 6, "num_key_value_heads": 2, "tie_word_embeddings": true}`

func random(t testing.TB, config string, dev tensor.Device) *llama.Model {
	t.Helper()
	c, err := llama.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	m := llama.New(c)
	for name, p := range nn.Params(m) {
		p.T, err = tensor.Make(dev, p.Shape(), func(dst []float32) error {
			if r := tensor.NewRandom(3, name); len(p.Shape()) == 1 {
				r.Uniform(dst, 0.5, 1.5)
			} else {
				r.Normal(dst, 0, 0.05)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// adapt trains a new adapter of a wide model for some steps and returns it, with
// the bytes that its parameters began as.
func adapt(t testing.TB, threads, steps int, recompute bool, dropout float64) (a *lora.Adapter, began map[string][]byte) {
	t.Helper()
	dev := tensor.NewCPU(threads)
	t.Cleanup(func() { dev.Close() })
	m := random(t, wide, dev)
	a, err := lora.New(m, "x", lora.Config{Rank: 8, Alpha: 16, Dropout: dropout, Targets: lora.Names{AllLinear: true}}, 1, dev)
	if err != nil {
		t.Fatal(err)
	}
	began = map[string][]byte{}
	var params []train.Param
	for name, p := range a.Params() {
		params = append(params, train.Param{Name: name, Value: p})
		began[name] = p.T.Raw()
	}
	var examples []train.Example
	for i, n := range []int{150, 97, 201} {
		ids := make([]int32, n)
		for j := range ids {
			ids[j] = int32((j*j + 7*i) % m.Vocab())
		}
		examples = append(examples, train.Example{IDs: ids, Labels: ids, Line: i + 1})
	}
	l := &train.Loader{Examples: examples, Batch: 2, Accumulate: 2}
	o := train.Options{Steps: steps, LR: 1e-3, Schedule: train.Constant, Clip: 1, Adapter: a.Use(), Recompute: recompute}
	if err := train.Run(context.Background(), m, dev, params, l, o, func(train.Report) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return a, began
}

func digest(a *lora.Adapter) string {
	h := sha256.New()
	for name, p := range a.Params() {
		fmt.Fprintln(h, name)
		h.Write(p.T.Raw())
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestThreads trains with several numbers of threads, with and without
// recomputation: the adapter has the same bits each time.
func TestThreads(t *testing.T) {
	for _, dropout := range []float64{0, 0.1} {
		var want string
		for _, threads := range []int{1, 2, 3, 7} {
			for _, recompute := range []bool{false, true} {
				a, _ := adapt(t, threads, 5, recompute, dropout)
				got := digest(a)
				if want == "" {
					want = got
				}
				if got != want {
					t.Errorf("dropout %v, %d threads, recompute %v: sha256 %s, want %s", dropout, threads, recompute, got, want)
				}
			}
		}
	}
}

// TestEverythingMoves checks that every matrix of every layer is trained, the first
// layer's too, whose input wants no gradient when it is recomputed.
func TestEverythingMoves(t *testing.T) {
	for _, recompute := range []bool{false, true} {
		a, began := adapt(t, 2, 2, recompute, 0)
		for name, p := range a.Params() {
			if bytes.Equal(p.T.Raw(), began[name]) {
				t.Errorf("recompute %v: %s has not changed", recompute, name)
			}
		}
	}
}

// TestWarmStep checks that after the first step no memory comes from the system.
func TestWarmStep(t *testing.T) {
	dev := tensor.NewCPU(2)
	defer dev.Close()
	m := random(t, wide, dev)
	a, err := lora.New(m, "x", lora.Config{Rank: 8, Alpha: 16, Targets: lora.Names{AllLinear: true}}, 1, dev)
	if err != nil {
		t.Fatal(err)
	}
	var params []train.Param
	for name, p := range a.Params() {
		params = append(params, train.Param{Name: name, Value: p})
	}
	ids := make([]int32, 256)
	for i := range ids {
		ids[i] = int32(i)
	}
	l := &train.Loader{Examples: []train.Example{{IDs: ids, Labels: ids}}, Batch: 1, Accumulate: 1}
	var mapped []int
	o := train.Options{Steps: 4, LR: 1e-3, Schedule: train.Constant, Clip: 1, Adapter: a.Use()}
	err = train.Run(context.Background(), m, dev, params, l, o, func(train.Report) error {
		n, _, _ := dev.MemoryStats()
		mapped = append(mapped, n)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range mapped[1:] {
		if n != mapped[0] {
			t.Errorf("step %d took %d bytes from the system", i+2, n-mapped[i])
		}
	}
}
