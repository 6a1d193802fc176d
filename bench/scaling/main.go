// Command scaling measures how the cost of a LoRA step and of a decoded token grows,
// on one and on two threads, and draws it beside what the work predicts: useful
// floating-point operations, or bytes read, times one constant that is fitted.
//
//	go run ./bench/scaling -out docs/performance
//
// The model has SmolLM2-135M's shape with 10 layers, where nothing else is said, and
// random weights in F32.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image/color"
	"log"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/tenon-ml/tenon/bench"
	"github.com/tenon-ml/tenon/internal/machine"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

const (
	layers = 10
	tokens = 256
	rank   = 16
)

// A sweep is one thing that grows.
type sweep struct {
	name   string // and of the file
	x      string // the axis
	values []int
	// cost measures one value on a device, in seconds, and says how much work it is.
	cost func(s *sampler, dev *tensor.CPU, x int) (seconds, work float64, err error)
}

var sweeps = []sweep{
	{"tokens", "tokens of a LoRA step's sequence", []int{64, 128, 256, 512, 1024}, func(s *sampler, dev *tensor.CPU, x int) (float64, float64, error) {
		return s.step(dev, layers, x, rank)
	}},
	{"rank", "rank of a LoRA step's adapter", []int{4, 16, 32, 64, 128}, func(s *sampler, dev *tensor.CPU, x int) (float64, float64, error) {
		return s.step(dev, layers, tokens, x)
	}},
	{"layers", "layers of the model in a LoRA step", []int{2, 5, 10, 20, 30}, func(s *sampler, dev *tensor.CPU, x int) (float64, float64, error) {
		return s.step(dev, x, tokens, rank)
	}},
	{"context", "tokens in the cache of a decoded token", []int{16, 512, 1024, 2048, 4096}, (*sampler).decode},
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("scaling: ")
	var names []string
	for _, s := range sweeps {
		names = append(names, s.name)
	}
	out := flag.String("out", ".", "folder for the plots")
	only := flag.String("only", strings.Join(names, ","), "what is to grow")
	samples := flag.Int("samples", 3, "samples of each point that must count")
	threads := flag.Int("threads", 2, "most threads")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, w := range sweeps {
		if slices.Contains(strings.Split(*only, ","), w.name) {
			if err := run(ctx, w, *out, *samples, *threads); err != nil {
				log.Fatal(w.name, ": ", err)
			}
		}
	}
}

// line is what was measured on a number of threads.
type line struct {
	threads         int
	seconds, work   []float64
	perWork, spread float64 // seconds a unit of work, and the largest deviation from it
}

func run(ctx context.Context, w sweep, folder string, samples, threads int) error {
	var lines []line
	for t := 1; t <= threads; t++ {
		l := line{threads: t}
		undo, err := machine.Confine(t)
		if err != nil {
			return err
		}
		dev := tensor.NewCPU(t)
		s := &sampler{ctx: ctx, Sampler: bench.Sampler{Clock: machine.Clock{Threads: t, Best: machine.FMA(t, 100e6)}, Wanted: samples}}
		for _, x := range w.values {
			seconds, work, err := w.cost(s, dev, x)
			if err != nil {
				return err
			}
			l.seconds, l.work = append(l.seconds, seconds), append(l.work, work)
		}
		undo()
		if err := dev.Close(); err != nil {
			return err
		}
		l.fit()
		lines = append(lines, l)
	}
	fmt.Printf("| %s |", w.x)
	for _, l := range lines {
		fmt.Printf(" %d threads, ms | of the fit |", l.threads)
	}
	fmt.Printf("\n|---|%s\n", strings.Repeat("---|---|", len(lines)))
	for i, x := range w.values {
		fmt.Printf("| %d |", x)
		for _, l := range lines {
			fmt.Printf(" %.1f | %.2f |", 1e3*l.seconds[i], l.seconds[i]/l.work[i]/l.perWork)
		}
		fmt.Println()
	}
	return draws(w, lines, filepath.Join(folder, "scaling-"+w.name+".png"))
}

// fit sets the constant that leaves the least sum of squares of relative deviations.
func (l *line) fit() {
	var up, down float64
	for i, s := range l.seconds {
		r := l.work[i] / s
		up, down = up+r, down+r*r
	}
	l.perWork = up / down
	for i, s := range l.seconds {
		l.spread = max(l.spread, math.Abs(s/l.work[i]/l.perWork-1))
	}
}

// sampler takes the samples of a point.
type sampler struct {
	ctx context.Context
	bench.Sampler
}

// model returns a model of SmolLM2's shape with so many layers.
func model(dev *tensor.CPU, n int) (*llama.Model, error) {
	return bench.RandomModel(strings.Replace(bench.SmolLM2, `"num_hidden_layers": 30`, fmt.Sprintf(`"num_hidden_layers": %d`, n), 1), dev)
}

func ids(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32((7*i + 3) % 49152)
	}
	return out
}

func (s *sampler) step(dev *tensor.CPU, layers, tokens, rank int) (seconds, work float64, err error) {
	m, err := model(dev, layers)
	if err != nil {
		return 0, 0, err
	}
	defer nn.Release(m)
	step, err := bench.NewStep(m, dev, rank, ids(tokens))
	if err != nil {
		return 0, 0, err
	}
	defer step.Release()
	seconds, err = s.Steps(s.ctx, step)
	return seconds, step.FLOP(), err
}

func (s *sampler) decode(dev *tensor.CPU, context int) (seconds, work float64, err error) {
	m, err := model(dev, layers)
	if err != nil {
		return 0, 0, err
	}
	defer nn.Release(m)
	const n = 32
	seconds, err = s.Median(s.ctx, func() (float64, error) {
		var t nn.Timing
		for _, err := range nn.Generate(s.ctx, m, dev, nn.Request{Prompt: ids(context), MaxTokens: n + 1}, &t) {
			if err != nil {
				return 0, err
			}
		}
		return t.Tokens.Seconds() / n, nil
	})
	c := m.Config
	cache := 4 * 2 * c.NumKeyValueHeads * c.HeadDim * c.NumHiddenLayers * (context + n/2)
	return seconds, float64(bench.TokenBytes(m) + cache), err
}

// draws draws the lines with their fits.
func draws(w sweep, lines []line, path string) error {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = w.x, "ms"
	p.Add(plotter.NewGrid())
	p.Legend.Top, p.Legend.Left = true, true
	for i, l := range lines {
		points, fit := make(plotter.XYs, len(w.values)), make(plotter.XYs, len(w.values))
		for j, x := range w.values {
			points[j] = plotter.XY{X: float64(x), Y: 1e3 * l.seconds[j]}
			fit[j] = plotter.XY{X: float64(x), Y: 1e3 * l.perWork * l.work[j]}
		}
		s, err := plotter.NewScatter(points)
		if err != nil {
			return err
		}
		f, err := plotter.NewLine(fit)
		if err != nil {
			return err
		}
		c := []color.Color{color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}, color.RGBA{R: 0xd6, G: 0x27, B: 0x28, A: 0xff}}[i%2]
		s.Color, s.Shape, s.Radius, f.Color = c, draw.CircleGlyph{}, vg.Points(3), c
		p.Add(f, s)
		p.Legend.Add(fmt.Sprintf("%d threads; line: what the work predicts", l.threads), s)
	}
	p.X.Min, p.Y.Min = 0, 0
	out, err := p.WriterTo(14*vg.Centimeter, 8*vg.Centimeter, "png")
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := out.WriteTo(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o666)
}
