package cli

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

func newMerge(e *env) *cobra.Command {
	var m modelFlags
	var out, dtype, eval string
	var q quantFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "merge --model PATH --adapter DIR --out DIR",
		Short: "Add an adapter to its model's weights",
		Long: `Add an adapter to its model's weights and write a Hugging Face checkpoint, which
computes without the adapter what the two did. That is done tensor by tensor, so
that the model need not fit the memory. A base in few bits (4-bit, GGUF) is decoded;
the sum is written in --dtype. The folder --out is replaced as a whole when the
checkpoint is complete.

--requantize encodes the sum again and prints what that did to each weight, and with
--eval to the loss on a text: in nf4 or fp4 for bitsandbytes, where other tensors
keep their type unless --dtype is given, or in q8_0, for a GGUF file, into a GGUF
file (OUT/model.Q8_0.gguf) in which what the adapter does not change is as it was.
The error is about as large as the one that quantising the base made, and may be
larger than what was trained: keep the adapter beside its base where that matters.`,
		Example: `  tenon merge --model model --adapter my-adapter --out merged --dtype bf16
  tenon merge --model model-nf4 --adapter my-adapter --out merged-nf4 --requantize nf4 --eval held-out.jsonl`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(require(cmd, "model", "adapter", "out"), checkThreads(m.threads)); err != nil {
				return err
			}
			if _, ok := tenon.StoredTypes[dtype]; !ok {
				return usagef("--dtype is %q, want one of %s", dtype, strings.Join(slices.Sorted(maps.Keys(tenon.StoredTypes)), ", "))
			}
			o := tenon.MergeOptions{DType: dtype, Threads: m.threads}
			given := cmd.Flags().Changed
			if given("requantize") {
				var err error
				if o.Requantize, err = q.options("requantize", "nf4", "fp4", "q8_0"); err != nil {
					return err
				}
				if !given("dtype") {
					o.DType = ""
				} else if o.Requantize.DType == tensor.Q8_0 {
					return usagef("--dtype has no meaning with --requantize q8_0")
				}
			} else {
				for _, f := range []string{"double-quant", "block", "eval", "json"} {
					if given(f) {
						return usagef("--%s has no meaning without --requantize", f)
					}
				}
			}
			dir, err := newOutDir(out, e.warn, input{flag: "model", path: m.model}, input{flag: "adapter", path: m.adapter}, input{flag: "eval", path: eval})
			if err != nil {
				return err
			}
			defer dir.discard()
			all := quantized{Out: out, To: q.to, Block: o.Requantize.Block, Double: o.Requantize.Double}
			if eval != "" { // first, since it finds a wrong file
				if all.Before, err = lossOf(cmd.Context(), e, m, eval); err != nil {
					return err
				}
			}
			o.Report = all.report(e, asJSON)
			if err := tenon.Merge(cmd.Context(), m.model, m.adapter, dir.dir(), o, e.warn); err != nil {
				return err
			}
			if eval != "" {
				merged := dir.dir()
				if o.Requantize.DType == tensor.Q8_0 {
					merged = filepath.Join(merged, tenon.MergedGGUF)
				}
				if all.After, err = lossOf(cmd.Context(), e, modelFlags{model: merged, threads: m.threads}, eval); err != nil {
					return err
				}
			}
			if err := dir.commit(); err != nil || o.Requantize.DType == tensor.Invalid {
				return err
			}
			return all.print(e, asJSON)
		},
	}
	f := cmd.Flags()
	m.addPaths(f)
	m.addAdapter(f)
	f.StringVar(&out, "out", "", "folder to write (required)")
	f.StringVar(&dtype, "dtype", "f32", "type of the weights: f32, bf16 or f16")
	q.add(f, "requantize", "write the weights of linear layers in few bits: nf4, fp4, or q8_0 for a GGUF file")
	f.StringVar(&eval, "eval", "", "JSONL file to measure the loss on, before and after --requantize")
	f.BoolVar(&asJSON, "json", false, "with --requantize: print one JSON object at the end")
	return cmd
}

// lossOf measures a model's loss on a data file.
func lossOf(ctx context.Context, e *env, m modelFlags, data string) (_ *train.Result, err error) {
	model, err := m.load(e, tenon.Options{Threads: m.threads})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, model.close()) }()
	examples, err := model.readData(data, 0)
	if err != nil {
		return nil, err
	}
	r, err := model.evaluate(ctx, data, examples)
	return &r, err
}
