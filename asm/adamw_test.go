package asm

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// Each step from PyTorch's state before it (testdata/adamw.py made the golden):
// the moments have PyTorch's bits. So has p but for the square root, which is
// correctly rounded here and often one ulp off in a PyTorch built with MKL; that
// moves p by the rounding of its last addition and of the update.
func TestAdamWGolden(t *testing.T) {
	data, err := os.ReadFile("testdata/adamw.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			LR, Beta1, Beta2, Eps float64
			WeightDecay           float64 `json:"weight_decay"`
			P                     []uint32
			Steps                 []struct{ G, P, M, V []uint32 }
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) == 0 {
		t.Fatal("the golden is empty")
	}
	values := func(bits []uint32) []float32 {
		x := make([]float32, len(bits))
		for i, b := range bits {
			x[i] = math.Float32frombits(b)
		}
		return x
	}
	eachTier(t, func(t *testing.T) {
		for c, x := range golden.Cases {
			p := values(x.P)
			m, v := make([]float32, len(p)), make([]float32, len(p))
			exact := 0
			for s, step := range x.Steps {
				n := float64(s + 1)
				before := append([]float32(nil), p...)
				AdamW(p, values(step.G), m, v, x.LR, x.Beta1, x.Beta2, x.Eps, x.WeightDecay, 1-math.Pow(x.Beta1, n), 1-math.Pow(x.Beta2, n))
				wantP, wantM, wantV := values(step.P), values(step.M), values(step.V)
				for i := range p {
					if m[i] != wantM[i] || v[i] != wantV[i] {
						t.Fatalf("case %d, step %d, element %d: m %v, v %v, want %v, %v", c, s+1, i, m[i], v[i], wantM[i], wantV[i])
					}
					if d := math.Abs(float64(p[i] - wantP[i])); d == 0 {
						exact++
					} else if d > ulp(float64(wantP[i]))+3*ulp(float64(wantP[i]-before[i])) {
						t.Fatalf("case %d, step %d: p[%d] = %v, want %v", c, s+1, i, p[i], wantP[i])
					}
				}
				p, m, v = wantP, wantM, wantV
			}
			if all := len(p) * len(x.Steps); exact < all*9/10 {
				t.Errorf("case %d: %d of %d elements of p have the same bits, want nine in ten", c, exact, all)
			}
		}
	})
}
