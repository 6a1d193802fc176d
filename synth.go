package tenon

import (
	"context"
	"errors"
	"hash/fnv"
	"io"
	"math"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

// Synth writes a checkpoint of a configuration with random weights, as a Hugging Face
// folder without a tokenizer, to measure models of a shape whose weights are not at
// hand: norms are 1, biases 0, and all else is drawn from N(0, 0.02) by the seed. Linear
// layers, but the output head, are quantised if o has a type, NF4 or FP4; the other
// tensors have the configuration's type. It goes tensor by tensor, as Quantize does.
func Synth(ctx context.Context, c llama.Config, out string, seed uint64, threads int, o tensor.QuantOptions, report func(QuantError)) error {
	dev := tensor.NewCPU(threads)
	return errors.Join(synth(ctx, dev, c, out, seed, o, report), dev.Close())
}

func synth(ctx context.Context, dev *tensor.CPU, c llama.Config, out string, seed uint64, o tensor.QuantOptions, report func(QuantError)) error {
	lm := llama.New(c)
	names := map[*autograd.Value]string{}
	largest := 0
	for name, p := range nn.Params(lm) {
		names[p] = name
		largest = max(largest, p.T.Elems())
	}
	draw := newDrawer()
	return tensor.Try(func() error {
		work := tensor.New(dev, tensor.F32, largest)
		defer work.Release()
		contents := func(p *autograd.Value) (*tensor.Tensor, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			w := work.Slice(0, p.T.Elems()).Reshape(p.Shape()...)
			switch {
			case len(p.Shape()) > 1:
				draw.fill(w.F32(), seed, names[p], dev.Threads())
			case strings.HasSuffix(names[p], ".bias"):
				clear(w.F32())
			default:
				w.Fill(1)
			}
			return w, nil
		}
		torch := torchName(c)
		f := form{torch: torch, quant: o, report: report, dtype: func(string) tensor.DType { return torchTypes[torch] }}
		m := newModel(out, lm, dev)
		if err := m.writeWeights(out, f, lm.Tied(), contents); err != nil {
			return err
		}
		return m.writeConfig(out, f, lm.Tied())
	})
}

// torchTypes are the types by their names in config.json.
var torchTypes = func() map[string]tensor.DType {
	out := map[string]tensor.DType{}
	for dt, name := range torchNames {
		out[name] = dt
	}
	return out
}()

// drawer draws from N(0, 0.02): each number is one of the 65,536 quantiles of the
// middles of as many equal parts, so that a draw is a look-up.
type drawer struct{ quantiles []float32 }

func newDrawer() drawer {
	d := drawer{make([]float32, 1<<16)}
	for i := range d.quantiles {
		p := (float64(i) + 0.5) / float64(len(d.quantiles))
		d.quantiles[i] = float32(0.02 * math.Sqrt2 * math.Erfinv(2*p-1))
	}
	return d
}

// drawPiece is the number of elements that are drawn from one state.
const drawPiece = 1 << 16

// fill draws a tensor: by the seed and its name alone, whatever the number of threads.
func (d drawer) fill(x []float32, seed uint64, name string, threads int) {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name) // a hash takes all
	first := seed*0x9E3779B97F4A7C15 ^ h.Sum64()
	pieces := (len(x) + drawPiece - 1) / drawPiece
	var wait sync.WaitGroup
	for t := range threads {
		wait.Go(func() {
			for i := t; i < pieces; i += threads {
				d.piece(x[i*drawPiece:min((i+1)*drawPiece, len(x))], first+uint64(i)*drawPiece*0x9E3779B97F4A7C15)
			}
		})
	}
	wait.Wait()
}

// piece draws by SplitMix64, four numbers from each of its own.
func (d drawer) piece(x []float32, state uint64) {
	for i := 0; i < len(x); i += 4 {
		state += 0x9E3779B97F4A7C15
		z := (state ^ state>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		z ^= z >> 31
		for j := i; j < min(i+4, len(x)); j++ {
			x[j] = d.quantiles[uint16(z)]
			z >>= 16
		}
	}
}
