package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/bench"
	"github.com/tenon-ml/tenon/tensor"
)

// benchmark is the command bench with its flags.
type benchmark struct {
	modelFlags
	options              bench.Options
	json, markdown, plot string
}

// memoryJob is the job that runs in a process of its own, since the most that a
// process ever held does not go down again.
const memoryJob = "memory"

// randomPath stands where a model's path would.
const randomPath = "random weights of SmolLM2-135M's shape"

func newBench(e *env) *cobra.Command {
	var b benchmark
	jobs := append(slices.Clone(bench.Jobs), memoryJob)
	cmd := &cobra.Command{
		Use:   "bench [--model PATH]",
		Short: "Measure speed and memory beside the machine's limits",
		Long: `Measure prefill, decoding, a LoRA step, matrix products and peak memory, and
the machine's limits in the same run: multiply-adds in registers, and a read of
memory. A sample counts if the multiply-adds around it were as fast as ever and
nobody else used the CPUs; each figure is the median of those that count. The
Markdown table goes to stdout.`,
		Example: `  tenon bench
  tenon bench --model SmolLM2.gguf --jobs limits,decode --threads 2 --json result.json --plot roofline.png`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.check(jobs); err != nil {
				return err
			}
			return b.run(cmd, e)
		},
	}
	f := cmd.Flags()
	b.addBase(f)
	f.Lookup("model").Usage = "Hugging Face folder, .safetensors or .gguf file; without it " + randomPath
	f.StringSliceVar(&b.options.Jobs, "jobs", jobs, "what to measure")
	f.IntVar(&b.options.Tokens, "tokens", 512, "tokens of the prompt, and of a training sequence")
	f.IntVar(&b.options.Generate, "generate", 64, "tokens decoded in a sample")
	f.IntVar(&b.options.Rank, "adapter-rank", 16, "rank of the LoRA step's adapter, on all linear layers")
	f.BoolVar(&b.options.Recompute, "recompute", false, "recompute in the LoRA step's backward pass instead of keeping")
	f.IntVar(&b.options.Samples, "samples", 5, "samples of each figure that must count")
	f.StringVar(&b.json, "json", "", "file to write the report to as JSON; - is stdout, in the place of the table")
	f.StringVar(&b.markdown, "markdown", "", "file to write the table to")
	f.StringVar(&b.plot, "plot", "", "PNG file to draw the roofline into; wants the job limits")
	return cmd
}

func (b *benchmark) check(jobs []string) error {
	if err := b.modelFlags.check(); err != nil {
		return err
	}
	for _, j := range b.options.Jobs {
		if !slices.Contains(jobs, j) {
			return usagef("--jobs has %q, want some of %s", j, strings.Join(jobs, ", "))
		}
	}
	for _, n := range []struct {
		flag        string
		value, most int
	}{{"tokens", b.options.Tokens, 1 << 20}, {"generate", b.options.Generate, 1 << 20}, {"adapter-rank", b.options.Rank, 1 << 12}, {"samples", b.options.Samples, 1 << 10}} {
		if n.value < 1 || n.value > n.most {
			return usagef("--%s is %d, want 1 to %d", n.flag, n.value, n.most)
		}
	}
	if b.plot != "" && !slices.Contains(b.options.Jobs, "limits") {
		return usagef("--plot wants limits among --jobs")
	}
	return nil
}

func (b *benchmark) run(cmd *cobra.Command, e *env) error {
	// Where the results go is looked at before an hour is measured.
	files := map[string]string{"json": b.json, "markdown": b.markdown, "plot": b.plot}
	for flag, given := range files {
		if given == "" || flag == "json" && given == "-" {
			continue
		}
		path, err := fileToWrite(flag, given, input{flag: "model", path: b.model})
		if err != nil {
			return err
		}
		files[flag] = path
	}
	b.options.Progress = func(job string) {
		if isTerminal(e.stderr) {
			fmt.Fprintln(e.stderr, "measuring:", job)
		}
	}
	report, err := b.measure(cmd.Context(), e)
	if err != nil {
		return err
	}
	if slices.Contains(b.options.Jobs, memoryJob) {
		b.options.Progress(memoryJob)
		if err := b.memory(cmd, &report); err != nil {
			return fmt.Errorf("%s: %w", memoryJob, err)
		}
	}
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	return b.write(e, files, &report)
}

// measure runs all jobs but memory.
func (b *benchmark) measure(ctx context.Context, e *env) (report bench.Report, err error) {
	b.options.Path = b.model
	var m *model
	if b.model == "" {
		b.options.Path = randomPath
		dev := tensor.NewCPU(b.threads)
		compute, _ := tensor.ParseCompute(b.compute)
		dev.SetCompute(compute)
		lm, err := bench.RandomModel(bench.SmolLM2, dev)
		if err != nil {
			return report, errors.Join(err, dev.Close())
		}
		m = &model{Model: &tenon.Model{LM: lm, Device: dev}}
	} else if m, err = b.open(e); err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	return bench.Run(ctx, m.LM, m.Device, b.options)
}

// memory lets a process of its own take LoRA steps on the model, and adds what it
// held to the report.
func (b *benchmark) memory(cmd *cobra.Command, report *bench.Report) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"bench", "--jobs=step", "--samples=1", "--json=-"}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if !slices.Contains([]string{"jobs", "samples", "json", "markdown", "plot"}, f.Name) {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	child := exec.CommandContext(cmd.Context(), exe, args...)
	var out, stderr bytes.Buffer
	child.Stdout, child.Stderr = &out, &stderr
	if err := child.Run(); err != nil {
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		return fmt.Errorf("%s %s: %w: %s", exe, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	var r bench.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return fmt.Errorf("%s: its report: %w", exe, err)
	}
	report.AddMemory(&r)
	return nil
}

// write writes the results.
func (b *benchmark) write(e *env, files map[string]string, report *bench.Report) error {
	encoded := func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(report)
	}
	for _, f := range []struct {
		flag  string
		write func(w io.Writer) error
	}{{"json", encoded}, {"markdown", report.Markdown}, {"plot", report.Roofline}} {
		path := files[f.flag]
		if path == "" || f.flag == "json" && path == "-" {
			continue
		}
		if err := replaceFile(path, f.write); err != nil {
			return fmt.Errorf("--%s %q: %w", f.flag, path, plain(err))
		}
	}
	if b.json == "-" {
		return encoded(e.stdout)
	}
	return report.Markdown(e.stdout)
}

// replaceFile writes a file beside path and puts it in its place once it is
// whole: at any moment the old content is there, or all of the new.
func replaceFile(path string, write func(w io.Writer) error) (err error) {
	var text bytes.Buffer
	if err := write(&text); err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d.tmp", filepath.Base(path), os.Getpid()))
	defer func() {
		if err != nil {
			os.Remove(temp)
		}
	}()
	// Not os.CreateTemp: the file shall have the permissions that the umask gives.
	if err := os.WriteFile(temp, text.Bytes(), 0o666); err != nil {
		return err
	}
	if err := syncPath(temp); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
