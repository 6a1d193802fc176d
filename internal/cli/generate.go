package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/format/chat"
	"github.com/tenon-ml/tenon/tensor"
)

// cacheTypes are the types in which keys and values can be kept.
var cacheTypes = []string{"f32", "f16", "q8_0"}

func newGenerate(e *env) *cobra.Command {
	var m modelFlags
	var prompt, message, cache string
	var asJSON bool
	var r tenon.Request
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
			if r.Cache, _ = tensor.ParseDType(strings.ToUpper(cache)); !slices.Contains(cacheTypes, cache) {
				return usagef("--cache is %q, want %s", cache, strings.Join(cacheTypes, ", "))
			}
			if slices.Contains(r.Stop, "") {
				return usagef("--stop is empty")
			}
			if cmd.Flags().Changed("chat") {
				r.Messages = []chat.Message{{Role: "user", Content: message}}
			}
			r.Prompt = prompt
			model, err := m.open(e)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, model.close()) }()
			model.Pack()
			r.Adapter = model.active()
			g, err := model.Generate(cmd.Context(), r, func(piece string) error {
				if asJSON {
					return nil
				}
				_, err := io.WriteString(e.stdout, piece)
				return err
			})
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
	f.StringVar(&cache, "cache", cacheTypes[0], "type of the key-value cache: "+strings.Join(cacheTypes, ", "))
	f.Float64Var(&r.Sampling.Temperature, "temperature", 0, "divides the logits; 0 takes the likeliest token")
	f.Float64Var(&r.Sampling.TopP, "top-p", 1, "draw from the likeliest tokens that have this probability together")
	f.IntVar(&r.Sampling.TopK, "top-k", 0, "draw from so many likeliest tokens; 0 is all")
	f.Uint64Var(&r.Sampling.Seed, "seed", 0, "what is drawn follows from it")
	f.StringArrayVar(&r.Stop, "stop", nil, "end before this text; may be given several times")
	f.BoolVar(&asJSON, "json", false, "print one JSON object at the end")
	return cmd
}
