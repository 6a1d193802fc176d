package demo

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/format/tokenizer"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

// quick is a demo with fewer requests to judge by.
func quick(t *testing.T) Options {
	o := Defaults()
	o.HeldOut = 40
	o.Say = func(text string) { t.Log(strings.TrimRight(text, "\n")) }
	o.Phase, o.Advance = func(string, int) {}, func(int) {}
	return o
}

// The model learns, and it learns the same with one thread and with two.
func TestRun(t *testing.T) {
	var reports []Report
	for _, threads := range []int{1, 2} {
		o := quick(t)
		o.Threads = threads
		if testing.Short() && threads > 1 {
			continue
		}
		r, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Judge(); err != nil || !r.Passed {
			t.Errorf("%d threads: %+v: %v", threads, *r, err)
		}
		t.Logf("%d threads: %.1f s", threads, r.Seconds)
		r.Seconds, r.TrainSeconds, r.Threads = 0, 0, 0
		reports = append(reports, *r)
	}
	if reports[0] != reports[len(reports)-1] {
		t.Errorf("one thread and two differ: %+v", reports)
	}
}

// A demo that teaches nothing does not pass.
func TestUntrained(t *testing.T) {
	o := quick(t)
	o.HeldOut, o.Steps = 10, 1
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Judge(); err == nil || r.Passed || !strings.Contains(err.Error(), "with the adapter it answers") {
		t.Errorf("%+v: %v", *r, err)
	}
}

func TestJudge(t *testing.T) {
	good := Report{Before: 0.05, After: 0.9, SameAnswers: true, Difference: MostDifference}
	if err := good.Judge(); err != nil {
		t.Error(err)
	}
	for _, spoil := range []func(r *Report){
		func(r *Report) { r.Before = 0.051 }, func(r *Report) { r.After = 0.899 },
		func(r *Report) { r.SameAnswers = false }, func(r *Report) { r.Difference = 0.0011 },
	} {
		r := good
		spoil(&r)
		if r.Judge() == nil {
			t.Errorf("%+v passes", r)
		}
	}
}

// The base does what the demo says that it can.
func TestBaseKnows(t *testing.T) {
	d := &run{dev: tensor.NewCPU(1)}
	defer d.dev.Close()
	var err error
	if d.lm, d.tok, err = LoadBase(d.dev); err != nil {
		t.Fatal(err)
	}
	defer nn.Release(d.lm)
	for _, s := range tour() {
		if got, err := d.answer(t.Context(), s.Prompt, nil); err != nil || got != s.Completion {
			t.Errorf("%q: got %q, %v; want %q", s.Prompt, got, err, s.Completion)
		}
	}
	wrong, n := 0, 0
	for _, s := range BaseData(100, 99) { // another seed than it was trained on
		if !slices.Contains(known, s.Prompt[:3]) {
			continue
		}
		n++
		if got, err := d.answer(t.Context(), s.Prompt, nil); err != nil || got != s.Completion {
			wrong++
			t.Logf("%q: got %q, %v; want %q", s.Prompt, got, err, s.Completion)
		}
	}
	if wrong*20 > n {
		t.Errorf("%d of %d new requests to the robots that it knows are answered wrong", wrong, n)
	}
}

// What is read from memory is what the formats' packages read from the files.
func TestBaseFiles(t *testing.T) {
	f, err := safetensors.Open("base/model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := baseWeights()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(w.Names(), f.Names()) {
		t.Fatalf("tensors %v, want %v", w.Names(), f.Names())
	}
	for _, name := range f.Names() {
		shape, _ := w.Shape(name)
		if want, _ := f.Shape(name); !slices.Equal(shape, want) {
			t.Errorf("%s has shape %v, want %v", name, shape, want)
		}
		n := tensor.Shape(shape).Elems()
		got, want := make([]float32, n), make([]float32, n)
		if err := w.Decode(got, name); err != nil {
			t.Fatal(err)
		}
		if err := f.Decode(want, name); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s differs", name)
		}
	}

	want, err := tokenizer.Load("base")
	if err != nil {
		t.Fatal(err)
	}
	got, err := baseTokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Stops(), want.Stops()) || len(got.Stops()) == 0 {
		t.Errorf("stops %v, want %v", got.Stops(), want.Stops())
	}
	texts := []string{"", "  Größe 12,5 \t\n→ 日本", End + "x"}
	for _, s := range append(BaseData(200, 5), HeldOutData(100, 5)...) {
		texts = append(texts, s.Prompt, s.Completion)
	}
	for _, text := range texts {
		a, b := got.Encode(text, false), want.Encode(text, false)
		if !slices.Equal(a, b) || got.Decode(a, false) != text {
			t.Errorf("%q: %v, want %v", text, a, b)
		}
	}
}

// The base is small enough to be carried by everybody.
func TestBaseSize(t *testing.T) {
	entries, err := files.ReadDir("base")
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	t.Logf("%d bytes", total)
	if total > 4_000_000 || total < 100_000 {
		t.Errorf("the base has %d bytes, want at most 4 MB", total)
	}
}

// No command of a held-out line occurs in the adaptation data.
func TestHeldOut(t *testing.T) {
	commands := func(s Sample) []string {
		var all []string
		for c := range strings.SplitSeq(s.Completion, "] ") {
			all = append(all, strings.TrimSuffix(c, "]"))
		}
		return all
	}
	const seed = 3
	seen := map[string]bool{}
	for _, s := range AdaptationData(2000, seed) {
		for _, c := range commands(s) {
			seen[c] = true
		}
	}
	held := map[string]bool{}
	for _, s := range HeldOutData(500, seed) {
		for _, c := range commands(s) {
			if seen[c] {
				t.Errorf("%q: %s is in the adaptation data", s.Prompt, c)
			}
			held[c] = true
		}
	}
	if len(held) < 200 || len(seen) < 500 {
		t.Errorf("%d commands are held out, %d are not", len(held), len(seen))
	}
}

// The dialects say all that a command says, so that a right answer is one.
func TestDialects(t *testing.T) {
	s := source{tensor.NewRandom(1, "test")}
	for _, robot := range append([]string{"updated"}, known...) {
		write := dialects[robot]
		if write == nil {
			write = update
		}
		meaning := map[string]command{}
		for range 3000 {
			c := s.command()
			text := write([]command{c})
			if other, ok := meaning[text]; ok && other != c {
				t.Errorf("%s: %q means %+v and %+v", robot, text, c, other)
			}
			meaning[text] = c
		}
	}
}

// The data that a seed gives is part of how the base came to be.
func TestDataStable(t *testing.T) {
	for _, c := range []struct {
		got         []Sample
		first, hash string
	}{
		{BaseData(1000, 1), "bob: put the red cup in the orange box fast\nPUT CUP RED IN BOX ORANGE FAST", "da6359b7ea7d"},
		{AdaptationData(1000, 0), "dan: shove the blue block to the left quickly\n[nudge (block blue) left fast]", "fe851ca0ee20"},
		{HeldOutData(1000, 0), "dan: go back 6 metres carefully\n[run back 600 slow]", "a82c34fcbb71"},
	} {
		all := sha256.New()
		for _, s := range c.got {
			fmt.Fprintln(all, s.Prompt, s.Completion)
		}
		if first := c.got[0].Prompt + c.got[0].Completion; first != c.first {
			t.Errorf("got %q, want %q", first, c.first)
		}
		if hash := fmt.Sprintf("%.6x", all.Sum(nil)); hash != c.hash {
			t.Errorf("%q …: got %s, want %s", c.first, hash, c.hash)
		}
	}
}

// WriteJSONL writes what train reads: the same tokens, and the loss where the
// demo has it.
func TestWriteJSONL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.jsonl")
	data := HeldOutData(20, 0)
	if err := WriteJSONL(path, data); err != nil {
		t.Fatal(err)
	}
	tok, err := baseTokenizer()
	if err != nil {
		t.Fatal(err)
	}
	got, err := train.ReadFile(path, train.ReadOptions{Encoder: tenon.NewEncoder("base"), Vocab: tok.VocabSize()})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff((&run{tok: tok}).examples(data), got); d != "" {
		t.Error(d)
	}
}
