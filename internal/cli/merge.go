package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon"
)

func newMerge(e *env) *cobra.Command {
	var m modelFlags
	var out, dtype string
	cmd := &cobra.Command{
		Use:   "merge --model PATH --adapter DIR --out DIR",
		Short: "Add an adapter to its model's weights",
		Long: `Add an adapter to its model's weights and write a Hugging Face checkpoint, which
computes without the adapter what the two did. The folder --out is replaced as a
whole when the checkpoint is complete.`,
		Example: `  tenon merge --model model --adapter my-adapter --out merged --dtype bf16`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := errors.Join(require(cmd, "model", "adapter", "out"), m.check()); err != nil {
				return err
			}
			if _, ok := tenon.StoredTypes[dtype]; !ok {
				return usagef("--dtype is %q, want one of %s", dtype, strings.Join(slices.Sorted(maps.Keys(tenon.StoredTypes)), ", "))
			}
			dir, err := newOutDir(out, e.warn, input{flag: "model", path: m.model}, input{flag: "adapter", path: m.adapter})
			if err != nil {
				return err
			}
			defer dir.discard()
			model, err := m.open(e)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, model.close()) }()
			if err := model.adapter.Merge(); err != nil {
				return fmt.Errorf("%s: %w", m.adapter, err)
			}
			if err := errors.Join(model.SaveCheckpoint(dir.dir(), dtype, e.warn), cmd.Context().Err()); err != nil {
				return err
			}
			return dir.commit()
		},
	}
	m.add(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "folder to write (required)")
	f.StringVar(&dtype, "dtype", "f32", "type of the weights: f32, bf16 or f16")
	return cmd
}
