package cli

import (
	"fmt"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/tenon-ml/tenon/plan"
)

// planPlot draws what the memory of each method is made of, as a PNG file: one bar a
// method, the first on top.
func planPlot(path, name string, rows []plan.Row) error {
	rows = slices.Clone(rows)
	slices.Reverse(rows)
	p := plot.New()
	p.Title.Text = name
	p.X.Label.Text = "memory of a step (GB)"
	p.Legend.Top, p.Legend.Left = false, false
	p.Add(plotter.NewGrid())
	var below *plotter.BarChart
	for _, part := range []struct {
		name  string
		bytes func(*plan.Plan) int64
		color color.Color
	}{
		{"weights", func(p *plan.Plan) int64 { return p.Weights.Bytes + p.Adapter }, color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}},
		{"gradients", func(p *plan.Plan) int64 { return p.Gradients }, color.RGBA{R: 0xff, G: 0x7f, B: 0x0e, A: 0xff}},
		{"optimizer", func(p *plan.Plan) int64 { return p.Optimizer }, color.RGBA{R: 0xd6, G: 0x27, B: 0x28, A: 0xff}},
		{"activations", func(p *plan.Plan) int64 { return p.Activations }, color.RGBA{R: 0x2c, G: 0xa0, B: 0x2c, A: 0xff}},
	} {
		values := make(plotter.Values, len(rows))
		for i, r := range rows {
			values[i] = float64(part.bytes(r.Plan)) / 1e9
		}
		bars, err := plotter.NewBarChart(values, vg.Points(9))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		bars.Horizontal, bars.Color, bars.LineStyle.Width = true, part.color, 0
		if below != nil {
			bars.StackOn(below)
		}
		below = bars
		p.Add(bars)
		p.Legend.Add(part.name, bars)
	}
	names := make([]string, len(rows))
	for i, r := range rows {
		names[i] = r.Name
	}
	p.NominalY(names...)
	p.X.Min = 0
	if err := p.Save(16*vg.Centimeter, vg.Length(3+0.5*float64(len(rows)))*vg.Centimeter, path); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
