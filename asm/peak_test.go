package asm

import "testing"

func TestFMALoop(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		if n := FMALoop(0); n != 0 {
			t.Errorf("no round: %d operations", n)
		}
		if one, ten := FMALoop(1), FMALoop(10); one < 16 || ten != 10*one {
			t.Errorf("1 and 10 rounds: %d and %d operations", one, ten)
		}
	})
}

// BenchmarkFMALoop is the machine's limit.
func BenchmarkFMALoop(b *testing.B) {
	flops := 0
	for b.Loop() {
		flops += FMALoop(1000)
	}
	b.ReportMetric(float64(flops)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}
