package nn

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/tensor"
)

// draw is the definition of sampling: sort, cut, draw.
func draw(s Sampling, logits []float32, at float64) int32 {
	order := make([]int32, len(logits))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(logits[b], logits[a]), cmp.Compare(a, b))
	})
	if s.TopK > 0 && s.TopK < len(order) {
		order = order[:s.TopK]
	}
	p, sum := make([]float64, len(order)), 0.0
	for i, id := range order {
		p[i] = math.Exp((float64(logits[id]) - float64(logits[order[0]])) / s.Temperature)
		sum += p[i]
	}
	if s.TopP > 0 && s.TopP < 1 {
		n, kept := 0, 0.0
		for ; n < len(p) && kept < s.TopP*sum; n++ {
			kept += p[n]
		}
		p, sum = p[:n], kept
	}
	at *= sum
	for i, v := range p {
		if at -= v; at < 0 {
			return order[i]
		}
	}
	return order[len(p)-1]
}

// TestSampler compares the sampler, which sorts no more than it must, with sampling's
// definition.
func TestSampler(t *testing.T) {
	r := tensor.NewRandom(1, "logits")
	for i := range 400 {
		logits := make([]float32, 1+i%97)
		r.Normal(logits, 0, 4)
		for j := range logits {
			if j%3 == 0 {
				logits[j] = float32(math.Round(float64(logits[j]))) // some are equal
			}
		}
		s := Sampling{Temperature: 0.3 + float64(i%5), TopK: i % 11, TopP: float64(i%7) / 6, Seed: uint64(i)}
		got := &sampler{Sampling: s, random: tensor.NewRandom(s.Seed, "x")}
		want := tensor.NewRandom(s.Seed, "x")
		for range 5 {
			id, err := got.choose(logits)
			if w := draw(s, logits, want.Float64()); err != nil || id != w {
				t.Fatalf("%+v of %v: token %d, %v, want %d", s, logits, id, err, w)
			}
		}
	}
}
