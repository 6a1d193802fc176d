package tenon_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

// logitsOf computes the logits of rows of tokens.
func logitsOf(m *tenon.Model, ids []int32, rows int) []float32 {
	arena := tensor.NewArena(m.Device)
	defer arena.Close()
	s := &nn.Step{Tape: autograd.NoGrad(arena), B: rows, T: len(ids) / rows}
	return nn.Logits(m.LM, s, ids).T.F32s()
}

// Checkpoints that transformers and bitsandbytes quantised: weights have their bits,
// logits are theirs.
func TestBitsandbytes(t *testing.T) {
	for name, dt := range map[string]tensor.DType{"nf4": tensor.NF4, "nf4-double": tensor.NF4, "fp4": tensor.FP4, "storage-bf16": tensor.NF4, "int8": tensor.F32} {
		for _, f32 := range []bool{false, true} {
			dir := filepath.Join("testdata/bnb", name)
			m, err := tenon.Load(dir, tenon.Options{Threads: 2, F32: f32})
			if err != nil {
				t.Fatal(err)
			}
			g, err := safetensors.Open(filepath.Join(dir, "golden.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			weights := 0
			for path, p := range nn.Params(m.LM) {
				want := dt
				if f32 || !strings.HasSuffix(path, "_proj.weight") {
					want = tensor.F32
				}
				if p.T.DType() != want {
					t.Errorf("%s: %s is held in %s, want %s", name, path, p.T.DType(), want)
				}
				if _, ok := g.Info("W:" + path); !ok {
					continue
				}
				weights++
				got, w := p.T.F32s(), float32s(t, g, "W:"+path)
				for i := range w {
					if math.Float32bits(got[i]) != math.Float32bits(w[i]) {
						t.Fatalf("%s: %s: element %d is %v, want %v", name, path, i, got[i], w[i])
					}
				}
			}
			if weights != 2 {
				t.Errorf("%s: %d weights compared", name, weights)
			}
			want := float32s(t, g, "logits")
			var off float64
			for i, v := range logitsOf(m, int32s(t, g, "tokens"), 2) {
				off = max(off, math.Abs(float64(v)-float64(want[i])))
			}
			t.Logf("%s: logits are off by %.1e", name, off)
			if !(off <= 1e-4) {
				t.Errorf("%s: logits are off by %g", name, off)
			}
			g.Close()
			m.Close()
		}
	}
}

// Twenty steps of QLoRA are PEFT's on the same base.
func TestQLoRACurve(t *testing.T) {
	c := curve.Read(t, "testdata/bnb/qlora")
	for _, f32 := range []bool{false, true} {
		m, err := tenon.Load(filepath.Join("testdata", c.Base), tenon.Options{Threads: 2, F32: f32})
		if err != nil {
			t.Fatal(err)
		}
		c.Check(t, m.Device, m.LM, curve.Limits{Loss: 1e-5, Norm: 1e-3, Median: 5e-5, Worst: 1e-3})
		m.Close()
	}
}

// Quantising while loading gives what quantising into a checkpoint and loading that
// gives; head and embedding stay, and the errors that are reported are the weights'.
func TestQuantize(t *testing.T) {
	const base = "testdata/bnb/f32"
	plain, err := tenon.Load(base, tenon.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, o := range []tensor.QuantOptions{
		{DType: tensor.NF4, Block: 64}, {DType: tensor.NF4, Block: 256, Double: true}, {DType: tensor.FP4, Block: 32, SearchAbsmax: true}, {DType: tensor.Q8_0},
	} {
		m, err := tenon.Load(base, tenon.Options{Threads: 2, Quantize: o})
		if err != nil {
			t.Fatal(err)
		}
		weights := map[string][]float32{}
		for name, p := range nn.Params(m.LM) {
			want := o.DType
			if !strings.HasSuffix(name, "_proj.weight") {
				want = tensor.F32
			}
			if p.T.DType() != want {
				t.Errorf("%s is held in %s, want %s", name, p.T.DType(), want)
			}
			weights[name] = p.T.F32s()
		}
		m.Close()
		if o.DType == tensor.Q8_0 {
			continue
		}
		dir := t.TempDir()
		var reports []tenon.QuantError
		err = tenon.Quantize(t.Context(), base, dir, 1, o, func(r tenon.QuantError) { reports = append(reports, r) }, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		if m, err = tenon.Load(dir, tenon.Options{}); err != nil {
			t.Fatal(err)
		}
		if len(reports) != 14 {
			t.Errorf("%d weights reported", len(reports))
		}
		for name, p := range nn.Params(m.LM) {
			if !slices.Equal(p.T.F32s(), weights[name]) {
				t.Errorf("%+v: %s differs", o, name)
			}
		}
		originals := map[string][]float32{}
		for name, p := range nn.Params(plain.LM) {
			originals[name] = p.T.F32s()
		}
		for _, r := range reports {
			var sum, of, most float64
			for i, w := range originals[r.Name] {
				d := math.Abs(float64(w) - float64(weights[r.Name][i]))
				sum, of, most = sum+d*d, of+float64(w)*float64(w), max(most, d)
			}
			if rms := math.Sqrt(sum / of); math.Abs(r.RelRMS-rms) > 1e-9 || r.Max != most || rms > 0.15 {
				t.Errorf("%+v: %+v, want %g and %g", o, r, rms, most)
			}
		}
		m.Close()
		if err := tenon.Quantize(t.Context(), dir, t.TempDir(), 1, o, nil, t.Logf); err == nil || !strings.Contains(err.Error(), "quantised already") {
			t.Errorf("quantising twice: %v", err)
		}
		if _, err := tenon.Load(dir, tenon.Options{Quantize: o}); err == nil || !strings.Contains(err.Error(), "quantised already") {
			t.Errorf("quantising what is quantised while loading: %v", err)
		}
		// Decoded, it is a checkpoint like any other.
		decoded, err := tenon.Load(dir, tenon.Options{})
		if err != nil {
			t.Fatal(err)
		}
		out := t.TempDir()
		if err := decoded.SaveCheckpoint(out, "f32", t.Logf); err != nil {
			t.Fatal(err)
		}
		again, err := tenon.Load(out, tenon.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for name, p := range nn.Params(again.LM) {
			if !slices.Equal(p.T.F32s(), weights[name]) {
				t.Errorf("%+v: decoded and saved, %s differs", o, name)
			}
		}
		if again.LM.Config.Raw["quantization_config"] != nil {
			t.Error("the config of decoded weights speaks of quantisation")
		}
		decoded.Close()
		again.Close()
	}
}

// What SmolLM2 makes of a text in 4 bits, against the file's own weights (Q4_1).
func TestSmolLM2Quantized(t *testing.T) {
	if testing.Short() {
		t.Skip("loads SmolLM2 three times")
	}
	const text = `The city of Königsberg in Prussia was set on both sides of the Pregel River, and included two large islands
which were connected to each other, and to the two mainland portions of the city, by seven bridges. The problem was to
devise a walk through the city that would cross each of those bridges once and only once. Euler proved that the problem
has no solution. The difficulty he faced was the development of a suitable technique of analysis, and of subsequent
tests that established this assertion with mathematical rigor. First, Euler pointed out that the choice of route inside
each land mass is irrelevant and that the only important feature of a route is the sequence of bridges crossed.`
	loss := func(o tensor.QuantOptions) (loss float64) {
		if _, err := os.Stat(smollm2); err != nil {
			t.Skip("no SmolLM2: testdata/fetch-smollm2.sh fetches it")
		}
		m, err := tenon.Load(smollm2, tenon.Options{Quantize: o})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		tok, err := m.Tokenizer()
		if err != nil {
			t.Fatal(err)
		}
		ids := tok.Encode(text, false)
		r, err := train.Evaluate(t.Context(), m.LM, m.Device, []train.Example{{IDs: ids, Labels: ids}}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.Loss
	}
	base := loss(tensor.QuantOptions{})
	for _, c := range []struct {
		o    tensor.QuantOptions
		most float64 // above the base's loss
	}{
		{tensor.QuantOptions{DType: tensor.Q8_0}, 0.01},
		{tensor.QuantOptions{DType: tensor.NF4, Block: 64, Double: true}, 0.25},
	} {
		got := loss(c.o)
		t.Logf("%+v: loss %.4f, the file's %.4f", c.o, got, base)
		if d := got - base; !(d < c.most && d > -0.1) {
			t.Errorf("%+v: loss %.4f, want at most %.2f above %.4f", c.o, got, c.most, base)
		}
	}
}
