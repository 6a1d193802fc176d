package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// letters encodes each byte as its own id: a tokenizer small enough to read.
func letters(bos ...int32) Encoder {
	return Encoder{
		Text: func(text string) ([]int32, error) {
			var ids []int32
			for _, b := range []byte(text) {
				ids = append(ids, int32(b))
			}
			return ids, nil
		},
		Marks: func() ([]int32, int32, error) { return bos, 2, nil },
		Chat: func(messages json.RawMessage) (ids, labels []int32, err error) {
			var m []struct{ Role, Content string }
			if err := json.Unmarshal(messages, &m); err != nil {
				return nil, nil, err
			}
			for _, m := range m {
				for _, b := range []byte(m.Content) {
					ids = append(ids, int32(b))
					if m.Role == "assistant" {
						labels = append(labels, int32(b))
					} else {
						labels = append(labels, Ignore)
					}
				}
			}
			return ids, labels, nil
		},
	}
}

func TestReadForms(t *testing.T) {
	const x = Ignore
	for _, c := range []struct {
		name, line  string
		bos         []int32
		seq         int
		ids, labels []int32
	}{
		{"text", `{"text":"abc"}`, nil, 0, []int32{97, 98, 99, 2}, []int32{97, 98, 99, 2}},
		{"text with BOS", `{"text":"abc"}`, []int32{1}, 0, []int32{1, 97, 98, 99, 2}, []int32{1, 97, 98, 99, 2}},
		{"text cut", `{"text":"abc"}`, []int32{1}, 3, []int32{1, 97, 98}, []int32{1, 97, 98}},
		{"text that just fits", `{"text":"abc"}`, nil, 4, []int32{97, 98, 99, 2}, []int32{97, 98, 99, 2}},
		{"prompt", `{"prompt":"ab","completion":"c"}`, nil, 0, []int32{97, 98, 99, 2}, []int32{x, x, 99, 2}},
		{"prompt with BOS", `{"prompt":"ab","completion":"c"}`, []int32{1}, 0, []int32{1, 97, 98, 99, 2}, []int32{x, x, x, 99, 2}},
		{"prompt cut", `{"prompt":"ab","completion":"c"}`, nil, 2, []int32{97, 98}, []int32{x, x}},
		{"empty completion", `{"prompt":"ab","completion":""}`, nil, 0, []int32{97, 98, 2}, []int32{x, x, 2}},
		{"messages", `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`, []int32{1}, 0, []int32{97, 98}, []int32{x, 98}},
		{"ids", `{"input_ids":[5,6,7]}`, []int32{1}, 0, []int32{5, 6, 7}, []int32{5, 6, 7}},
		{"ids and labels", `{"input_ids":[5,6,7],"labels":[-100,6,8]}`, nil, 0, []int32{5, 6, 7}, []int32{x, 6, 8}},
		{"ids cut", `{"input_ids":[5,6,7],"labels":[-100,6,8]}`, nil, 2, []int32{5, 6}, []int32{x, 6}},
		{"null columns", `{"text":null,"input_ids":[5],"labels":null,"attention_mask":[1]}`, nil, 0, []int32{5}, []int32{5}},
		{"further keys", `{"id":3,"text":"a","completion":"unused"}`, nil, 0, []int32{97, 2}, []int32{97, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Read(strings.NewReader("\n"+c.line+"\r\n"), "d.jsonl", ReadOptions{Encoder: letters(c.bos...), Vocab: 256, Seq: c.seq})
			if err != nil {
				t.Fatal(err)
			}
			want := []Example{{IDs: c.ids, Labels: c.labels, Line: 2}}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	for _, c := range []struct{ name, line, want string }{
		{"no JSON", `hello`, "d.jsonl: line 2: not JSON: invalid character 'h' looking for beginning of value"},
		{"cut off", `{"text":"a`, "d.jsonl: line 2: not JSON: unexpected end of JSON input"},
		{"trailing garbage", `{"text":"a"} x`, "d.jsonl: line 2: not JSON: invalid character 'x' after top-level value"},
		{"array", `["a"]`, "d.jsonl: line 2: a JSON array, want an object"},
		{"null", `null`, `d.jsonl: line 2: none of the keys "text", "prompt", "messages", "input_ids" is in it`},
		{"unknown form", `{"Text":"a"}`, `d.jsonl: line 2: none of the keys "text", "prompt", "messages", "input_ids" is in it`},
		{"two forms", `{"text":"a","prompt":"b","completion":"c"}`, `d.jsonl: line 2: keys "text", "prompt" in one line, want one of them`},
		{"no completion", `{"prompt":"a"}`, `d.jsonl: line 2: key "completion" is missing`},
		{"text is a number", `{"text":1}`, `d.jsonl: line 2: "text" is no string`},
		{"empty text", `{"text":""}`, `d.jsonl: line 2: "text" is empty`},
		{"invalid UTF-8", "{\"text\":\"\xff\"}", "d.jsonl: line 2: not valid UTF-8"},
		{"id too large", `{"input_ids":[1,256]}`, "d.jsonl: line 2: token 1 is id 256, want 0 to 255"},
		{"id negative", `{"input_ids":[-1]}`, "d.jsonl: line 2: token 0 is id -1, want 0 to 255"},
		{"id beyond int32", `{"input_ids":[4294967296]}`, `d.jsonl: line 2: "input_ids" is no array of 32-bit integers`},
		{"id no integer", `{"input_ids":[1.5]}`, `d.jsonl: line 2: "input_ids" is no array of 32-bit integers`},
		{"null id", `{"input_ids":[1,null]}`, `d.jsonl: line 2: "input_ids" has a null at 1`},
		{"no ids", `{"input_ids":[]}`, `d.jsonl: line 2: "input_ids": no tokens`},
		{"few labels", `{"input_ids":[1,2],"labels":[1]}`, "d.jsonl: line 2: 1 labels for 2 input_ids, want as many"},
		{"label out of range", `{"input_ids":[1,2],"labels":[1,-1]}`, "d.jsonl: line 2: label 1 is -1, want -100 or 0 to 255"},
		{"padding", `{"input_ids":[1,2],"attention_mask":[1,0]}`, `d.jsonl: line 2: "attention_mask" hides tokens: leave the padding out of "input_ids"`},
		{"bad messages", `{"messages":3}`, `d.jsonl: line 2: "messages": json: cannot unmarshal number into Go value of type []struct { Role string; Content string }`},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := `{"text":"fine"}` + "\n" + c.line + "\n"
			_, err := Read(strings.NewReader(data), "d.jsonl", ReadOptions{Encoder: letters(), Vocab: 256})
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestReadFileErrors(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.jsonl")
	if err := os.WriteFile(empty, []byte("\n \n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(empty, ReadOptions{}); err == nil || !strings.HasPrefix(err.Error(), empty+": no examples") {
		t.Errorf("got %v", err)
	}
	if _, err := ReadFile(filepath.Join(dir, "none"), ReadOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
	if _, err := ReadFile(dir, ReadOptions{}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want an error naming %s", err, dir)
	}
}

// Without a tokenizer only lines of ids can be read, and the message says so.
func TestReadWithoutTokenizer(t *testing.T) {
	o := ReadOptions{Vocab: 10}
	if _, err := Read(strings.NewReader(`{"input_ids":[1,2]}`), "d", o); err != nil {
		t.Error(err)
	}
	for _, line := range []string{`{"text":"a"}`, `{"prompt":"a","completion":"b"}`, `{"messages":[]}`} {
		if _, err := Read(strings.NewReader(line), "d", o); err == nil || !strings.Contains(err.Error(), "tokenizer") {
			t.Errorf("%s: got %v", line, err)
		}
	}
	e := letters()
	e.Marks = func() ([]int32, int32, error) { return nil, -1, nil }
	if _, err := Read(strings.NewReader(`{"text":"a"}`), "d", ReadOptions{Encoder: e, Vocab: 256}); err == nil || !strings.Contains(err.Error(), "end-of-text") {
		t.Errorf("got %v", err)
	}
}

func TestReadLongLine(t *testing.T) {
	text := strings.Repeat("x", 3<<20)
	got, err := Read(strings.NewReader(`{"text":"`+text+`"}`), "d", ReadOptions{Encoder: letters(), Vocab: 256})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got[0].IDs); n != len(text)+1 {
		t.Errorf("%d tokens, want %d", n, len(text)+1)
	}
}

func TestNewBatch(t *testing.T) {
	const x = Ignore
	got := NewBatch([][]*Example{
		{{IDs: []int32{1, 2}, Labels: []int32{1, 2}, Line: 4}},
		{{IDs: []int32{3, 4, 5}, Labels: []int32{x, x, 5}, Line: 9}},
	})
	want := Batch{
		B: 2, T: 3,
		IDs:    []int32{1, 2, 0, 3, 4, 5},
		Labels: []int32{1, 2, x, x, x, 5},
		Lines:  []int{4, 9},
		Tokens: 5,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := got.Targets(); n != 2 { // labels[1:] of each row
		t.Errorf("%d targets, want 2", n)
	}
}

// numbered returns examples [i, i] on line i+1.
func numbered(n int) []Example {
	out := make([]Example, n)
	for i := range out {
		ids := []int32{int32(i), int32(i)}
		out[i] = Example{IDs: ids, Labels: ids, Line: i + 1}
	}
	return out
}

// TestStepsGolden compares with what transformers' Trainer did.
func TestStepsGolden(t *testing.T) {
	raw, err := os.ReadFile("../testdata/train-steps.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Rows, Batch, Accumulate, Steps, Epochs int
			Want                                   [][][]int32
		}
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range golden.Cases {
		l := Loader{Examples: numbered(c.Rows), Batch: c.Batch, Accumulate: c.Accumulate}
		steps := c.Steps
		if steps == 0 {
			steps = c.Epochs * l.StepsPerEpoch()
		}
		if err := l.Check(steps); err != nil {
			t.Fatal(err)
		}
		var got [][][]int32
		for s := range l.Steps(steps) {
			if s.Number != len(got)+1 {
				t.Errorf("step %d has number %d", len(got)+1, s.Number)
			}
			var batches [][]int32
			n := 0
			for _, b := range s.Batches {
				var rows []int32
				for i := range b.B {
					rows = append(rows, b.IDs[i*b.T])
				}
				batches = append(batches, rows)
				n += len(rows)
			}
			if s.Targets != n {
				t.Errorf("step %d: %d targets, want %d", s.Number, s.Targets, n)
			}
			got = append(got, batches)
		}
		if d := cmp.Diff(c.Want, got); d != "" {
			t.Errorf("%d rows, batch %d, accumulate %d, steps %d: %s", c.Rows, c.Batch, c.Accumulate, steps, d)
		}
	}
}

func TestShuffle(t *testing.T) {
	epochs := func(seed uint64) [][]int {
		var out [][]int
		l := Loader{Examples: numbered(50), Batch: 1, Accumulate: 1, Shuffle: true, Seed: seed}
		for s := range l.Steps(150) {
			if s.Epoch == len(out) {
				out = append(out, nil)
			}
			out[s.Epoch] = append(out[s.Epoch], s.Batches[0].Lines...)
		}
		return out
	}
	a := epochs(1)
	if d := cmp.Diff(a, epochs(1)); d != "" {
		t.Errorf("the same seed gives another order: %s", d)
	}
	if slices.Equal(a[0], epochs(2)[0]) {
		t.Error("another seed gives the same order")
	}
	if slices.Equal(a[0], a[1]) {
		t.Error("two epochs have the same order")
	}
	want := make([]int, 50)
	for i := range want {
		want[i] = i + 1
	}
	for i, e := range a {
		if slices.Equal(e, want) {
			t.Errorf("epoch %d is not shuffled", i)
		}
		slices.Sort(e)
		if !slices.Equal(e, want) {
			t.Errorf("epoch %d takes lines %v, want each once", i, e)
		}
	}
}

// The order that a seed gives is part of what a user reproduces: it may not
// change between releases.
func TestShuffleStable(t *testing.T) {
	l := Loader{Examples: numbered(10), Batch: 1, Accumulate: 1, Shuffle: true, Seed: 42}
	if got, want := fmt.Sprint(l.order(0, 10), l.order(1, 10)), "[6 2 5 3 4 7 0 1 9 8] [2 3 9 6 0 8 7 4 5 1]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCheck(t *testing.T) {
	const x = Ignore
	learn := Example{IDs: []int32{1, 2}, Labels: []int32{1, 2}, Line: 1}
	none := Example{IDs: []int32{1, 2}, Labels: []int32{1, x}, Line: 2}
	for _, c := range []struct {
		name string
		l    Loader
		want string
	}{
		{"beside another", Loader{Examples: []Example{learn, none}, Batch: 2, Accumulate: 1}, ""},
		{"accumulated with another", Loader{Examples: []Example{learn, none}, Batch: 1, Accumulate: 2}, ""},
		{"alone", Loader{Examples: []Example{learn, none}, Batch: 1, Accumulate: 1},
			"line 2: nothing to learn in step 2: no label behind the first token is left after cutting"},
		{"batch", Loader{Examples: []Example{learn}, Accumulate: 1}, "batch is 0, want at least 1"},
		{"accumulate", Loader{Examples: []Example{learn}, Batch: 1, Accumulate: -1}, "accumulate is -1, want at least 1"},
		{"empty", Loader{Batch: 1, Accumulate: 1}, "no examples"},
	} {
		err := c.l.Check(2)
		if got := fmt.Sprint(err); err == nil && c.want != "" || err != nil && got != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"text":"abc"}` + "\n" + `{"input_ids":[1,2],"labels":[-100,2]}`))
	f.Add([]byte(`{"prompt":"a","completion":"b"}`))
	f.Add([]byte(`{"messages":[{"role":"user","content":"a"}]}`))
	f.Add([]byte("\ufeff\r\n{\"input_ids\":[99999999999]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := ReadOptions{Encoder: letters(1), Vocab: 256, Seq: 7}
		got, err := Read(bytes.NewReader(data), "d", o)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "d: ") {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		for _, e := range got {
			if len(e.IDs) == 0 || len(e.IDs) > o.Seq || len(e.IDs) != len(e.Labels) {
				t.Errorf("line %d: %d ids, %d labels", e.Line, len(e.IDs), len(e.Labels))
			}
		}
	})
}

// endless is a file without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestEndlessLine(t *testing.T) {
	_, err := Read(endless{}, "/dev/zero", ReadOptions{})
	if err == nil || !strings.HasPrefix(err.Error(), "/dev/zero: line 1: longer than") {
		t.Errorf("error %v", err)
	}
}
