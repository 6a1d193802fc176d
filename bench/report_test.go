package bench

import (
	"bytes"
	"encoding/json"
	"image/png"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/machine"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// small is a model that a test can afford.
const small = `{"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
	"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": true}`

// measured returns the report of all jobs on a small model.
func measured(t *testing.T) Report {
	t.Helper()
	dev := tensor.NewCPU(1)
	t.Cleanup(func() { dev.Close() })
	m, err := RandomModel(small, dev)
	if err != nil {
		t.Fatal(err)
	}
	defer nn.Release(m)
	r := run{Options: Options{Path: "p", Tokens: 8, Generate: 2, Rank: 2, Samples: 1}, ctx: t.Context(), model: m, dev: dev, work: workOf(m), report: now()}
	r.sampler = Sampler{Clock: machine.Clock{Threads: 1}, Wanted: 1}
	r.report.Limits = Limits{Threads: 1, FMA: 1e11, Read: 1e10}
	for _, f := range []func() error{func() error { return r.product(Case{"matmulT", 8, 16, 32}) }, r.prefill, r.decode, r.step} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	r.report.AddMemory(&Report{Results: []Result{{Job: "step", Case: "x"}}, Memory: machine.Memory{Peak: 3e6, Anon: 2e6, File: 1e6}})
	return r.report
}

// keys collects the paths of an object's values.
func keys(prefix string, v any, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			keys(strings.TrimPrefix(prefix+"."+k, "."), e, into)
		}
	case []any:
		if len(v) > 0 {
			if _, ok := v[0].(map[string]any); ok {
				for _, e := range v {
					keys(prefix+"[]", e, into)
				}
				return
			}
		}
		into[prefix] = true
	default:
		into[prefix] = true
	}
}

func TestReport(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for a second")
	}
	r := measured(t)
	var jobs []string
	for _, x := range r.Results {
		jobs = append(jobs, x.Job)
		if !(x.Value > 0) || x.Min > x.Value || x.Max < x.Value || x.Unit == "" || x.Samples < 1 || x.Quiet > x.Samples {
			t.Errorf("%+v", x)
		}
		if x.Limit == "fma" && math.Abs(x.Share-x.FLOP/x.Seconds/1e11) > 1e-9 || x.Limit == "read" && !(x.Share > 0) {
			t.Errorf("share: %+v", x)
		}
	}
	if want := []string{"matmul", "prefill", "decode", "step", "memory"}; !slices.Equal(jobs, want) {
		t.Errorf("jobs %q, want %q", jobs, want)
	}

	t.Run("documented", func(t *testing.T) {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		keys("", v, got)
		doc, err := os.ReadFile("../docs/performance.md")
		if err != nil {
			t.Fatal(err)
		}
		_, doc, _ = bytes.Cut(doc, []byte("\n## The report\n"))
		doc, _, _ = bytes.Cut(doc, []byte("\n## "))
		want := map[string]bool{}
		for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllSubmatch(doc, -1) {
			want[string(m[1])] = true
		}
		for k := range got {
			if !want[k] {
				t.Errorf("%s is not in docs/performance.md", k)
			}
		}
		for k := range want {
			if !got[k] {
				t.Errorf("%s is in docs/performance.md and not in the report", k)
			}
		}
	})
	t.Run("markdown", func(t *testing.T) {
		var b strings.Builder
		if err := r.Markdown(&b); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(b.String(), "\n|"); n != len(r.Results)+2 || !strings.Contains(b.String(), "| 3.0 MB |") {
			t.Errorf("%d rows:\n%s", n, b.String())
		}
	})
	t.Run("roofline", func(t *testing.T) {
		var b bytes.Buffer
		if err := r.Roofline(&b); err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(&b); err != nil {
			t.Error(err)
		}
		r.Limits = Limits{}
		if r.Roofline(&b) == nil {
			t.Error("a roofline without limits")
		}
	})
}

// The counts of SmolLM2-135M by hand: 3 538 944 elements a layer, a head of
// 576·49152, 305 280·16 trained parameters.
func TestWork(t *testing.T) {
	c, err := llama.ParseConfig([]byte(SmolLM2))
	if err != nil {
		t.Fatal(err)
	}
	w := workOf(llama.New(c)) // shapes alone
	if w.layers != 30*3538944 || w.head != 576*49152 || w.attention != 30*576 || w.bytes != 4*(w.layers+w.head) || w.params != 134515008 || len(w.shapes) != 5 {
		t.Errorf("%+v", w)
	}
	if got := w.prefill(512) / 1e9; math.Abs(got-117.8) > 0.1 {
		t.Errorf("a prompt of 512 tokens: %.1f GFLOP", got)
	}
	if got := w.step(512, 305280*16) / 1e9; math.Abs(got-317.6) > 0.1 {
		t.Errorf("a step over 512 tokens: %.1f GFLOP", got)
	}
}

func TestCounting(t *testing.T) {
	s := Sampler{Clock: machine.Clock{Best: 100}}
	quiet := func(x float64) machine.Sample { return machine.Sample{Seconds: x, Before: 100, After: 100} }
	loud := machine.Sample{Seconds: 9, Before: 100, After: 50}
	for _, c := range []struct {
		all    []machine.Sample
		quiet  int
		median float64
	}{
		{[]machine.Sample{quiet(3), loud, quiet(1)}, 2, 2},
		{[]machine.Sample{quiet(3), quiet(5), loud, quiet(1)}, 3, 3},
		{[]machine.Sample{loud}, 0, 9},
	} {
		got := s.counting(c.all)
		if got.quiet != c.quiet || got.taken != len(c.all) || median(got.seconds) != c.median {
			t.Errorf("%v: %+v", c.all, got)
		}
	}
}
