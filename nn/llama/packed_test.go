package llama

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// TestPacked computes documents that share a row, with what fills it up, and each
// alone: the logits are the same.
func TestPacked(t *testing.T) {
	for _, name := range []string{"llama/mha", "families/llama-rope-dynamic", "families/llama-rope-yarn", "families/mistral-window", "families/qwen2-window", "families/qwen3"} {
		t.Run(name, func(t *testing.T) {
			dev := tensor.NewCPU(1)
			defer dev.Close()
			m := load(t, filepath.Join(testdata, name), "config.json", dev)
			defer nn.Release(m)
			run := func(ids, starts []int32) []float32 {
				arena := tensor.NewArena(dev)
				defer arena.Close()
				return nn.Logits(m, &nn.Step{Tape: autograd.NoGrad(arena), B: 1, T: len(ids), Starts: starts}, ids).T.F32s()
			}
			var ids, starts []int32
			var want []float32
			for i, n := range []int{7, 31, 1, 12} {
				var document []int32
				for j := range n {
					document = append(document, int32((i*11+j*7)%40))
				}
				for range n {
					starts = append(starts, int32(len(ids)))
				}
				ids = append(ids, document...)
				want = append(want, run(document, nil)...)
			}
			used := len(ids)
			for range 5 {
				ids, starts = append(ids, 0), append(starts, int32(used))
			}
			got := run(ids, starts)[:len(want)]
			var worst float64
			for i := range want {
				worst = max(worst, math.Abs(float64(got[i]-want[i])))
			}
			if !(worst <= 2e-5) {
				t.Errorf("logits are off by %g", worst)
			}
		})
	}
}
