package lora_test

import (
	"bytes"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// subject is a tiny base model and an adapter of it that changes what it computes.
type subject struct {
	dev  *tensor.CPU
	m    *llama.Model
	a    *lora.Adapter
	ids  []int32
	base []float32 // logits without the adapter
	with []float32 // and with it
}

func newSubject(t *testing.T, model string, c lora.Config) *subject {
	t.Helper()
	s := &subject{dev: tensor.NewCPU(1), ids: []int32{1, 5, 9, 2, 7, 7, 3, 30}}
	t.Cleanup(func() { s.dev.Close() })
	s.m = curve.LoadModel(t, filepath.Join(testdata, model), s.dev)
	s.base = s.logits(nil)
	c.Init = "random"
	var err error
	if s.a, err = lora.New(s.m, "x", c, 7, s.dev); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.a.Params() { // what begins as a copy differs too
		n := tensor.NewRandom(9, "noise")
		x := p.T.F32()
		for i := range x {
			x[i] += float32(0.3 * (n.Float64() - 0.5))
		}
	}
	s.with = s.logits(s.a)
	if worst(s.base, s.with) < 1e-2 {
		t.Fatal("the adapter changes nothing: nothing is tested")
	}
	return s
}

func (s *subject) logits(a *lora.Adapter) []float32 {
	if a == nil {
		return logits(s.m, s.dev, nil, s.ids, 1)
	}
	return logits(s.m, s.dev, a.Use(), s.ids, 1)
}

// weights returns the bytes of the model's own parameters.
func (s *subject) weights() map[string][]byte {
	out := map[string][]byte{}
	for name, p := range nn.Params(s.m) {
		out[name] = p.T.Raw()
	}
	return out
}

// grads returns the gradients of the adapter's loss.
func (s *subject) grads(t *testing.T, recompute bool) autograd.Grads {
	t.Helper()
	arena := tensor.NewArena(s.dev)
	defer arena.Close()
	tape := autograd.NewTape(arena)
	defer tape.Close()
	step := &nn.Step{Tape: tape, B: 1, T: len(s.ids), Train: true, Adapter: s.a.Use(), Recompute: recompute}
	g := autograd.Grads{}
	t.Cleanup(g.Release)
	autograd.Backward(nn.Loss(s.m, step, s.ids, s.ids, 7), g)
	return g
}

var allLinear = lora.Names{AllLinear: true}

// configs are the kinds of adapter that the invariants hold for.
var configs = []struct {
	name, model string
	config      lora.Config
}{
	{"q and v", "llama/mha", lora.Config{Rank: 4, Alpha: 8, Targets: lora.Names{List: []string{"q_proj", "v_proj"}}}},
	{"all linear", "llama/gqa-tied", lora.Config{Rank: 2, Alpha: 3, Targets: allLinear}},
	{"rsLoRA", "llama/mha", lora.Config{Rank: 4, Alpha: 8, RSLoRA: true, Targets: allLinear}},
	{"layers", "llama/mha", lora.Config{Rank: 4, Alpha: 8, Layers: []int{1}, Targets: lora.Names{List: []string{"q_proj", "down_proj"}}}},
	{"patterns", "llama/mha", lora.Config{Rank: 4, Alpha: 8, Targets: allLinear, Ranks: lora.Patterns{{Regex: "q_proj", Value: 1}}, Alphas: lora.Patterns{{Regex: `layers\.0\..*`, Value: 20}}}},
	{"head", "llama/mha", lora.Config{Rank: 4, Alpha: 8, Targets: lora.Names{List: []string{"lm_head", "q_proj"}}}},
	{"tied head", "llama/gqa-tied", lora.Config{Rank: 4, Alpha: 8, Targets: lora.Names{List: []string{"lm_head", "q_proj"}}}},
	{"embedding", "llama/mha", lora.Config{Rank: 4, Alpha: 8, Targets: lora.Names{List: []string{"embed_tokens", "q_proj"}}}},
	{"tied embedding", "llama/gqa-tied", lora.Config{Rank: 4, Alpha: 8, Targets: lora.Names{List: []string{"embed_tokens", "q_proj"}}}},
	{"saved head", "llama/gqa-tied", lora.Config{Rank: 4, Alpha: 8, Targets: allLinear, Save: []string{"lm_head"}}},
	{"saved norms", "llama/mha", lora.Config{Rank: 4, Alpha: 8, Targets: allLinear, Save: []string{"norm"}}},
	{"biases", "llama/bias", lora.Config{Rank: 4, Alpha: 8, Targets: lora.Names{List: []string{"q_proj"}}, Bias: "all"}},
	{"B's bias", "llama/bias", lora.Config{Rank: 4, Alpha: 8, Targets: allLinear, BBias: true}},
	{"tokens", "llama/gqa-tied", lora.Config{Rank: 4, Alpha: 8, Targets: allLinear, Tokens: map[string][]int32{"embed_tokens": {5, 30}}}},
	{"head and its tokens", "llama/mha", lora.Config{Rank: 4, Alpha: 8, Targets: lora.Names{List: []string{"lm_head", "q_proj"}}, Tokens: map[string][]int32{"lm_head": {5, 30}}}},
	{"tied head and tokens", "llama/gqa-tied", lora.Config{Rank: 4, Alpha: 8, Targets: lora.Names{List: []string{"lm_head", "q_proj"}}, Tokens: map[string][]int32{"embed_tokens": {5, 30}}}},
	{"tied, other tokens each", "llama/gqa-tied", lora.Config{Rank: 4, Alpha: 8, Targets: allLinear, Tokens: map[string][]int32{"model.embed_tokens": {5, 30}, "lm_head": {7}}}},
	{"embedding and tokens", "llama/mha", lora.Config{Rank: 4, Alpha: 8, Targets: lora.Names{List: []string{"embed_tokens", "q_proj"}}, Tokens: map[string][]int32{"embed_tokens": {5, 30}}}},
	{"tied to stay, embedding and head", "llama/gqa-tied", lora.Config{Rank: 4, Alpha: 8, Tie: true, Targets: lora.Names{List: []string{"embed_tokens", "lm_head"}}, Tokens: map[string][]int32{"embed_tokens": {5}}}},
	{"tied to stay, saved", "llama/gqa-tied", lora.Config{Rank: 4, Alpha: 8, Tie: true, Targets: allLinear, Save: []string{"embed_tokens"}}},
	{"Qwen3", "families/qwen3", lora.Config{Rank: 4, Alpha: 8, Targets: allLinear}},
}

// invariants are what holds for every adapter.
var invariants = []struct {
	name  string
	check func(t *testing.T, s *subject)
}{
	{"a call without the adapter is the base's", func(t *testing.T, s *subject) {
		if !slices.Equal(s.logits(nil), s.base) {
			t.Error("other logits")
		}
	}},
	{"merged equals unmerged, twice merged equals once, unmerged is as before", func(t *testing.T, s *subject) {
		before := s.weights()
		for range 2 {
			if err := s.a.Merge(); err != nil {
				t.Fatal(err)
			}
			for _, a := range []*lora.Adapter{nil, s.a} {
				if w := worst(s.logits(a), s.with); w > 2e-5 {
					t.Errorf("merged: off by %g", w)
				}
			}
		}
		s.a.Unmerge()
		s.a.Unmerge()
		if !maps.EqualFunc(s.weights(), before, bytes.Equal) {
			t.Error("unmerged: other weights")
		}
		if !slices.Equal(s.logits(s.a), s.with) || !slices.Equal(s.logits(nil), s.base) {
			t.Error("unmerged: other logits")
		}
	}},
	{"merging an adapter that is not finite changes nothing", func(t *testing.T, s *subject) {
		for _, p := range s.a.Params() {
			p.T.F32()[0] = float32(math.Inf(1))
		}
		before := s.weights()
		if err := s.a.Merge(); err == nil {
			t.Error("no error")
		}
		if !maps.EqualFunc(s.weights(), before, bytes.Equal) {
			t.Error("other weights")
		}
	}},
	{"gradients are the adapter's alone, of every parameter, and the same recomputed", func(t *testing.T, s *subject) {
		mine := map[*autograd.Value]string{}
		for name, p := range s.a.Params() {
			p.Trainable = true
			mine[p] = name
		}
		g, r := s.grads(t, false), s.grads(t, true)
		if len(g) != len(mine) {
			t.Errorf("%d gradients, want %d", len(g), len(mine))
		}
		for p, name := range mine {
			if g[p] == nil || r[p] == nil {
				t.Errorf("%s has no gradient", name)
			} else if !bytes.Equal(g[p].Raw(), r[p].Raw()) {
				t.Errorf("%s: recomputed, the gradient differs", name)
			}
		}
	}},
	{"saved and loaded it is the same, under another name, on another copy", func(t *testing.T, s *subject) {
		dir := t.TempDir()
		if err := s.a.Save(dir); err != nil {
			t.Fatal(err)
		}
		a, err := lora.Load(s.m, "another", dir, s.dev)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.logits(a); !slices.Equal(got, s.with) {
			t.Errorf("logits are off by %g", worst(got, s.with))
		}
		if a.Elems() != s.a.Elems() {
			t.Errorf("%d parameters, want %d", a.Elems(), s.a.Elems())
		}
		a.Remove()
		if !slices.Equal(s.logits(s.a), s.with) {
			t.Error("removing one adapter changes another")
		}
		f, err := safetensors.Open(filepath.Join(dir, lora.WeightsFile))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Metadata()["format"] != "pt" {
			t.Errorf("metadata %v", f.Metadata())
		}
		for _, name := range f.Names() {
			if strings.Contains(name, "another") || strings.Contains(name, ".x.") || !strings.HasPrefix(name, "base_model.model.") {
				t.Errorf("tensor %q", name)
			}
		}
	}},
	{"two adapters, one call after the other and at the same time", func(t *testing.T, s *subject) {
		c := s.a.Config
		c.Rank, c.Ranks = 3, nil
		b, err := lora.New(s.m, "b", c, 8, s.dev)
		if err != nil {
			t.Fatal(err)
		}
		want := map[*lora.Adapter][]float32{nil: s.base, s.a: s.with, b: s.logits(b)}
		if worst(want[b], s.with) < 1e-3 {
			t.Fatal("the two adapters are the same")
		}
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				for range 5 {
					a := []*lora.Adapter{nil, s.a, b}[i%3]
					if !slices.Equal(s.logits(a), want[a]) {
						t.Errorf("caller %d got other logits", i)
						return
					}
				}
			})
		}
		wg.Wait()
	}},
	{"one adapter is merged at a time, and a removed one is refused", func(t *testing.T, s *subject) {
		b, err := lora.New(s.m, "b", s.a.Config, 8, s.dev)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.a.Merge(); err != nil {
			t.Fatal(err)
		}
		if err := b.Merge(); err == nil {
			t.Error("merged a second adapter")
		}
		s.a.Remove()
		b.Remove()
		for _, err := range []error{b.Merge(), b.Save(t.TempDir())} {
			if err == nil {
				t.Error("a removed adapter: no error")
			}
		}
		if !slices.Equal(s.logits(nil), s.base) {
			t.Error("the base's logits have changed")
		}
	}},
	{"a removed adapter stays for the calls that hold it", func(t *testing.T, s *subject) {
		use, done, ok := s.a.Hold()
		if !ok {
			t.Fatal("not to be held")
		}
		s.a.Remove()
		if !slices.Equal(logits(s.m, s.dev, use, s.ids, 1), s.with) {
			t.Error("other logits")
		}
		done()
		done()
		if _, _, ok := s.a.Hold(); ok {
			t.Error("held after it was removed")
		}
		if !slices.Equal(s.logits(nil), s.base) {
			t.Error("the base's logits have changed")
		}
	}},
}

func TestInvariants(t *testing.T) {
	for _, c := range configs {
		for _, v := range invariants {
			t.Run(c.name+"/"+v.name, func(t *testing.T) { v.check(t, newSubject(t, c.model, c.config)) })
		}
	}
}

// TestNew checks how adapters begin: as no change, with the numbers that PEFT draws
// from, and as many parameters as theirs.
func TestNew(t *testing.T) {
	for _, c := range configs {
		t.Run(c.name, func(t *testing.T) {
			dev := tensor.NewCPU(1)
			defer dev.Close()
			m := curve.LoadModel(t, filepath.Join(testdata, c.model), dev)
			ids := []int32{1, 5, 9, 2}
			before := logits(m, dev, nil, ids, 1)
			a, err := lora.New(m, "x", c.config, 3, dev)
			if err != nil {
				t.Fatal(err)
			}
			if w := worst(logits(m, dev, a.Use(), ids, 1), before); w > 1e-6 {
				t.Errorf("a new adapter changes the logits by %g", w)
			}
			for name, p := range a.Params() {
				x := p.T.F32s()
				low, high := slices.Min(x), slices.Max(x)
				bound := float32(1 / math.Sqrt(float64(p.T.Dim(-1))))
				switch {
				case strings.HasSuffix(name, ".lora_A.weight") && !(low >= -bound && high <= bound && low < -0.8*bound && high > 0.8*bound):
					t.Errorf("%s is within [%g, %g], want ±%g", name, low, high, bound)
				case (strings.HasSuffix(name, ".lora_B.weight") || strings.HasSuffix(name, ".lora_B.bias") || strings.HasSuffix(name, ".lora_embedding_A")) && (low != 0 || high != 0):
					t.Errorf("%s is within [%g, %g], want 0", name, low, high)
				}
			}
		})
	}
	dev := tensor.NewCPU(1)
	defer dev.Close()
	m := curve.LoadModel(t, filepath.Join(testdata, "llama/mha"), dev)
	a, err := lora.New(m, "x", lora.Config{Rank: 64, Alpha: 1, Init: "gaussian", Targets: lora.Names{List: []string{"q_proj"}}}, 3, dev)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range a.Params() {
		if !strings.HasSuffix(name, ".lora_A.weight") {
			continue
		}
		var sum float64
		for _, v := range p.T.F32s() {
			sum += float64(v) * float64(v)
		}
		if std := math.Sqrt(sum / float64(p.T.Elems())); std < 0.9/64 || std > 1.1/64 {
			t.Errorf("%s has deviation %g, want 1/64", name, std)
		}
	}
}

// TestWholeNames checks that a target named in full is one in whatever layer.
func TestWholeNames(t *testing.T) {
	dev := tensor.NewCPU(1)
	defer dev.Close()
	m := curve.LoadModel(t, filepath.Join(testdata, "llama/mha"), dev)
	c := lora.Config{Rank: 1, Alpha: 1, Layers: []int{1}, Targets: lora.Names{List: []string{"q_proj", "lm_head", "model.layers.0.self_attn.v_proj"}}}
	a, err := lora.New(m, "x", c, 0, dev)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for name := range a.Params() {
		if module, ok := strings.CutSuffix(name, ".lora_A.weight"); ok {
			got = append(got, strings.TrimPrefix(module, "base_model.model."))
		}
	}
	slices.Sort(got)
	if want := []string{"lm_head", "model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.q_proj"}; !slices.Equal(got, want) {
		t.Errorf("targets %q, want %q", got, want)
	}
	if _, err := lora.New(m, "y", lora.Config{Rank: 1, Targets: allLinear, Replicate: [][2]int{{0, 1}}}, 0, dev); err == nil {
		t.Error("layers replicated under another adapter")
	}
}

// TestRefused checks that adapters which do not fit are refused, with a reason, and
// that the model computes as before.
func TestRefused(t *testing.T) {
	dev := tensor.NewCPU(1)
	defer dev.Close()
	m := curve.LoadModel(t, filepath.Join(testdata, "llama/mha"), dev)
	ids := []int32{1, 5, 9, 2}
	before := logits(m, dev, nil, ids, 1)
	for _, c := range []struct {
		want   string
		config lora.Config
	}{
		{"matches no module", lora.Config{Rank: 1, Targets: lora.Names{List: []string{"c_attn"}}}},
		{"match no module", lora.Config{Rank: 1, Targets: lora.Names{Regex: "q_proj"}}}, // not a whole name
		{"are excluded", lora.Config{Rank: 1, Targets: lora.Names{List: []string{"q_proj"}}, Exclude: lora.Names{List: []string{"self_attn.q_proj"}}}},
		{"neither a linear layer", lora.Config{Rank: 1, Targets: lora.Names{List: []string{"self_attn"}}}},
		{"rank r is 0", lora.Config{Targets: allLinear}},
		{"lora_dropout", lora.Config{Rank: 1, Dropout: 1, Targets: allLinear}},
		{"lora_alpha", lora.Config{Rank: 1, Alpha: math.NaN(), Targets: allLinear}},
		{"want target_modules to be a list", lora.Config{Rank: 1, Layers: []int{0}, Targets: allLinear}},
		{"target_modules", lora.Config{Rank: 1, Targets: lora.Names{Regex: "(?!x)"}}},
		{"modules_to_save", lora.Config{Rank: 1, Targets: allLinear, Save: []string{"score"}}},
		{"outside the vocabulary", lora.Config{Rank: 1, Targets: allLinear, Tokens: map[string][]int32{"embed_tokens": {1 << 20}}}},
	} {
		_, err := lora.New(m, "x", c.config, 0, dev)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: error %v, want one about %q", c.config, err, c.want)
		}
	}

	src := filepath.Join(testdata, "lora/default/adapter")
	config, err := os.ReadFile(filepath.Join(src, lora.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(filepath.Join(src, lora.WeightsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var whole []safetensors.Entry
	for name, info := range f.All() {
		whole = append(whole, safetensors.FromBytes(name, info.DType, info.Shape, f.Bytes(name)))
	}
	other := func(i int, e safetensors.Entry) []safetensors.Entry {
		out := slices.Clone(whole)
		out[i] = e
		return out
	}
	nan := make([]float32, tensor.Shape(whole[0].Shape).Elems())
	nan[3] = float32(math.NaN())
	for _, c := range []struct {
		name    string
		config  string
		entries []safetensors.Entry
		want    []string
	}{
		{"missing", string(config), whole[1:], []string{"is missing", whole[0].Name}},
		{"extra", string(config), append(slices.Clone(whole), safetensors.FromFloats("lm_head.lora_A.weight", tensor.F32, []int{1}, []float32{1})), []string{"lm_head.lora_A.weight", "is unexpected"}},
		{"misshapen", string(config), other(0, safetensors.FromFloats(whole[0].Name, tensor.F32, []int{2, 2}, make([]float32, 4))), []string{whole[0].Name, "has shape [2, 2], want"}},
		{"integers", string(config), other(0, safetensors.FromBytes(whole[0].Name, tensor.I32, whole[0].Shape, make([]byte, 4*len(nan)))), []string{whole[0].Name, "has type I32"}},
		{"NaN", string(config), other(0, safetensors.FromFloats(whole[0].Name, tensor.F32, whole[0].Shape, nan)), []string{whole[0].Name, "NaN"}},
		{"two at once", string(config), whole[2:], []string{whole[0].Name, whole[1].Name}},
		{"unsupported keys", strings.Replace(strings.Replace(string(config), `"use_dora": false`, `"use_dora": true`, 1), `"use_qalora": false`, `"use_qalora": true`, 1), whole, []string{"use_dora = true", "use_qalora = true"}},
		{"another method", strings.Replace(string(config), `"LORA"`, `"IA3"`, 1), whole, []string{"peft_type"}},
		{"no JSON", "{", whole, []string{lora.ConfigFile}},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, lora.ConfigFile), []byte(c.config), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := safetensors.Write(filepath.Join(dir, lora.WeightsFile), c.entries, nil); err != nil {
			t.Fatal(err)
		}
		_, err := lora.Load(m, "x", dir, dev)
		if err == nil || !strings.HasPrefix(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line that names the file", c.name, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %v, want %q in it", c.name, err, w)
			}
		}
	}
	if !slices.Equal(logits(m, dev, nil, ids, 1), before) {
		t.Error("the model has changed")
	}
	pickle := t.TempDir()
	if err := os.WriteFile(filepath.Join(pickle, lora.ConfigFile), config, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(pickle, "adapter_model.bin"), []byte("cos\nsystem\n(S'true'\ntR."), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := lora.Load(m, "x", pickle, dev); err == nil || !strings.Contains(err.Error(), "pickle") {
		t.Errorf("a pickle: error %v", err)
	}
}
