package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/internal/machine"
	"github.com/tenon-ml/tenon/internal/mapped"
	"github.com/tenon-ml/tenon/plan"
)

// planned is the command plan with its flags.
type planned struct {
	config, model string
	weights       string
	adapter       adapterFlags
	options       plan.Options
	threads       int
	json          bool
	plot          string
}

func newPlan(e *env) *cobra.Command {
	var c planned
	cmd := &cobra.Command{
		Use:   "plan --config NAME|FILE.json | --model PATH",
		Short: "Tell the memory and the time that fine-tuning takes, before anything runs",
		Long: `Tell what a training run takes: parameters, memory, time by this machine's
measured limits, and the size of the adapter; by the chosen method and, side by
side, by the others. Weights are not read: a model's files tell by their headers,
and a config.json is enough.

--config takes the name of a known model, ` + strings.Join(planNames(), ", ") + `,
or a config.json. GB are 10⁹ bytes.`,
		Example: `  tenon plan --config llama2-7b --quantize nf4 --double-quant --rank 16 --targets all-linear --seq 256 --recompute
  tenon plan --model SmolLM2.gguf --method full --json
  tenon plan --config openvla-7b --rank 32 --robots 100`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.check(cmd); err != nil {
				return err
			}
			return c.run(e)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.config, "config", "", "name of a known model, or a config.json")
	f.StringVar(&c.model, "model", "", "Hugging Face folder, .safetensors or .gguf file")
	f.StringVar(&c.weights, "weights", weightsStored, "hold the model's matrices as the file stores them, or decoded: stored or f32")
	f.StringVar(&c.options.Method, "method", "lora", "one of "+strings.Join(plan.Methods, ", "))
	c.adapter.add(f, &c.options.LoRA)
	f.IntVar(&c.options.VirtualTokens, "virtual-tokens", 0, "virtual tokens of prompts and prefixes")
	f.StringVar(&c.options.Quantize, "quantize", "", "quantise the base: nf4, fp4 or q8_0")
	f.IntVar(&c.options.Block, "block", defaultBlock, "elements of nf4 and fp4 that share a scale")
	f.BoolVar(&c.options.Double, "double-quant", false, "quantise the scales of nf4 and fp4 too")
	f.IntVar(&c.options.Batch, "batch", 1, "lines of a batch")
	f.IntVar(&c.options.Accumulate, "accumulate", 1, "batches of a step")
	f.IntVar(&c.options.Seq, "seq", 512, "tokens of a line")
	f.BoolVar(&c.options.Recompute, "recompute", false, "keep less for the backward pass and compute it again")
	f.StringVar(&c.options.Optimizer, "optim", "adamw", "one of "+strings.Join(plan.Optimizers, ", "))
	f.IntVar(&c.options.Robots, "robots", 0, "compare adapters for so many robots on one base with a copy of the model for each")
	f.IntVar(&c.threads, "threads", 0, "threads that would compute; 0 is all cores")
	f.BoolVar(&c.json, "json", false, "print one JSON object")
	f.StringVar(&c.plot, "plot", "", "PNG file to draw the methods' memory into")
	return cmd
}

// planNames are the names of the known models.
func planNames() []string {
	var names []string
	for name := range plan.Configs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (c *planned) check(cmd *cobra.Command) error {
	err := errors.Join(exactlyOne(cmd, "config", "model"), checkThreads(c.threads), checkWeights(c.weights))
	for _, n := range []struct {
		flag    string
		v, from int
	}{
		{"batch", c.options.Batch, 1}, {"accumulate", c.options.Accumulate, 1}, {"seq", c.options.Seq, 1},
		{"virtual-tokens", c.options.VirtualTokens, 0}, {"robots", c.options.Robots, 0},
	} {
		if n.v < n.from {
			err = errors.Join(err, usagef("--%s is %d, want %d or more", n.flag, n.v, n.from))
		}
	}
	if !slices.Contains(plan.Methods, c.options.Method) {
		err = errors.Join(err, usagef("--method is %q, want one of %s", c.options.Method, strings.Join(plan.Methods, ", ")))
	}
	if !slices.Contains(plan.Optimizers, c.options.Optimizer) {
		err = errors.Join(err, usagef("--optim is %q, want one of %s", c.options.Optimizer, strings.Join(plan.Optimizers, ", ")))
	}
	if err != nil {
		return err
	}
	c.options.F32 = c.weights == weightsF32
	l := &c.options.LoRA
	l.Alpha = 1 // which costs nothing
	return errors.Join(c.adapter.parse(cmd.Flags(), l), inUsage(l.Check()))
}

// open returns the model to plan and what it is called.
func (c *planned) open() (m *plan.Model, name string, err error) {
	if c.model != "" {
		m, err := outlined(c.model, &c.options)
		return m, c.model, err
	}
	return configured(c.config)
}

// configured returns the shapes of a known model or of a config.json, and what it is called.
func configured(config string) (*plan.Model, string, error) {
	if text, ok := plan.Configs[config]; ok {
		m, err := plan.ParseModel([]byte(text))
		return m, config, err
	}
	data, err := mapped.ReadFile(config, 1<<24)
	if errors.Is(err, os.ErrNotExist) && !strings.ContainsAny(config, "./") {
		return nil, "", usagef("--config is %q, want a config.json or one of %s", config, strings.Join(planNames(), ", "))
	}
	if err != nil {
		return nil, "", err
	}
	m, err := plan.ParseModel(data)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", config, err)
	}
	return m, config, nil
}

// outlined returns the shapes of a model by its files' headers. If it is quantised, the
// options say so.
func outlined(path string, options *plan.Options) (*plan.Model, error) {
	o, err := tenon.ReadOutline(path)
	if err != nil {
		return nil, err
	}
	if o.Quantized != "" && !options.F32 && options.Method != "full" {
		options.Quantize, options.Block, options.Double = o.Quantized, o.Block, o.Double
	}
	return plan.Held(o.Config, o.Held), nil
}

func (c *planned) run(e *env) error {
	if c.plot != "" {
		path, err := fileToWrite("plot", c.plot, input{flag: "model", path: c.model}, input{flag: "config", path: c.config})
		if err != nil {
			return err
		}
		c.plot = path
	}
	m, name, err := c.open()
	if err != nil {
		return err
	}
	const measured = 200 * time.Millisecond
	limits := machine.Measure(c.threads, measured)
	c.options.Limits = plan.Limits{FMA: limits.FMA, Read: limits.Read}
	p, err := plan.New(m, c.options)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var rows []plan.Row
	if !c.json || c.plot != "" {
		rows = plan.Compare(m, c.options)
	}
	if c.plot != "" {
		if err := planPlot(c.plot, name, rows); err != nil {
			return err
		}
	}
	if c.json {
		return writeJSON(e.stdout, p)
	}
	w := bufio.NewWriter(e.stdout)
	fmt.Fprintf(w, "%s: %s\n\n", name, described(c.options))
	printParameters(w, p)
	printMemory(w, p, c.options)
	fmt.Fprintf(w, "\na step           %s FLOP, forward %s; %s or more on this machine (%.0f GFLOP/s, %.0f GB/s read, %d threads)\n",
		bigText(float64(p.FLOPs.Step)), bigText(float64(p.FLOPs.Forward)), secondsText(p.Seconds), limits.FMA/1e9, limits.Read/1e9, limits.Threads)
	printRows(w, rows)
	if p.Robots != nil {
		printRobots(w, p, limits.Read)
	}
	return w.Flush()
}

// described says in a line what is planned.
func described(o plan.Options) string {
	s := o.Method
	if o.Method != "full" {
		s += fmt.Sprintf(", rank %d", o.LoRA.Rank)
	}
	if o.Quantize != "" {
		s += ", base in " + o.Quantize
		if o.Double {
			s += " with double quantisation"
		}
	}
	s += fmt.Sprintf(", %d × %d tokens", o.Batch, o.Seq)
	if o.Accumulate > 1 {
		s += fmt.Sprintf(" × %d batches", o.Accumulate)
	}
	if o.Recompute {
		s += " with recomputation"
	}
	return s + ", " + o.Optimizer
}

func printParameters(w io.Writer, p *plan.Plan) {
	fmt.Fprintf(w, "parameters       %s:", countText(p.Parameters.Total))
	for i, part := range []struct {
		name string
		n    int64
	}{
		{"embedding", p.Parameters.Embedding}, {"attention", p.Parameters.Attention}, {"mlp", p.Parameters.MLP}, {"norm", p.Parameters.Norm},
		{"head", p.Parameters.Head}, {"vision", p.Parameters.Vision}, {"projector", p.Parameters.Projector},
	} {
		if part.n > 0 {
			fmt.Fprintf(w, "%s %s %s", map[bool]string{true: "", false: ","}[i == 0], part.name, countText(part.n))
		}
	}
	fmt.Fprintf(w, "\ntrained          %d (%.4g %%) in %d tensors\n", p.Trainable.Parameters, 100*p.Trainable.Share, p.Trainable.Tensors)
}

// printMemory writes what the memory of a step is made of.
func printMemory(w io.Writer, p *plan.Plan, o plan.Options) {
	line := func(what string, n int64, of string) { fmt.Fprintf(w, "%-16s %10s  %s\n", what, gigabytes(n), of) }
	of := fmt.Sprintf("%s in %s", countText(p.Weights.Kept.Parameters), p.Weights.Kept.DType)
	if q := p.Weights.Quantized; q != nil {
		of = fmt.Sprintf("%s in %s: codes %s, scales %s; %s in %s: %s",
			countText(q.Parameters), o.Quantize, gigabytes(q.Codes), gigabytes(q.Statistics), countText(p.Weights.Kept.Parameters), p.Weights.Kept.DType, gigabytes(p.Weights.Kept.Bytes))
	}
	line("weights", p.Weights.Bytes, of)
	if p.Adapter > 0 {
		line("adapter", p.Adapter, "f32; its file "+gigabytes(p.AdapterFile))
	}
	line("gradients", p.Gradients, "f32")
	line("optimizer", p.Optimizer, o.Optimizer)
	kept := "kept for the backward pass"
	if o.Recompute {
		kept = "with recomputation"
	}
	line("activations", p.Activations, kept)
	line("in all", p.Total, "")
}

func printRows(w io.Writer, rows []plan.Row) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "method\ttrained\tweights\tadapter\tgradients\toptimizer\tactivations\tin all\tfile\ta step\t")
	for _, r := range rows {
		p := r.Plan
		file := "–"
		if p.AdapterFile > 0 {
			file = gigabytes(p.AdapterFile)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.Name, countText(p.Trainable.Parameters), gigabytes(p.Weights.Bytes), gigabytes(p.Adapter),
			gigabytes(p.Gradients), gigabytes(p.Optimizer), gigabytes(p.Activations), gigabytes(p.Total), file, secondsText(p.Seconds))
	}
	t.Flush() // an error of the writer below is kept there
}

func printRobots(w io.Writer, p *plan.Plan, read float64) {
	r := p.Robots
	n := int64(r.N)
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%d robots\tone base, an adapter each\ta model each\n", r.N)
	fmt.Fprintf(t, "storage\t%s\t%s\n", gigabytes(r.Adapters), gigabytes(r.Copies))
	fmt.Fprintf(t, "memory for all\t%s\t%s\n", gigabytes(p.Weights.Bytes+n*p.Adapter), gigabytes(n*p.Weights.Bytes))
	fmt.Fprintf(t, "to switch\tnothing, or %s to read the adapter\t%s to read a model\n",
		secondsText(float64(p.AdapterFile)/read), secondsText(float64(p.Weights.Bytes)/read))
	t.Flush()
}

// gigabytes spells a size in decimal units.
func gigabytes(n int64) string {
	f, i := float64(n), 0
	for ; f >= 999.5 && i < 4; i++ {
		f /= 1000
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	digits := 2 - int(math.Floor(math.Log10(f*1.0005)))
	return strconv.FormatFloat(f, 'f', digits, 64) + " " + []string{"", "kB", "MB", "GB", "TB"}[i]
}

// bigText spells a number of operations: 6.85 T and the like.
func bigText(f float64) string {
	i := 0
	for ; f >= 999.5 && i < 5; i++ {
		f /= 1000
	}
	return strings.TrimSpace(fmt.Sprintf("%.3g %s", f, []string{"", "k", "M", "G", "T", "P"}[i]))
}

func secondsText(s float64) string {
	return time.Duration(s * 1e9).Round(time.Duration(math.Pow10(max(0, int(math.Floor(math.Log10(max(s, 1e-9)*1e9))-2))))).String()
}

// parseSize reads a size in bytes: 6GB, 500MB, 1.5TB, powers of 1000, or 6GiB, powers of
// 1024.
func parseSize(s string) (int64, error) {
	number, unit := strings.TrimRight(s, "kKMGTiB"), 1.0
	switch strings.ToUpper(s[len(number):]) {
	case "B", "":
	case "KB", "K":
		unit = 1e3
	case "MB", "M":
		unit = 1e6
	case "GB", "G":
		unit = 1e9
	case "TB", "T":
		unit = 1e12
	case "KIB":
		unit = 1 << 10
	case "MIB":
		unit = 1 << 20
	case "GIB":
		unit = 1 << 30
	case "TIB":
		unit = 1 << 40
	default:
		number = ""
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !(v*unit >= 1) || v*unit > 1<<60 {
		return 0, fmt.Errorf("%q is no size such as 6GB or 500MB", s)
	}
	return int64(v * unit), nil
}
