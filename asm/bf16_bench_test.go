package asm

import (
	"fmt"
	"testing"
)

// BenchmarkBF16 measures packing and multiplying of operands that lie in the L2 cache.
func BenchmarkBF16(b *testing.B) {
	const rows, cols = 112, 256
	for _, k := range []int{16, 64, 384, 512} {
		words := WordsBF16(k)
		x, y, c := make([]float32, rows*k), make([]float32, k*cols), make([]float32, rows*cols)
		tiles, panels := make([]float32, rows*words), make([]float32, PanelsLen(words, cols))
		elements := func(b *testing.B, n int) {
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gelements/s")
		}
		b.Run(fmt.Sprintf("tiles/k=%d/%s", k, Tier()), func(b *testing.B) {
			for b.Loop() {
				PackRowsBF16(tiles, x, k, 1, rows, k, TileRows(rows))
			}
			elements(b, rows*k)
		})
		b.Run(fmt.Sprintf("panels/k=%d/%s", k, Tier()), func(b *testing.B) {
			for b.Loop() {
				PackBF16(panels, y, cols, 1, k, cols)
			}
			elements(b, k*cols)
		})
		b.Run(fmt.Sprintf("panelsT/k=%d/%s", k, Tier()), func(b *testing.B) {
			for b.Loop() {
				PackBF16(panels, y, 1, k, k, cols)
			}
			elements(b, k*cols)
		})
		b.Run(fmt.Sprintf("multiply/k=%d/%s", k, Tier()), func(b *testing.B) {
			for b.Loop() {
				GemmTilesBF16(c, cols, tiles, TileRows(rows), panels, TileCols*words, rows, cols, words, 1, true)
			}
			b.ReportMetric(2*rows*cols*float64(k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
