package chat

import (
	"fmt"
	"slices"
	"strings"
)

// IgnoreLabel is the label of a token that carries no loss, as in transformers.
const IgnoreLabel = -100

// Tokenizer is what Labels needs of a tokenizer; that of format/tokenizer is
// one.
type Tokenizer interface {
	Encode(text string, addSpecial bool) []int32
	Decode(ids []int32, skipSpecial bool) string
	IsSpecial(id int32) bool
}

// Labels renders a conversation for training and returns its token ids and, of
// the same length, their labels: the id itself where the assistant speaks,
// IgnoreLabel elsewhere (the shift by one is left to the loss). The rendering is
// tokenised as a whole, with no BOS or EOS but those that the template wrote.
//
// If the template has {% generation %} blocks, what they write is the
// assistant's, all of it, as transformers' return_assistant_tokens_mask says.
//
// Otherwise the assistant's turn i is what rendering messages[:i+1] has beyond
// rendering messages[:i] with the generation prompt; so the header of the turn
// is not learned. White space that follows the turn's last special token (the
// end of turn) is not learned either. This needs each of these renderings to
// begin like the whole one; a template that writes earlier turns differently
// once others follow is an error.
//
// A token belongs to a span if it covers any of the span's text. Where the
// span begins or ends is found by comparing the ids of the whole with those of
// the text before the beginning and of the text after the end: at a special
// token, where turns of chat templates begin and end, both agree exactly.
func (t *Template) Labels(messages []Message, vars map[string]any, tok Tokenizer) (ids, labels []int32, err error) {
	whole, err := t.render(messages, false, vars)
	if err != nil {
		return nil, nil, err
	}
	spans := whole.spans
	if !t.marks {
		if spans, err = t.turns(whole.text, messages, vars); err != nil {
			return nil, nil, err
		}
	}
	ids = tok.Encode(whole.text, false)
	labels = slices.Repeat([]int32{IgnoreLabel}, len(ids))
	for _, span := range spans {
		if span[0] == span[1] {
			continue
		}
		from := commonPrefix(ids, tok.Encode(whole.text[:span[0]], false))
		to := len(ids) - commonSuffix(ids, tok.Encode(whole.text[span[1]:], false))
		if !t.marks {
			to = endOfTurn(ids, from, to, tok)
		}
		if from < to {
			copy(labels[from:to], ids[from:to])
		}
	}
	return ids, labels, nil
}

// turns finds the assistant's turns in the rendering of messages.
func (t *Template) turns(whole string, messages []Message, vars map[string]any) ([][2]int, error) {
	var spans [][2]int
	for i, m := range messages {
		if m.Role != "assistant" {
			continue
		}
		before, err := t.render(messages[:i], true, vars)
		if err != nil {
			return nil, err
		}
		after, err := t.render(messages[:i+1], false, vars)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(after.text, before.text) || !strings.HasPrefix(whole, after.text) {
			return nil, fmt.Errorf("%s: chat template: message %d (assistant): the conversation up to it is not rendered as the whole one begins, so what the assistant says cannot be told apart", t.name, i)
		}
		spans = append(spans, [2]int{len(before.text), len(after.text)})
	}
	return spans, nil
}

// endOfTurn returns the end of ids[from:to] without the white space behind the
// last special token.
func endOfTurn(ids []int32, from, to int, tok Tokenizer) int {
	for i := to; i > from; i-- {
		if tok.IsSpecial(ids[i-1]) {
			return i
		}
		if strings.TrimSpace(tok.Decode(ids[i-1:i], false)) != "" {
			break
		}
	}
	return to
}

func commonPrefix(a, b []int32) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func commonSuffix(a, b []int32) int {
	n := 0
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}
