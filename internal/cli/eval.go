package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/train"
)

func newEval(e *env) *cobra.Command {
	var m modelFlags
	var data string
	var seq int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "eval --model PATH --data FILE",
		Short: "Measure a model's loss and perplexity on a data file",
		Long: `Measure a model's loss on a data file: the mean cross-entropy over the tokens
that have a loss, in nats, computed in F32 whatever the stored type
unless --compute says otherwise. The data has the forms that finetune takes.`,
		Example: `  tenon eval --model model --adapter my-adapter --data held-out.jsonl --json`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := errors.Join(require(cmd, "model", "data"), m.check()); err != nil {
				return err
			}
			if seq < 0 {
				return usagef("--seq is %d, want 0 or more", seq)
			}
			model, err := m.open(e)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, model.close()) }()
			examples, err := model.readData(data, seq)
			if err != nil {
				return err
			}
			r, err := model.evaluate(cmd.Context(), data, examples)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(e.stdout, r)
			}
			_, err = fmt.Fprintf(e.stdout, "loss %.6f, perplexity %.4f, %d tokens\n", r.Loss, r.Perplexity, r.Tokens)
			return err
		},
	}
	m.add(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&data, "data", "", "JSONL data file (required)")
	f.IntVar(&seq, "seq", 0, "cut longer lines here; 0 keeps them whole")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// readData reads a data file for the model. A tokenizer is only looked for
// where a line needs one.
func (m *model) readData(path string, seq int) ([]train.Example, error) {
	return train.ReadFile(path, train.ReadOptions{Encoder: tenon.NewEncoder(m.Path), Vocab: m.LM.Vocab(), Seq: seq})
}

// evaluate computes the mean loss over all examples.
func (m *model) evaluate(ctx context.Context, path string, examples []train.Example) (train.Result, error) {
	// Row by row: no time goes into padding, and the memory is that of one line.
	r, err := train.Evaluate(ctx, m.LM, m.Device, examples, 1, m.active())
	if err != nil {
		err = fmt.Errorf("%s: %s: %w", m.Path, path, err)
	}
	return r, err
}
