package cli

import (
	"errors"
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
computes without the adapter what the two did. That is done tensor by tensor, so
that the model need not fit the memory. A base in few bits (4-bit, GGUF) is decoded;
the sum is written in --dtype. The folder --out is replaced as a whole when the
checkpoint is complete.`,
		Example: `  tenon merge --model model --adapter my-adapter --out merged --dtype bf16`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(require(cmd, "model", "adapter", "out"), checkThreads(m.threads)); err != nil {
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
			o := tenon.MergeOptions{DType: dtype, Threads: m.threads}
			if err := tenon.Merge(cmd.Context(), m.model, m.adapter, dir.dir(), o, e.warn); err != nil {
				return err
			}
			return dir.commit()
		},
	}
	f := cmd.Flags()
	m.addPaths(f)
	m.addAdapter(f)
	f.StringVar(&out, "out", "", "folder to write (required)")
	f.StringVar(&dtype, "dtype", "f32", "type of the weights: f32, bf16 or f16")
	return cmd
}
