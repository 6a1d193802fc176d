package asm

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestPairs(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 22))
		bf16 := func(v float32) uint32 {
			var b [2]byte
			EncodeBF16(b[:], []float32{v})
			return uint32(b[0]) | uint32(b[1])<<8
		}
		for n := range 70 {
			x, y := guarded(t, n, true), guarded(t, n, true)
			normal(r, x)
			normal(r, y)
			if n > 20 {
				x[3], y[5], x[n-1] = float32(math.Inf(1)), float32(math.NaN()), float32(math.Inf(-1))
			}
			rows, row, round := guarded(t, n, true), guarded(t, (n+1)/2, true), guarded(t, n, true)
			PairRows(rows, x, y)
			PairRow(row, x)
			RoundBF16(round, x)
			for i := range n {
				if got, want := math.Float32bits(rows[i]), bf16(x[i])|bf16(y[i])<<16; got != want {
					t.Fatalf("PairRows, %d of %d: %#x, want %#x", i, n, got, want)
				}
				if got, want := math.Float32bits(round[i]), bf16(x[i])<<16; got != want {
					t.Fatalf("RoundBF16, %d of %d: %#x, want %#x", i, n, got, want)
				}
			}
			for i := range row {
				want := bf16(x[2*i])
				if 2*i+1 < n {
					want |= bf16(x[2*i+1]) << 16
				}
				if got := math.Float32bits(row[i]); got != want {
					t.Fatalf("PairRow, %d of %d: %#x, want %#x", i, n, got, want)
				}
			}
		}
	})
}

func TestGemmTilesBF16(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(23, 24))
		for m := 1; m <= 31; m++ {
			for _, n := range []int{1, 15, 16, 17, 31, 32, 33, 70} {
				k := 1 + (3*m+n)%37 // pairs
				a, b := make([]float32, 2*m*k), make([]float32, 2*n*k)
				normal(r, a)
				normal(r, b)
				RoundBF16(a, a)
				RoundBF16(b, b)
				pa, pb := guarded(t, m*k, true), guarded(t, n*k, true)
				PairRow(pa, a)
				PairRow(pb, b)
				ldc := n + m%3
				c := guarded(t, (m-1)*ldc+n, true)
				normal(r, c)
				old := append([]float32(nil), c...)
				panels, tiles := guarded(t, PanelsLen(k, n), true), guarded(t, m*k, true)
				Pack(panels, pb, 1, k, k, n)
				h := TileRows(m)
				PackRows(tiles, pa, k, 1, m, k, h)
				GemmTilesBF16(c, ldc, tiles, h, panels, k*TileCols, m, n, k, 0.7, n%2 == 0)
				for i := range c {
					row, col := i/ldc, i%ldc
					want, scale := float64(old[i]), math.Abs(float64(old[i]))
					if col < n {
						if n%2 != 0 {
							want, scale = 0, 0
						}
						for l := range 2 * k {
							p := float64(float32(0.7)) * float64(a[row*2*k+l]) * float64(b[col*2*k+l])
							want, scale = want+p, scale+math.Abs(p)
						}
					}
					if math.Abs(float64(c[i])-want) > 8*ulp(scale) {
						t.Fatalf("m %d n %d k %d: c[%d,%d] = %v, want %v", m, n, k, row, col, c[i], want)
					}
				}
			}
		}
	})
}
