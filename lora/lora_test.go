package lora_test

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

const testdata = "../testdata"

func logits(m nn.CausalLM, dev tensor.Device, adapter *nn.Adapter, ids []int32, b int) []float32 {
	arena := tensor.NewArena(dev)
	defer arena.Close()
	s := &nn.Step{Tape: autograd.NoGrad(arena), B: b, T: len(ids) / b, Adapter: adapter}
	return nn.Logits(m, s, ids).T.F32s()
}

func decode(t testing.TB, f *safetensors.File, name string) []float32 {
	t.Helper()
	info, ok := f.Info(name)
	if !ok {
		t.Fatalf("%s has no %s", f.Path(), name)
	}
	x := make([]float32, tensor.Shape(info.Shape).Elems())
	if err := f.Decode(x, name); err != nil {
		t.Fatal(err)
	}
	return x
}

func tokens(t testing.TB, f *safetensors.File) ([]int32, int) {
	t.Helper()
	info, _ := f.Info("tokens")
	b := f.Bytes("tokens")
	ids := make([]int32, len(b)/4)
	for i := range ids {
		ids[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return ids, info.Shape[0]
}

func worst(a, b []float32) float64 {
	var w float64
	for i := range a {
		w = max(w, math.Abs(float64(a[i])-float64(b[i])))
	}
	if len(a) != len(b) || math.IsNaN(w) {
		return math.Inf(1)
	}
	return w
}

// TestPEFTAdapters loads adapters that PEFT saved: logits with the adapter, of the
// base alone, and merged; then unmerged, saved, and loaded again.
func TestPEFTAdapters(t *testing.T) {
	cases, err := filepath.Glob(testdata + "/lora*/*/case.json")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range cases {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var c struct {
				Base    string
				Targets []string
				Params  int              `json:"adapter_parameters"`
				Keys    map[string][]int // tensors of the file; absent where all are of low-rank terms
				Adapter string
			}
			if err := json.Unmarshal(data, &c); err != nil {
				t.Fatal(err)
			}
			dev := tensor.NewCPU(1)
			defer dev.Close()
			m := curve.LoadModel(t, filepath.Join(testdata, c.Base), dev)
			adapter := filepath.Join(dir, cmp.Or(c.Adapter, "adapter"))
			a, err := lora.Load(m, "x", adapter, dev)
			if err != nil {
				t.Fatal(err)
			}
			if c.Keys != nil {
				c.Params = 0
			}
			for name, shape := range c.Keys {
				// A layer's own weight is no parameter, nor is what is there twice.
				if !strings.HasSuffix(name, ".base_layer.weight") && !(a.Config.Tie && strings.HasPrefix(name, "base_model.model.lm_head.")) {
					c.Params += tensor.Shape(shape).Elems()
				}
			}
			if a.Elems() != c.Params {
				t.Errorf("%d parameters, want %d", a.Elems(), c.Params)
			}
			var targets []string
			for name := range a.Params() {
				for _, suffix := range []string{".lora_A.weight", ".lora_embedding_A"} {
					if module, ok := strings.CutSuffix(name, suffix); ok {
						targets = append(targets, strings.TrimPrefix(module, "base_model.model."))
					}
				}
			}
			if a.Config.Tie && slices.Contains(targets, "model.embed_tokens") {
				targets = append(targets, "lm_head") // the same parameters
			}
			slices.Sort(targets)
			slices.Sort(c.Targets)
			if !slices.Equal(targets, c.Targets) {
				t.Errorf("targets %q, want %q", targets, c.Targets)
			}

			g, err := safetensors.Open(filepath.Join(dir, "golden.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			ids, b := tokens(t, g)
			check := func(what string, got, want []float32) {
				t.Helper()
				w := worst(got, want)
				t.Logf("%s: off by %.2g", what, w)
				if w > 1e-4 {
					t.Errorf("%s: off by %.2g", what, w)
				}
			}
			base := logits(m, dev, nil, ids, b)
			if _, ok := g.Info("logits_replicated"); ok {
				check("base", base, decode(t, g, "logits_replicated"))
			} else {
				check("base", base, decode(t, g, "logits_base"))
			}
			got := logits(m, dev, a.Use(), ids, b)
			check("adapter", got, decode(t, g, "logits"))
			if w := worst(got, base); w < 1e-2 {
				t.Fatalf("the adapter changes the logits by %g only: nothing is tested", w)
			}
			if a.Config.BBias && !m.Config.AttentionBias && m.Config.ModelType == "llama" {
				if err := a.Merge(); err == nil {
					t.Error("merging a bias into layers without one: no error")
				}
			} else {
				if err := a.Merge(); err != nil {
					t.Fatal(err)
				}
				merged := logits(m, dev, nil, ids, b)
				if _, ok := g.Info("logits_merged"); ok { // where PEFT's own merge is right
					check("merged", merged, decode(t, g, "logits_merged"))
				}
				check("merged equals unmerged", merged, got)
				check("merged, with the adapter", logits(m, dev, a.Use(), ids, b), got)
				a.Unmerge()
			}
			check("unmerged", logits(m, dev, a.Use(), ids, b), got)
			check("base after unmerge", logits(m, dev, nil, ids, b), base)

			out := t.TempDir()
			if err := a.Save(out); err != nil {
				t.Fatal(err)
			}
			n := curve.LoadModel(t, filepath.Join(testdata, c.Base), dev)
			again, err := lora.Load(n, "y", out, dev)
			if err != nil {
				t.Fatal(err)
			}
			if again := logits(n, dev, again.Use(), ids, b); worst(again, logits(m, dev, a.Use(), ids, b)) > 1e-5 {
				t.Errorf("saved and loaded: other logits")
			}
			keepsKeys(t, adapter, out)
			sameTensors(t, adapter, out)
		})
	}
}

// sameTensors checks that a saved adapter has the tensors that it was loaded from.
func sameTensors(t *testing.T, was, is string) {
	t.Helper()
	open := func(dir string) *safetensors.File {
		f, err := safetensors.Open(filepath.Join(dir, lora.WeightsFile))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	before, after := open(was), open(is)
	defer before.Close()
	defer after.Close()
	names := slices.DeleteFunc(after.Names(), func(n string) bool {
		_, had := before.Info(n)
		return !had && strings.HasSuffix(n, ".base_layer.weight")
	})
	if !slices.Equal(names, before.Names()) {
		t.Errorf("tensors %q, want %q", names, before.Names())
		return
	}
	for _, n := range names {
		if info, _ := before.Info(n); info.DType != tensor.F32 && strings.HasSuffix(n, ".base_layer.weight") {
			continue // the model's own, which was stored with fewer bits
		}
		if !slices.Equal(decode(t, before, n), decode(t, after, n)) {
			t.Errorf("tensor %q has changed", n)
		}
	}
}

// keepsKeys checks that every key of a configuration was written again, with its
// value.
func keepsKeys(t *testing.T, was, is string) {
	t.Helper()
	read := func(dir string) map[string]any {
		data, err := os.ReadFile(filepath.Join(dir, lora.ConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	before, after := read(was), read(is)
	for k, v := range before {
		if k == "target_modules" && v == nil {
			continue // the family's default is written out
		}
		a, _ := json.Marshal(v)
		b, _ := json.Marshal(after[k])
		if _, ok := after[k]; !ok || string(a) != string(b) {
			t.Errorf("key %s was %s, is %s", k, a, b)
		}
	}
}
