package cli

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// lossPoint is the loss after a number of steps.
type lossPoint struct {
	Step int
	Loss float64
}

// lossPlot draws the loss of the steps, and of the evaluations if there are
// any, as a PNG file.
func lossPlot(path string, train, eval []lossPoint) error {
	p := plot.New()
	p.Title.Text = strings.TrimSuffix(filepath.Base(path), ".png")
	p.X.Label.Text = "step"
	p.Y.Label.Text = "loss (nats a token)"
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	for _, s := range []struct {
		name   string
		points []lossPoint
		color  color.Color
		dots   bool
	}{
		{"training", train, color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}, false},
		{"held out", eval, color.RGBA{R: 0xd6, G: 0x27, B: 0x28, A: 0xff}, true},
	} {
		if len(s.points) == 0 {
			continue
		}
		xys := make(plotter.XYs, len(s.points))
		for i, q := range s.points {
			if math.IsNaN(q.Loss) || math.IsInf(q.Loss, 0) {
				return fmt.Errorf("%s: the loss of step %d is %v", path, q.Step, q.Loss)
			}
			xys[i].X, xys[i].Y = float64(q.Step), q.Loss
		}
		line, points, err := plotter.NewLinePoints(xys)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		line.Color, points.Color = s.color, s.color
		line.Width = vg.Points(1.5)
		p.Add(line)
		if s.dots || len(xys) == 1 { // a line of one point shows nothing
			p.Add(points)
		}
		p.Legend.Add(s.name, line)
	}
	if len(train) == 0 {
		return errors.New(path + ": no loss to draw")
	}
	p.Y.Min, p.Y.Max = min(0, p.Y.Min), p.Y.Max*1.05 // a loss is seen beside zero
	if err := p.Save(16*vg.Centimeter, 10*vg.Centimeter, path); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
