package cli

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

func newLogits(e *env) *cobra.Command {
	var m modelFlags
	var tokens, out string
	cmd := &cobra.Command{
		Use:   "logits --model PATH --tokens IDS --out FILE.safetensors",
		Short: "Write the logits of a sequence of tokens to a file",
		Long: `Write what the model predicts at each position of a sequence of tokens: tensor
"logits", F32 [tokens, vocabulary], computed in F32 whatever the stored
type, unless --compute says otherwise. No tokenizer is needed.`,
		Example: `  tenon logits --model model --adapter my-adapter --tokens 1,2,3 --out logits.safetensors`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := errors.Join(require(cmd, "model", "tokens", "out"), m.check()); err != nil {
				return err
			}
			ids, err := parseIDs(tokens)
			if err == nil && len(ids) == 0 {
				err = errors.New("want token ids such as 1,2,3")
			}
			if err != nil {
				return usagef("--tokens: %w", err)
			}
			path, err := outFile(out, input{flag: "model", path: m.model}, input{flag: "adapter", path: m.adapter})
			if err != nil {
				return err
			}
			model, err := m.open(e)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, model.close()) }()
			logits, err := model.logits(cmd.Context(), ids)
			if err != nil {
				return err
			}
			entry := safetensors.FromFloats("logits", tensor.F32, []int{len(ids), model.LM.Vocab()}, logits)
			return safetensors.Write(path, []safetensors.Entry{entry}, nil)
		},
	}
	m.add(cmd.Flags())
	cmd.Flags().StringVar(&tokens, "tokens", "", "token ids, such as 1,2,3 (required)")
	cmd.Flags().StringVar(&out, "out", "", "file to write (required)")
	return cmd
}

// checkIDs reports ids that the model has no embedding for.
func (m *model) checkIDs(ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= m.LM.Vocab() {
			return fmt.Errorf("%s: token %d is id %d, want 0 to %d", m.Path, i, id, m.LM.Vocab()-1)
		}
	}
	return nil
}

// logits computes the logits [T, V] of one sequence.
func (m *model) logits(ctx context.Context, ids []int32) ([]float32, error) {
	if err := errors.Join(m.checkIDs(ids), ctx.Err()); err != nil {
		return nil, err
	}
	arena := tensor.NewArena(m.Device)
	defer arena.Close()
	var out []float32
	err := tensor.Try(func() error {
		s := &nn.Step{Tape: autograd.NoGrad(arena), B: 1, T: len(ids), Adapter: m.active()}
		out = nn.Logits(m.LM, s, ids).T.F32s()
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, v := range out {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, m.NotFinite("logits are")
		}
	}
	return out, nil
}
