package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/plan"
	"github.com/tenon-ml/tenon/tensor"
)

func newSynth(e *env) *cobra.Command {
	var config, out string
	var q quantFlags
	var seed uint64
	var threads int
	cmd := &cobra.Command{
		Use:   "synth --config NAME|FILE.json --out DIR",
		Short: "Write a model of random weights of any shape",
		Long: `Write a model of random weights, as a Hugging Face folder without a tokenizer, to
measure speed and memory of a shape whose weights are not at hand. With --quantize
its linear layers go straight into 4 bits, tensor by tensor: the model need not
fit the memory. Norms are 1, biases 0, all else is drawn from N(0, 0.02).

--config takes a config.json, or the name of a known model as plan does; of OpenVLA
it is the language model.`,
		Example: `  tenon synth --config llama2-7b --quantize nf4 --double-quant --out llama2-7b-nf4`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(require(cmd, "config", "out"), checkThreads(threads)); err != nil {
				return err
			}
			var o tensor.QuantOptions
			var err error
			if q.to != "" {
				o, err = q.options("quantize", "nf4", "fp4")
			} else if q.double || q.block != defaultBlock {
				err = usagef("--double-quant and --block want --quantize")
			}
			if err != nil {
				return err
			}
			m, _, err := configured(config)
			if err != nil {
				return err
			}
			var reads []input
			if _, known := plan.Configs[config]; !known {
				reads = append(reads, input{flag: "config", path: config})
			}
			dir, err := newOutDir(out, e.warn, reads...)
			if err != nil {
				return err
			}
			defer dir.discard()
			if err := tenon.Synth(cmd.Context(), m.Config, dir.dir(), seed, threads, o, nil); err != nil {
				return err
			}
			return dir.commit()
		},
	}
	f := cmd.Flags()
	f.StringVar(&config, "config", "", "name of a known model, or a config.json (required)")
	q.add(f, "quantize", "nf4 or fp4: quantise the linear layers, but the output head")
	f.Uint64Var(&seed, "seed", 0, "what is drawn follows from it")
	f.StringVar(&out, "out", "", "folder to write (required)")
	f.IntVar(&threads, "threads", 0, "threads to compute with; 0 is all cores")
	return cmd
}
