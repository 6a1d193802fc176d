package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/train"
)

// BenchmarkLoRAStep measures an optimizer step of LoRA on SmolLM2's shape: one
// sequence of 512 tokens, adapters on all linear layers, in F32 and in BF16.
func BenchmarkLoRAStep(b *testing.B) {
	for _, rank := range []int{8, 16} {
		for _, recompute := range []bool{false, true} {
			for _, threads := range []int{1, 2} {
				b.Run(fmt.Sprintf("t=512/r=%d/recompute=%v/threads=%d", rank, recompute, threads), func(b *testing.B) {
					if threads > runtime.NumCPU() {
						b.Skipf("the machine has %d CPUs", runtime.NumCPU())
					}
					loraStep(b, 512, rank, threads, recompute, tensor.ComputeF32)
				})
				b.Run(fmt.Sprintf("t=512/r=%d/recompute=%v/compute=bf16/threads=%d", rank, recompute, threads), func(b *testing.B) {
					loraStep(b, 512, rank, threads, recompute, tensor.ComputeBF16)
				})
			}
		}
	}
}

func loraStep(b *testing.B, tokens, rank, threads int, recompute bool, compute tensor.Compute) {
	dev := tensor.NewCPU(threads)
	dev.SetCompute(compute)
	defer dev.Close()
	m, err := RandomModel(SmolLM2, dev)
	if err != nil {
		b.Fatal(err)
	}
	defer nn.Release(m)
	a, err := lora.New(m, "x", lora.Config{Rank: rank, Alpha: 2 * float64(rank), Targets: lora.Names{AllLinear: true}}, 0, dev)
	if err != nil {
		b.Fatal(err)
	}
	defer a.Remove()
	var params []train.Param
	for name, v := range a.Params() {
		params = append(params, train.Param{Name: name, Value: v})
	}
	ids := make([]int32, tokens)
	r := tensor.NewRandom(2, "ids")
	for i := range ids {
		ids[i] = int32(r.Uint32() % 49152)
	}
	data := &train.Loader{Examples: []train.Example{{IDs: ids, Labels: ids}}, Batch: 1, Accumulate: 1}
	const warm = 2
	var times []time.Duration
	last := time.Now()
	o := train.Options{Steps: b.N + warm, LR: 1e-4, Schedule: train.Constant, Clip: 1, Adapter: a.Use(), Recompute: recompute}
	var warmMapped int
	err = train.Run(context.Background(), m, dev, params, data, o, func(r train.Report) error {
		if r.Step == warm {
			warmMapped, _, _ = dev.MemoryStats()
			b.ResetTimer()
		} else if r.Step > warm {
			times = append(times, time.Since(last))
		}
		last = time.Now()
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	slices.Sort(times)
	mapped, _, peak := dev.MemoryStats()
	b.ReportMetric(float64(tokens)/times[len(times)/2].Seconds(), "tok/s")
	b.ReportMetric(float64(peak)/1e6, "peak-MB")
	b.ReportMetric(float64(mapped-warmMapped), "mapped-B/warm")
}
