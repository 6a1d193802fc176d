package tenon_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// TestMergedCheckpoints merges every adapter of PEFT's, writes the checkpoint and loads
// it: its logits are those of base and adapter, also where PEFT's own merge is wrong
// (tied weights of which one is adapted, replicated layers).
func TestMergedCheckpoints(t *testing.T) {
	cases, err := filepath.Glob("testdata/lora*/*/case.json")
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
			var c struct{ Base, Adapter string }
			if err := json.Unmarshal(data, &c); err != nil {
				t.Fatal(err)
			}
			m, err := tenon.Load(filepath.Join("testdata", c.Base), tenon.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			a, err := lora.Load(m.LM, "x", filepath.Join(dir, cmp.Or(c.Adapter, "adapter")), m.Device)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Merge(); err != nil {
				if a.Config.BBias && m.LM.Config.ModelType == "llama" && !m.LM.Config.AttentionBias {
					return // there is no bias to add B's to
				}
				t.Fatal(err)
			}
			out := t.TempDir()
			if err := m.SaveCheckpoint(out, "f32", t.Logf); err != nil {
				t.Fatal(err)
			}
			streamed := t.TempDir()
			a.Remove()
			if err := tenon.Merge(t.Context(), m.Path, filepath.Join(dir, cmp.Or(c.Adapter, "adapter")), streamed, tenon.MergeOptions{DType: "f32", Threads: 2}, t.Logf); err != nil {
				t.Fatal(err)
			}
			sameFolders(t, streamed, out)
			n, err := tenon.Load(out, tenon.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			g, err := safetensors.Open(filepath.Join(dir, "golden.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			info, _ := g.Info("tokens")
			arena := tensor.NewArena(n.Device)
			defer arena.Close()
			s := &nn.Step{Tape: autograd.NoGrad(arena), B: info.Shape[0], T: info.Shape[1]}
			got, want := nn.Logits(n.LM, s, int32s(t, g, "tokens")).T.F32s(), float32s(t, g, "logits")
			var worst float64
			for i := range want {
				worst = max(worst, math.Abs(float64(got[i]-want[i])))
			}
			if !(worst <= 1e-4) {
				t.Errorf("logits are off by %g", worst)
			}
		})
	}
}

// sameFolders asks that two folders have the same files.
func sameFolders(t *testing.T, got, want string) {
	t.Helper()
	files := func(dir string) map[string]string {
		out := map[string]string{}
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			out[e.Name()] = string(b)
		}
		return out
	}
	g, w := files(got), files(want)
	for name := range w {
		if g[name] != w[name] {
			t.Errorf("%s differs", name)
		}
	}
	if len(g) != len(w) {
		t.Errorf("%d files, want %d", len(g), len(w))
	}
}

// mergedInMemory returns a base with a random adapter merged into it, and the adapter's
// folder: what Merge is to give for both.
func mergedInMemory(t *testing.T, base string, targets ...string) (m *tenon.Model, adapter string) {
	t.Helper()
	m, err := tenon.Load(base, tenon.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	a, err := lora.New(m.LM, "x", lora.Config{Rank: 2, Alpha: 8, Init: "random", Targets: lora.Names{List: targets}}, 7, m.Device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Remove)
	adapter = t.TempDir()
	if err := a.Save(adapter); err != nil {
		t.Fatal(err)
	}
	if err := a.Merge(); err != nil {
		t.Fatal(err)
	}
	return m, adapter
}

// TestMergeRequantized encodes what a 4-bit base and an adapter are together: weights of
// linear layers are what Quantize makes of the merged ones, all else is as merged.
func TestMergeRequantized(t *testing.T) {
	const base = "testdata/bnb/nf4-double"
	o := tensor.QuantOptions{DType: tensor.NF4, Block: 64, Double: true}
	m, adapter := mergedInMemory(t, base, "q_proj", "down_proj", "embed_tokens")
	out := t.TempDir()
	reports := map[string]tenon.QuantError{}
	err := tenon.Merge(t.Context(), base, adapter, out, tenon.MergeOptions{Requantize: o, Report: func(r tenon.QuantError) { reports[r.Name] = r }}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	n, err := tenon.Load(out, tenon.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	want := contents(m)
	linear := 0
	for name, p := range nn.Params(n.LM) {
		got := p.T.F32s()
		if p.T.DType() != tensor.NF4 {
			if !slices.Equal(got, want[name]) {
				t.Errorf("%s is not as merged", name)
			}
			continue
		}
		linear++
		q, err := tensor.Quantize(n.Device, want[name], p.Shape(), o)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, q.F32s()) {
			t.Errorf("%s is not what Quantize makes of the merged weight", name)
		}
		q.Release()
		var sum, of float64
		for i, w := range want[name] {
			d := float64(got[i]) - float64(w)
			sum, of = sum+d*d, of+float64(w)*float64(w)
		}
		if r, rms := reports[name], math.Sqrt(sum/of); math.Abs(r.RelRMS-rms) > 1e-12 || rms == 0 && strings.Contains(name, "q_proj") {
			t.Errorf("%s: an error of %g is reported as %+v", name, rms, r)
		}
	}
	if linear != 14 || len(reports) != linear {
		t.Errorf("%d weights in 4 bits, %d reported, want 14", linear, len(reports))
	}
}

// TestMergeStorage merges into 4-bit weights whose codes lie in a tensor that is called
// BF16: left in "the base's type" the sums are F32.
func TestMergeStorage(t *testing.T) {
	const base = "testdata/bnb/storage-bf16"
	m, adapter := mergedInMemory(t, base, "q_proj")
	out := t.TempDir()
	if err := tenon.Merge(t.Context(), base, adapter, out, tenon.MergeOptions{}, t.Logf); err != nil {
		t.Fatal(err)
	}
	n, err := tenon.Load(out, tenon.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	want := contents(m)
	for name, p := range nn.Params(n.LM) {
		if !slices.Equal(p.T.F32s(), want[name]) {
			t.Errorf("%s is not as merged", name)
		}
	}
}

// TestMergeGGUF writes what a GGUF file and an adapter are together as a GGUF file: what
// the adapter changes is in Q8_0 (vectors in F32), all else has the bytes that it had.
func TestMergeGGUF(t *testing.T) {
	for _, path := range []string{"testdata/llama/gguf/head-dim.Q8_0.gguf", "testdata/families/gguf/qwen2.Q8_0.gguf", "testdata/llama/gguf/chat.Q4_1.gguf"} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			m, err := tenon.Load(path, tenon.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			a, err := lora.New(m.LM, "x", lora.Config{Rank: 2, Alpha: 8, Init: "random", Bias: "lora_only", Targets: lora.Names{List: []string{"q_proj", "k_proj", "up_proj"}}, Save: []string{"model.norm"}}, 7, m.Device)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Remove()
			for name, p := range a.Params() {
				if strings.HasSuffix(name, "bias") || strings.Contains(name, "norm") {
					p.T.F32()[1] += 0.5
				}
			}
			adapter, out := t.TempDir(), t.TempDir()
			if err := a.Save(adapter); err != nil {
				t.Fatal(err)
			}
			before := map[string][]byte{}
			for name, p := range nn.Params(m.LM) {
				before[name] = p.T.Raw()
			}
			if err := a.Merge(); err != nil {
				t.Fatal(err)
			}
			reports := 0
			err = tenon.Merge(t.Context(), path, adapter, out, tenon.MergeOptions{Requantize: tensor.QuantOptions{DType: tensor.Q8_0}, Report: func(tenon.QuantError) { reports++ }}, t.Logf)
			if err != nil {
				t.Fatal(err)
			}
			n, err := tenon.Load(filepath.Join(out, tenon.MergedGGUF), tenon.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			merged := map[string]*autograd.Value{}
			for name, p := range nn.Params(m.LM) {
				merged[name] = p
			}
			changed := 0
			for name, p := range nn.Params(n.LM) {
				w := merged[name]
				switch {
				case !a.Changes(w):
					if !bytes.Equal(p.T.Raw(), before[name]) {
						t.Errorf("%s is not as it was", name)
					}
				case len(p.Shape()) == 1:
					if !slices.Equal(p.T.F32s(), w.T.F32s()) {
						t.Errorf("%s is not as merged", name)
					}
				default:
					changed++
					q, err := tensor.Quantize(n.Device, w.T.F32s(), p.Shape(), tensor.QuantOptions{DType: tensor.Q8_0})
					if err != nil {
						t.Fatal(err)
					}
					if p.T.DType() != tensor.Q8_0 || !bytes.Equal(p.T.Raw(), q.Raw()) {
						t.Errorf("%s is not what Quantize makes of the merged weight", name)
					}
					q.Release()
				}
			}
			if changed == 0 || changed != reports {
				t.Errorf("%d matrices changed, %d reported", changed, reports)
			}
		})
	}
}

// TestMergeMemory merges tensor by tensor: at no time is more in use than the adapter
// and the largest tensor.
func TestMergeMemory(t *testing.T) {
	const base, adapter = "testdata/llama/mha", "testdata/lora/default/adapter"
	dev := tensor.NewCPU(1)
	defer dev.Close()
	m, err := tenon.Load(base, tenon.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	total, largest := 0, 0
	for _, p := range nn.Params(m.LM) {
		total += 4 * p.T.Elems()
		largest = max(largest, 4*p.T.Elems())
	}
	a, err := lora.Load(m.LM, "x", adapter, m.Device)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Remove()
	most := 5*(largest+4*a.Elems())/4 + 1<<10 // buffers are a fifth larger than what is in them
	if err := tenon.MergeOn(t.Context(), dev, base, adapter, t.TempDir(), tenon.MergeOptions{DType: "bf16"}, t.Logf); err != nil {
		t.Fatal(err)
	}
	_, _, peak := dev.MemoryStats()
	t.Logf("weights %d bytes, largest %d, adapter %d, most in use %d", total, largest, 4*a.Elems(), peak)
	if peak > most || most > total/2 {
		t.Errorf("%d bytes were in use, want %d at most", peak, most)
	}
}
