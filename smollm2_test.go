package tenon_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/chat"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

const smollm2 = "testdata/models/SmolLM2-135M-Instruct.Q4_1.gguf"

func loadSmolLM2(t testing.TB) *tenon.Model {
	t.Helper()
	if _, err := os.Stat(smollm2); err != nil {
		t.Skip("no SmolLM2: testdata/fetch-smollm2.sh fetches it")
	}
	m, err := tenon.Load(smollm2, tenon.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func int32s(t testing.TB, f *safetensors.File, name string) []int32 {
	t.Helper()
	info, ok := f.Info(name)
	if !ok || info.DType != tensor.I32 {
		t.Fatalf("%s: no I32 tensor %s", f.Path(), name)
	}
	raw := f.Bytes(name)
	out := make([]int32, len(raw)/4)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}

func float32s(t testing.TB, f *safetensors.File, name string) []float32 {
	t.Helper()
	info, _ := f.Info(name)
	out := make([]float32, tensor.Shape(info.Shape).Elems())
	if err := f.Decode(out, name); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSmolLM2Logits compares the logits of a text of 256 tokens with PyTorch's F64
// ones: all logits of six positions, and 64 logits of every position. They may
// be twice as far off as PyTorch's F32 logits.
func TestSmolLM2Logits(t *testing.T) {
	m := loadSmolLM2(t)
	g, err := safetensors.Open("testdata/smollm2/logits.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	tok, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	ids := int32s(t, g, "tokens")
	if got := tok.Encode(g.Metadata()["text"], false); !slices.Equal(got, ids) {
		t.Errorf("token ids %v, want %v", got, ids)
	}
	arena := tensor.NewArena(m.Device)
	defer arena.Close()
	got := nn.Logits(m.LM, &nn.Step{Tape: autograd.NoGrad(arena), B: 1, T: len(ids)}, ids).T
	v := m.LM.Vocab()

	noise := func(key string) float64 {
		f, err := strconv.ParseFloat(g.Metadata()[key], 64)
		if err != nil {
			t.Fatal(key, err)
		}
		return f
	}
	check := func(what string, off, reference float64) {
		t.Logf("%s: |tenon - F64| %.3g, |PyTorch F32 - F64| %.3g", what, off, reference)
		if !(off <= 2*reference) {
			t.Errorf("%s: too far from the F64 logits", what)
		}
	}
	rows, columns := int32s(t, g, "rows"), int32s(t, g, "columns")
	want := float32s(t, g, "logits64")
	var off float64
	for i, r := range rows {
		for j, x := range got.Slice(int(r), int(r)+1).F32s() {
			off = max(off, math.Abs(float64(x)-float64(want[i*v+j])))
		}
	}
	check("six positions", off, noise("eager_max_abs_f32_minus_f64_rows"))
	want, off = float32s(t, g, "columns64"), 0
	argmax := int32s(t, g, "argmax")
	for p := range ids {
		x := got.Slice(p, p+1).F32s()
		for j, c := range columns {
			off = max(off, math.Abs(float64(x[c])-float64(want[p*len(columns)+j])))
		}
		best := 0
		for j := range x {
			if x[j] > x[best] {
				best = j
			}
		}
		if int32(best) != argmax[p] {
			t.Errorf("position %d: the likeliest token is %d, want %d", p, best, argmax[p])
		}
	}
	check("64 logits of every position", off, noise("eager_max_abs_f32_minus_f64_columns"))
}

// TestSmolLM2Greedy answers prompts as transformers does: the text of the chat
// template, its tokens, and 64 tokens after it.
func TestSmolLM2Greedy(t *testing.T) {
	m := loadSmolLM2(t)
	data, err := os.ReadFile("testdata/smollm2/greedy.json")
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		Messages    []chat.Message
		Prompt, IDs []int32
		Completion  string
		MinGap      float64 `json:"min_gap"`
	}
	var g struct{ Cases, Ended []answer }
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	for _, c := range append(g.Cases, g.Ended...) {
		r := tenon.Request{Messages: c.Messages, MaxTokens: 64}
		prompt, err := m.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(prompt, c.Prompt) {
			t.Errorf("%q: prompt %v, want %v", c.Messages[0].Content, prompt, c.Prompt)
			continue
		}
		got, err := m.Generate(context.Background(), r, func(string) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.IDs, c.IDs) || got.Text != c.Completion {
			t.Errorf("%q: got %q, want %q (smallest gap %g)", c.Messages[0].Content, got.Text, c.Completion, c.MinGap)
		}
	}
}

// TestSmolLM2Curves trains twenty steps as PEFT under Trainer did.
func TestSmolLM2Curves(t *testing.T) {
	for _, c := range []struct {
		dir   string
		worst float64
	}{
		{"train-nonzero", 1e-3},
		// From B = 0, PyTorch differs from itself by 1.2e-3 with another attention
		// kernel.
		{"train-zero", 1e-2},
	} {
		t.Run(c.dir, func(t *testing.T) {
			m := loadSmolLM2(t)
			curve.Read(t, filepath.Join("testdata/smollm2", c.dir)).Check(t, m.Device, m.LM, curve.Limits{Loss: 1e-5, Norm: 1e-3, Median: 5e-5, Worst: c.worst})
		})
	}
}
