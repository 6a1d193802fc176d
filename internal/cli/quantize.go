package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

// quantTypes are the types that a model can be quantised to.
var quantTypes = map[string]tensor.DType{"nf4": tensor.NF4, "fp4": tensor.FP4, "q8_0": tensor.Q8_0}

const defaultBlock = 64 // as bitsandbytes

// quantFlags say how a model is quantised.
type quantFlags struct {
	to     string
	block  int
	double bool
	search bool
}

// add adds the flags; the first, the type, is called flag.
func (q *quantFlags) add(f *pflag.FlagSet, flag, usage string) {
	f.StringVar(&q.to, flag, "", usage)
	f.BoolVar(&q.double, "double-quant", false, "quantise the scales of nf4 and fp4 too")
	f.IntVar(&q.block, "block", defaultBlock, "elements of nf4 and fp4 that share a scale")
}

// options returns what the flags say; the type must be one of types.
func (q *quantFlags) options(flag string, types ...string) (o tensor.QuantOptions, err error) {
	for _, t := range types {
		if t == q.to {
			o.DType = quantTypes[t]
		}
	}
	if o.DType == tensor.Invalid {
		return o, usagef("--%s is %q, want %s", flag, q.to, strings.Join(types, ", "))
	}
	if q.block < 32 || q.block > 4096 || q.block&(q.block-1) != 0 {
		return o, usagef("--block is %d, want a power of two from 32 to 4096", q.block)
	}
	if o.DType == tensor.Q8_0 && q.double {
		return o, usagef("--double-quant has no meaning with %s", q.to)
	}
	o.Block, o.Double, o.SearchAbsmax = q.block, q.double, q.search
	return o, nil
}

// quantized is what `quantize --json` prints.
type quantized struct {
	Out    string             `json:"out"`
	To     string             `json:"to"`
	Block  int                `json:"block"`
	Double bool               `json:"double_quant"`
	Search bool               `json:"search_absmax"`
	RelRMS float64            `json:"rel_rms"` // of all weights together
	Max    float64            `json:"max"`
	Layers []tenon.QuantError `json:"layers"`

	// The loss on a text without the error, and with it.
	Before *train.Result `json:"eval_before,omitempty"`
	After  *train.Result `json:"eval_after,omitempty"`

	total tenon.QuantError
}

// report returns what is called with the error of each weight.
func (q *quantized) report(e *env, asJSON bool) func(tenon.QuantError) {
	return func(r tenon.QuantError) {
		q.total.Add(r)
		q.Layers = append(q.Layers, r)
		if !asJSON {
			fmt.Fprintf(e.stdout, "%-56s relative RMS %.5f, largest %.3g\n", r.Name, r.RelRMS, r.Max)
		}
	}
}

// print prints what all came to.
func (q *quantized) print(e *env, asJSON bool) error {
	if q.RelRMS, q.Max = q.total.RelRMS, q.total.Max; asJSON {
		return writeJSON(e.stdout, q)
	}
	_, err := fmt.Fprintf(e.stdout, "%d weights together: relative RMS %.5f, largest %.3g\n", len(q.Layers), q.RelRMS, q.Max)
	if q.Before != nil && err == nil {
		_, err = fmt.Fprintf(e.stdout, "loss %.6f, was %.6f before the weights were quantised (%d tokens)\n", q.After.Loss, q.Before.Loss, q.After.Tokens)
	}
	return err
}

func newQuantize(e *env) *cobra.Command {
	var model, out string
	var q quantFlags
	var threads int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "quantize --model PATH --to nf4|fp4 --out DIR",
		Short: "Write a model with its weights in 4 bits, as bitsandbytes does",
		Long: `Write a model with the weights of its linear layers in 4 bits: a Hugging Face
folder that transformers loads with bitsandbytes, and tenon as it is. The output
head, embeddings, norms and biases keep their type. It goes tensor by tensor, so
that the model need not fit the memory, and prints what it did to each weight:
the root of the mean square of the error, relative to the weight's, and the
largest error. The folder --out is replaced as a whole when it is complete.

--search-absmax chooses the scale of each block by its squared error, not by its
largest element: a smaller error in a form that everybody reads. Measure whether
it is the better model: clipped weights may cost more than the error says.`,
		Example: `  tenon quantize --model model --to nf4 --double-quant --out model-nf4`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(require(cmd, "model", "to", "out"), checkThreads(threads)); err != nil {
				return err
			}
			o, err := q.options("to", "nf4", "fp4")
			if err != nil {
				return err
			}
			dir, err := newOutDir(out, e.warn, input{flag: "model", path: model})
			if err != nil {
				return err
			}
			defer dir.discard()
			all := quantized{Out: out, To: q.to, Block: o.Block, Double: o.Double, Search: o.SearchAbsmax}
			if err := tenon.Quantize(cmd.Context(), model, dir.dir(), threads, o, all.report(e, asJSON), e.warn); err != nil {
				return err
			}
			if err := dir.commit(); err != nil {
				return err
			}
			return all.print(e, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&model, "model", "", "Hugging Face folder, .safetensors or .gguf file (required)")
	q.add(f, "to", "nf4 or fp4 (required)")
	f.BoolVar(&q.search, "search-absmax", false, "choose each block's scale by its error")
	f.StringVar(&out, "out", "", "folder to write (required)")
	f.IntVar(&threads, "threads", 0, "threads to compute with; 0 is all cores")
	f.BoolVar(&asJSON, "json", false, "print one JSON object at the end")
	return cmd
}
