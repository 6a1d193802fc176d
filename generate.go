package tenon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/format/chat"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// Request asks for a text.
type Request struct {
	// Prompt is continued as it is. Messages, if there are any, take its place:
	// the model answers them, by its chat template.
	Prompt   string
	Messages []chat.Message

	MaxTokens int
	Sampling  nn.Sampling
	Stop      []string     // the text ends before any of these
	Adapter   *nn.Adapter  // nil is the base model
	Cache     tensor.DType // of keys and values, see nn.NewKVCache; the zero value is F32
}

// Generation is a text that was generated.
type Generation struct {
	Text               string  `json:"text"`
	IDs                []int32 `json:"ids"` // without the end token
	PromptTokens       int     `json:"prompt_tokens"`
	Tokens             int     `json:"tokens"`
	TokensPerSec       float64 `json:"tokens_per_s"` // after the prompt
	PromptTokensPerSec float64 `json:"prompt_tokens_per_s"`
}

// Encode returns the tokens of the request's prompt: BOS stands before a text
// where the tokenizer adds one; before messages, what the template writes.
func (m *Model) Encode(r Request) ([]int32, error) {
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	if r.Messages != nil {
		template, err := m.Template()
		if err != nil {
			return nil, err
		}
		text, err := template.Render(r.Messages, true, SpecialTokens(tok))
		if err != nil {
			return nil, err
		}
		ids := tok.Encode(text, false)
		if len(ids) == 0 {
			return nil, fmt.Errorf("%s: the chat template makes no tokens out of the messages", m.Path)
		}
		return ids, nil
	}
	ids := tok.Encode(r.Prompt, false)
	if bos, ok := tok.BOS(); ok && tok.AddsBOS() {
		ids = append([]int32{bos}, ids...)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("the prompt %q has no tokens to continue", r.Prompt)
	}
	return ids, nil
}

// Generate generates a text. It calls show with each piece as soon as it is known
// not to begin a stop text; show's error ends the generation. A nil show shows nothing.
func (m *Model) Generate(ctx context.Context, r Request, show func(piece string) error) (*Generation, error) {
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	prompt, err := m.Encode(r)
	if err != nil {
		return nil, err
	}
	q := nn.Request{Prompt: prompt, MaxTokens: r.MaxTokens, Sampling: r.Sampling, EOS: tok.Stops(), Adapter: r.Adapter, Cache: r.Cache}
	if len(q.EOS) == 0 {
		q.EOS = m.LM.Config.EOS
	}
	if show == nil {
		show = func(string) error { return nil }
	}
	g := &Generation{IDs: []int32{}, PromptTokens: len(prompt)}
	out := stopper{stop: r.Stop}
	stream := tok.Stream(true)
	var timing nn.Timing
	for id, err := range nn.Generate(ctx, m.LM, m.Device, q, &timing) {
		if err != nil {
			if _, bad := errors.AsType[*nn.NonFiniteError](err); bad {
				err = m.NotFinite("logits are")
			}
			return nil, err
		}
		g.IDs = append(g.IDs, id)
		if err := show(out.add(stream.Next(id))); err != nil {
			return nil, err
		}
		if out.stopped {
			break
		}
	}
	if err := show(out.finish(stream.Flush())); err != nil {
		return nil, err
	}
	g.Text = out.text.String()
	g.Tokens = len(g.IDs)
	g.PromptTokensPerSec = perSecond(g.PromptTokens, timing.Prompt)
	g.TokensPerSec = perSecond(g.Tokens, timing.Tokens)
	return g, nil
}

// NotFinite is the error about results of the model that are no numbers.
func (m *Model) NotFinite(what string) error {
	return fmt.Errorf("%s: %s not finite: a weight is NaN or Inf, or too large", m.Path, what)
}

// perSecond is a rate, 0 where no time was taken.
func perSecond(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// stopper passes text through until a stop text comes, and holds back what may
// be the beginning of one.
type stopper struct {
	stop    []string
	held    string
	text    strings.Builder // what was passed through
	stopped bool
}

// add takes more text and returns what may be shown of it.
func (s *stopper) add(more string) string {
	if s.stopped {
		return ""
	}
	s.held += more
	end := len(s.held)
	for _, x := range s.stop {
		if i := strings.Index(s.held, x); i >= 0 && i < end {
			end, s.stopped = i, true
		}
	}
	if !s.stopped {
		// The longest end of the text that begins a stop text stays here.
		for _, x := range s.stop {
			for n := min(len(x)-1, len(s.held)); n > len(s.held)-end; n-- {
				if strings.HasSuffix(s.held, x[:n]) {
					end = len(s.held) - n
					break
				}
			}
		}
	}
	out := s.held[:end]
	s.held = s.held[end:]
	s.text.WriteString(out)
	return out
}

// finish takes the last text and returns what is left to show.
func (s *stopper) finish(last string) string {
	out := s.add(last)
	if !s.stopped {
		out += s.held
		s.text.WriteString(s.held)
		s.held = ""
	}
	return out
}
