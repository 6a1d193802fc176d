package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/format/chat"
	"github.com/tenon-ml/tenon/format/tokenizer"
	"github.com/tenon-ml/tenon/nn"
)

// generation is the result of `generate`.
type generation struct {
	Text               string  `json:"text"`
	IDs                []int32 `json:"ids"` // without the end token
	PromptTokens       int     `json:"prompt_tokens"`
	Tokens             int     `json:"tokens"`
	TokensPerSec       float64 `json:"tokens_per_s"`
	PromptTokensPerSec float64 `json:"prompt_tokens_per_s"`
}

func newGenerate(e *env) *cobra.Command {
	var m modelFlags
	var prompt, message string
	var stop []string
	var asJSON bool
	r := nn.Request{}
	cmd := &cobra.Command{
		Use:   "generate --model PATH (--prompt TEXT | --chat TEXT)",
		Short: "Continue a text, or answer a message",
		Long: `Continue a text (--prompt), or answer a message by the model's chat template
(--chat). The text appears as it is generated; with --json one object comes at
the end. Temperature 0, the default, always takes the likeliest token.`,
		Example: `  tenon generate --model SmolLM2.gguf --chat "What is the capital of France?"
  tenon generate --model model --adapter my-adapter --prompt "Once upon a time" --temperature 0.8 --top-p 0.95`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := errors.Join(require(cmd, "model"), exactlyOne(cmd, "prompt", "chat"), m.check()); err != nil {
				return err
			}
			if r.MaxTokens < 1 {
				return usagef("--max-tokens is %d, want 1 or more", r.MaxTokens)
			}
			if err := r.Sampling.Check(); err != nil {
				return usageError{err}
			}
			if slices.Contains(stop, "") {
				return usagef("--stop is empty")
			}
			tok, err := openTokenizer(m.model)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("chat") {
				r.Prompt, err = chatPrompt(m.model, tok, message)
			} else {
				r.Prompt = textPrompt(tok, prompt)
			}
			if err != nil {
				return err
			}
			if len(r.Prompt) == 0 {
				return fmt.Errorf("--prompt %q: no tokens to continue", prompt)
			}
			model, err := m.open()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, model.close()) }()
			if err := model.checkIDs(r.Prompt); err != nil {
				return err
			}
			r.Adapter = model.active()
			if r.EOS = tok.Stops(); len(r.EOS) == 0 {
				r.EOS = model.lm.Config.EOS
			}
			stream := io.Discard
			if !asJSON {
				stream = e.stdout
			}
			g, err := model.generate(cmd.Context(), tok, r, stop, stream)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(e.stdout, g)
			}
			if _, err := fmt.Fprintln(e.stdout); err != nil {
				return err
			}
			if isTerminal(e.stderr) {
				fmt.Fprintf(e.stderr, "%d prompt tokens, %.1f tokens/s; %d tokens, %.1f tokens/s\n",
					g.PromptTokens, g.PromptTokensPerSec, g.Tokens, g.TokensPerSec)
			}
			return nil
		},
	}
	m.add(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&prompt, "prompt", "", "text to continue, as it is")
	f.StringVar(&message, "chat", "", "message to answer, by the chat template")
	f.IntVar(&r.MaxTokens, "max-tokens", 256, "stop after so many tokens")
	f.Float64Var(&r.Sampling.Temperature, "temperature", 0, "divides the logits; 0 takes the likeliest token")
	f.Float64Var(&r.Sampling.TopP, "top-p", 1, "draw from the likeliest tokens that have this probability together")
	f.IntVar(&r.Sampling.TopK, "top-k", 0, "draw from so many likeliest tokens; 0 is all")
	f.Uint64Var(&r.Sampling.Seed, "seed", 0, "what is drawn follows from it")
	f.StringArrayVar(&stop, "stop", nil, "end before this text; may be given several times")
	f.BoolVar(&asJSON, "json", false, "print one JSON object at the end")
	return cmd
}

// textPrompt encodes a text to be continued: BOS where the tokenizer adds one,
// and never an EOS.
func textPrompt(tok *tokenizer.Tokenizer, text string) []int32 {
	ids := tok.Encode(text, false)
	if bos, ok := tok.BOS(); ok && tok.AddsBOS() {
		ids = append([]int32{bos}, ids...)
	}
	return ids
}

// chatPrompt encodes a user's message with what the chat template puts around
// it and before the answer.
func chatPrompt(path string, tok *tokenizer.Tokenizer, message string) ([]int32, error) {
	template, err := openTemplate(path)
	if err != nil {
		return nil, err
	}
	text, err := template.Render([]chat.Message{{Role: "user", Content: message}}, true, specialTokens(tok))
	if err != nil {
		return nil, err
	}
	return tok.Encode(text, false), nil
}

// generate writes the text to w as it comes and returns all of it.
func (m *model) generate(ctx context.Context, tok *tokenizer.Tokenizer, r nn.Request, stop []string, w io.Writer) (*generation, error) {
	g := &generation{IDs: []int32{}, PromptTokens: len(r.Prompt)}
	out := stopper{stop: stop}
	stream := tok.Stream(true)
	var timing nn.Timing
	for id, err := range nn.Generate(ctx, m.lm, m.dev, r, &timing) {
		if _, bad := errors.AsType[*nn.NonFiniteError](err); bad {
			return nil, m.notFinite("logits are")
		}
		if err != nil {
			return nil, err
		}
		g.IDs = append(g.IDs, id)
		if _, err := io.WriteString(w, out.add(stream.Next(id))); err != nil {
			return nil, err
		}
		if out.stopped {
			break
		}
	}
	if _, err := io.WriteString(w, out.finish(stream.Flush())); err != nil {
		return nil, err
	}
	g.Text = out.text.String()
	g.Tokens = len(g.IDs)
	g.PromptTokensPerSec = perSecond(g.PromptTokens, timing.Prompt)
	g.TokensPerSec = perSecond(g.Tokens, timing.Tokens)
	return g, nil
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
