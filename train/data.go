package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/autograd"
)

// Ignore is the label of a position that has no loss, as in PyTorch and
// transformers.
const Ignore = autograd.Ignore

// Example is one line of a data file as token ids. Labels has the length of
// IDs and is not shifted: Labels[t] is IDs[t], or Ignore where position t is
// not to be learnt. The loss compares what was computed at t-1 with Labels[t],
// so Labels[0] never counts.
type Example struct {
	IDs    []int32
	Labels []int32
	Line   int // where in the file it stands, from 1
}

// Targets returns the number of positions that have a loss: those of
// Labels[1:] that are not Ignore.
func (e *Example) Targets() int {
	n := 0
	for _, l := range e.Labels[min(1, len(e.Labels)):] {
		if l != Ignore {
			n++
		}
	}
	return n
}

// Encoder turns the text of data lines into token ids. The command fills it
// from a tokenizer and a chat template; with the zero value only lines that
// are tokenised already can be read.
type Encoder struct {
	// Text encodes a text with nothing added in front or behind.
	Text func(text string) ([]int32, error)
	// Marks returns what the tokenizer puts in front of a text, usually one
	// token or none, and the token that ends a text and a completion, which is
	// negative if the tokenizer has none.
	Marks func() (bos []int32, eos int32, err error)
	// Chat encodes a conversation, given as the JSON array of its messages.
	// Labels are Ignore outside of what the assistant says.
	Chat func(messages json.RawMessage) (ids, labels []int32, err error)
}

// ReadOptions says how lines become examples.
type ReadOptions struct {
	Encoder Encoder
	Vocab   int // ids are in [0, Vocab)
	Seq     int // longer examples are cut here; 0 keeps them whole
}

// ReadFile reads a JSONL data file: one JSON object a line, in one of four
// forms.
//
//	{"text": …}                       tokens, then EOS; loss on all
//	{"prompt": …, "completion": …}    tokenised apart, then EOS; loss on completion and EOS
//	{"messages": […]}                 by the chat template; loss on what the assistant says
//	{"input_ids": […], "labels": […]} as is; labels may be absent (loss on all)
//
// BOS stands in front of a text and of a prompt if the tokenizer adds one.
// Blank lines are skipped, further keys are ignored, and a key whose value is
// null counts as absent. Errors name the file and the line.
func ReadFile(path string, o ReadOptions) ([]Example, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, path, o)
}

// Read is ReadFile on an open file; name stands for it in errors.
func Read(r io.Reader, name string, o ReadOptions) ([]Example, error) {
	var out []Example
	in := bufio.NewReaderSize(r, 1<<16)
	for line := 1; ; line++ {
		text, err := readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: line %d: %w", name, line, err)
		}
		end := err != nil
		if line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if text = bytes.Trim(text, " \t\r\n"); len(text) > 0 {
			e, err := o.parse(text)
			if err != nil {
				return nil, fmt.Errorf("%s: line %d: %w", name, line, err)
			}
			e.Line = line
			out = append(out, e)
		}
		if end {
			break
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no examples in it, want one JSON object a line", name)
	}
	return out, nil
}

// forms lists the keys by which a line's form is known.
var forms = []string{"text", "prompt", "messages", "input_ids"}

// longestLine bounds a line: what is longer is no text to learn from but a file of
// another kind, or one without an end.
const longestLine = 64 << 20

// readLine returns the next line with its end.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
		if len(line) > longestLine {
			return nil, fmt.Errorf("longer than %d bytes, want one JSON object a line", longestLine)
		}
	}
}

// parse turns one line into an example.
func (o *ReadOptions) parse(line []byte) (Example, error) {
	if !utf8.Valid(line) {
		return Example{}, errors.New("not valid UTF-8")
	}
	var obj map[string]json.RawMessage
	if err := json.Unmarshal(line, &obj); err != nil {
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return Example{}, fmt.Errorf("a JSON %s, want an object", t.Value)
		}
		return Example{}, fmt.Errorf("not JSON: %w", err)
	}
	for k, v := range obj {
		if string(v) == "null" { // a column that this row lacks, as `datasets` writes it
			delete(obj, k)
		}
	}
	var found []string
	for _, k := range forms {
		if _, ok := obj[k]; ok {
			found = append(found, k)
		}
	}
	if len(found) == 0 {
		return Example{}, fmt.Errorf("none of the keys %s is in it", quoteAll(forms))
	}
	if len(found) > 1 {
		return Example{}, fmt.Errorf("keys %s in one line, want one of them", quoteAll(found))
	}

	var e Example
	var err error
	switch found[0] {
	case "text":
		e, err = o.parseText(obj)
	case "prompt":
		e, err = o.parsePrompt(obj)
	case "messages":
		e, err = o.parseMessages(obj)
	case "input_ids":
		e, err = o.parseIDs(obj)
	}
	if err != nil {
		return Example{}, err
	}
	if len(e.IDs) == 0 {
		return Example{}, fmt.Errorf("%q: no tokens", found[0])
	}
	if len(e.Labels) != len(e.IDs) {
		return Example{}, fmt.Errorf("%d labels for %d input_ids, want as many", len(e.Labels), len(e.IDs))
	}
	for i, id := range e.IDs {
		if id < 0 || int(id) >= o.Vocab {
			return Example{}, fmt.Errorf("token %d is id %d, want 0 to %d", i, id, o.Vocab-1)
		}
		if l := e.Labels[i]; l != Ignore && (l < 0 || int(l) >= o.Vocab) {
			return Example{}, fmt.Errorf("label %d is %d, want %d or 0 to %d", i, l, Ignore, o.Vocab-1)
		}
	}
	if o.Seq > 0 && len(e.IDs) > o.Seq {
		e.IDs = slices.Clone(e.IDs[:o.Seq])
		e.Labels = slices.Clone(e.Labels[:o.Seq])
	}
	return e, nil
}

func (o *ReadOptions) parseText(obj map[string]json.RawMessage) (Example, error) {
	text, err := stringAt(obj, "text")
	if err != nil {
		return Example{}, err
	}
	if text == "" {
		return Example{}, errors.New(`"text" is empty`)
	}
	ids, err := o.encode("text", text)
	if err != nil {
		return Example{}, err
	}
	bos, eos, err := o.marks()
	if err != nil {
		return Example{}, err
	}
	ids = slices.Concat(bos, ids, eos)
	return Example{IDs: ids, Labels: slices.Clone(ids)}, nil
}

func (o *ReadOptions) parsePrompt(obj map[string]json.RawMessage) (Example, error) {
	prompt, err := stringAt(obj, "prompt")
	if err != nil {
		return Example{}, err
	}
	completion, err := stringAt(obj, "completion")
	if err != nil {
		return Example{}, err
	}
	head, err := o.encode("prompt", prompt)
	if err != nil {
		return Example{}, err
	}
	tail, err := o.encode("completion", completion)
	if err != nil {
		return Example{}, err
	}
	bos, eos, err := o.marks()
	if err != nil {
		return Example{}, err
	}
	head, tail = slices.Concat(bos, head), slices.Concat(tail, eos)
	return Example{
		IDs:    slices.Concat(head, tail),
		Labels: slices.Concat(slices.Repeat([]int32{Ignore}, len(head)), tail),
	}, nil
}

func (o *ReadOptions) parseMessages(obj map[string]json.RawMessage) (Example, error) {
	if o.Encoder.Chat == nil {
		return Example{}, errors.New(`"messages" need a model with a tokenizer and a chat template`)
	}
	ids, labels, err := o.Encoder.Chat(obj["messages"])
	if err != nil {
		return Example{}, fmt.Errorf(`"messages": %w`, err)
	}
	return Example{IDs: ids, Labels: labels}, nil
}

func (o *ReadOptions) parseIDs(obj map[string]json.RawMessage) (Example, error) {
	ids, err := intsAt(obj, "input_ids")
	if err != nil {
		return Example{}, err
	}
	labels := slices.Clone(ids)
	if _, ok := obj["labels"]; ok {
		if labels, err = intsAt(obj, "labels"); err != nil {
			return Example{}, err
		}
	}
	// A mask that hides something would be ignored silently; one that hides
	// nothing is what tokenizers write beside the ids.
	if _, ok := obj["attention_mask"]; ok {
		mask, err := intsAt(obj, "attention_mask")
		if err != nil {
			return Example{}, err
		}
		if len(mask) != len(ids) || slices.ContainsFunc(mask, func(m int32) bool { return m != 1 }) {
			return Example{}, fmt.Errorf(`"attention_mask" hides tokens: leave the padding out of "input_ids"`)
		}
	}
	return Example{IDs: ids, Labels: labels}, nil
}

func (o *ReadOptions) encode(key, text string) ([]int32, error) {
	if o.Encoder.Text == nil {
		return nil, fmt.Errorf("%q needs a model with a tokenizer", key)
	}
	ids, err := o.Encoder.Text(text)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", key, err)
	}
	return ids, nil
}

// marks returns what stands in front of a text and behind it.
func (o *ReadOptions) marks() (bos, eos []int32, err error) {
	bos, end, err := o.Encoder.Marks()
	if err == nil && end < 0 {
		err = errors.New("the tokenizer has no end-of-text token to put behind the text")
	}
	return bos, []int32{end}, err
}

func stringAt(obj map[string]json.RawMessage, key string) (string, error) {
	raw, ok := obj[key]
	if !ok {
		return "", fmt.Errorf("key %q is missing", key)
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("%q is no string", key)
	}
	return s, nil
}

func intsAt(obj map[string]json.RawMessage, key string) ([]int32, error) {
	// Pointers, since null would leave an int32 zero without an error.
	var v []*int32
	if err := json.Unmarshal(obj[key], &v); err != nil {
		return nil, fmt.Errorf("%q is no array of 32-bit integers", key)
	}
	out := make([]int32, len(v))
	for i, p := range v {
		if p == nil {
			return nil, fmt.Errorf("%q has a null at %d", key, i)
		}
		out[i] = *p
	}
	return out, nil
}

func quoteAll(keys []string) string {
	q := make([]string, len(keys))
	for i, k := range keys {
		q[i] = fmt.Sprintf("%q", k)
	}
	return strings.Join(q, ", ")
}
