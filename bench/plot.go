package bench

import (
	"errors"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Roofline draws what was measured below the machine's limits, as a PNG: each
// result by how much it computes a byte that it must read, and how fast.
func (r *Report) Roofline(w io.Writer) error {
	if r.Limits.FMA == 0 {
		return errors.New("a roofline needs the job limits")
	}
	roof := func(x float64) float64 { return math.Min(r.Limits.FMA, x*r.Limits.Read) / 1e9 }
	points := map[string]plotter.XYs{}
	lo, hi := 0.25, 4*r.Limits.FMA/r.Limits.Read
	for _, x := range r.Results {
		if x.FLOP > 0 && x.Bytes > 0 {
			at := x.FLOP / x.Bytes
			points[x.Job] = append(points[x.Job], plotter.XY{X: at, Y: x.FLOP / x.Seconds / 1e9})
			lo, hi = min(lo, at/2), max(hi, at*2)
		}
	}
	p := plot.New()
	p.Title.Text = "Roofline"
	p.X.Label.Text = "FLOP a byte"
	p.Y.Label.Text = "GFLOP/s"
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Scale, a.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	p.Add(plotter.NewGrid())
	ridge := r.Limits.FMA / r.Limits.Read
	line, err := plotter.NewLine(plotter.XYs{{X: lo, Y: roof(lo)}, {X: ridge, Y: roof(ridge)}, {X: hi, Y: roof(hi)}})
	if err != nil {
		return err
	}
	line.Width = vg.Points(1.5)
	p.Add(line)
	p.Legend.Add("limit", line)
	p.Legend.Left, p.Legend.Top = true, true
	for i, job := range Jobs {
		xys := points[job]
		if xys == nil {
			continue
		}
		s, err := plotter.NewScatter(xys)
		if err != nil {
			return err
		}
		s.Color, s.Shape, s.Radius = colors[i%len(colors)], draw.CircleGlyph{}, vg.Points(3)
		p.Add(s)
		p.Legend.Add(job, s)
	}
	p.X.Min, p.X.Max = lo, hi
	p.Y.Max = 2 * r.Limits.FMA / 1e9
	out, err := p.WriterTo(16*vg.Centimeter, 10*vg.Centimeter, "png")
	if err != nil {
		return err
	}
	_, err = out.WriteTo(w)
	return err
}

var colors = []color.Color{
	color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}, color.RGBA{R: 0xd6, G: 0x27, B: 0x28, A: 0xff},
	color.RGBA{R: 0x2c, G: 0xa0, B: 0x2c, A: 0xff}, color.RGBA{R: 0x94, G: 0x67, B: 0xbd, A: 0xff},
	color.RGBA{R: 0xff, G: 0x7f, B: 0x0e, A: 0xff},
}
