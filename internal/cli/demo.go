package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/internal/demo"
)

func newDemo(e *env) *cobra.Command {
	o := demo.Defaults()
	var threads int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch a small model learn something new by LoRA, in under a minute",
		Long: `Watch a small language model learn something new by LoRA. The model is part of
this command; no file is read or written and nothing is fetched.

The model turns requests into the commands of four robots. The demo shows that it
cannot command one of them after an update of its language, trains a LoRA adapter on
requests to it, asks again, and merges the adapter. It judges itself on requests
whose commands were not in the adapter's training data, and fails unless at most
5 % of the answers are right before, at least 90 % after, and the merged model
agrees with the adapted one.`,
		Example: `  tenon demo
  tenon demo --threads 1 --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkThreads(threads); err != nil {
				return err
			}
			o.Threads = threads
			var failed error
			o.Say = func(text string) {
				if _, err := fmt.Fprint(e.stdout, text); err != nil && failed == nil {
					failed = err
				}
			}
			bar := &phases{w: e.stderr}
			o.Phase, o.Advance = bar.begin, bar.advance
			if asJSON {
				o.Say = func(string) {}
			}
			r, err := demo.Run(cmd.Context(), o)
			bar.end()
			if err != nil {
				return err
			}
			if asJSON {
				failed = writeJSON(e.stdout, r)
			} else {
				o.Say(fmt.Sprintf("\n%.1f s in all. %s", r.Seconds, ownModel))
			}
			if failed != nil {
				return failed
			}
			return r.Judge()
		},
	}
	f := cmd.Flags()
	f.IntVar(&threads, "threads", 0, "threads to compute with; 0 is all cores")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "of the data, the adapter's first weights and the order")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// ownModel says how to do the same with files.
const ownModel = `The same with your own model, a Hugging Face folder or a .gguf file, and
lines such as {"prompt": "grab the red cup =>", "completion": " [get (cup red)]"}:

  what it says before    tenon generate --model MODEL --prompt "grab the red cup =>"
  LoRA                   tenon finetune --model MODEL --data train.jsonl --out my-adapter
  how well it learnt     tenon eval     --model MODEL --adapter my-adapter --data held-out.jsonl
  what it says now       tenon generate --model MODEL --adapter my-adapter --prompt "grab the red cup =>"
  a model by itself      tenon merge    --model MODEL --adapter my-adapter --out merged
`

// phases shows on a terminal, as a bar each, what the demo is busy with.
// Elsewhere it writes a line for each.
type phases struct {
	w   io.Writer
	bar *progressbar.ProgressBar
}

func (p *phases) begin(name string, steps int) {
	p.end()
	if !isTerminal(p.w) {
		fmt.Fprintf(p.w, "%s: %d steps\n", name, steps)
		return
	}
	p.bar = progressbar.NewOptions(steps,
		progressbar.OptionSetWriter(p.w),
		progressbar.OptionSetDescription(name),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
}

// advance shows that so many steps are done. The bar is decoration: a terminal
// that is gone stops nothing.
func (p *phases) advance(done int) {
	if p.bar != nil {
		_ = p.bar.Set(done)
	}
}

// end removes the bar, so that what follows begins on a line of its own.
func (p *phases) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}
