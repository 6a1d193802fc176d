package asm

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestRoundBF16(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 22))
		for n := range 70 {
			x, round := guarded(t, n, true), guarded(t, n, true)
			normal(r, x)
			if n > 20 {
				x[3], x[5], x[n-1] = float32(math.Inf(1)), float32(math.NaN()), float32(math.Inf(-1))
			}
			RoundBF16(round, x)
			for i := range n {
				if got, want := math.Float32bits(round[i]), roundBF16(x[i]); got != want {
					t.Fatalf("%d of %d: %#x, want %#x", i, n, got, want)
				}
			}
		}
	})
}

// Panels and tiles of pairs are what the loops say, for rows and columns that lie
// next to each other.
func TestPackBF16(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(25, 26))
		for n := 1; n <= 80; n += 1 + n/33 {
			for _, k := range []int{1, 2, 5, 16, 31, 33, 67, 96} {
				for _, transposed := range []bool{false, true} {
					rs, cs := 1, n+n%3 // of k, of n
					length := (k-1)*cs + n
					if transposed {
						rs, cs = k+n%3, 1
						length = (n-1)*rs + k
					}
					x := guarded(t, length, true)
					normal(r, x)
					if length > 20 {
						x[3], x[5], x[length-1] = float32(math.Inf(1)), float32(math.NaN()), float32(math.Inf(-1))
					}
					words := WordsBF16(k)
					at := func(i, l int) float32 {
						if i >= n || l >= k {
							return 0
						}
						return x[i*rs+l*cs]
					}
					check := func(name string, got float32, i, l int) {
						want := pair(at(i, 2*l), at(i, 2*l+1))
						if !pairs() {
							want = math.Float32frombits(roundBF16(at(i, l)))
						}
						if got, want := math.Float32bits(got), math.Float32bits(want); got != want {
							t.Fatalf("%s, n %d k %d transposed %v: row %d word %d is %#x, want %#x", name, n, k, transposed, i, l, got, want)
						}
					}
					panels := guarded(t, PanelsLen(words, n), true)
					normal(r, panels)
					PackBF16(panels, x, cs, rs, k, n)
					for i := range (n + 15) / 16 * 16 {
						for l := range words {
							check("PackBF16", panels[i/16*words*16+l*16+i%16], i, l)
						}
					}
					tiles, h := guarded(t, n*words, true), TileRows(n)
					PackRowsBF16(tiles, x, rs, cs, n, k, h)
					for i := range n {
						for l := range words {
							check("PackRowsBF16", tiles[i/h*h*words+l*min(h, n-i/h*h)+i%h], i, l)
						}
					}
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
				k := 1 + (3*m+n)%75
				a, b := make([]float32, m*k), make([]float32, n*k)
				normal(r, a)
				normal(r, b)
				RoundBF16(a, a)
				RoundBF16(b, b)
				ldc := n + m%3
				c := guarded(t, (m-1)*ldc+n, true)
				normal(r, c)
				old := append([]float32(nil), c...)
				words := WordsBF16(k)
				panels, tiles := guarded(t, PanelsLen(words, n), true), guarded(t, m*words, true)
				PackBF16(panels, b, 1, k, k, n)
				h := TileRows(m)
				PackRowsBF16(tiles, a, k, 1, m, k, h)
				GemmTilesBF16(c, ldc, tiles, h, panels, words*TileCols, m, n, words, 0.7, n%2 == 0)
				for i := range c {
					row, col := i/ldc, i%ldc
					want, scale := float64(old[i]), math.Abs(float64(old[i]))
					if col < n {
						if n%2 != 0 {
							want, scale = 0, 0
						}
						for l := range k {
							p := float64(float32(0.7)) * float64(a[row*k+l]) * float64(b[col*k+l])
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

// GemmBF16 is the product of rounded operands, whatever lies next to each other in them.
func TestGemmBF16(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(27, 28))
		scratch := make([]float32, GemmScratch())
		for _, s := range [][3]int{{1, 1, 1}, {3, 20, 5}, {17, 33, 64}, {64, 64, 192}, {20, 100, 600}} {
			m, n, k := s[0], s[1], s[2]
			for mode := range 4 {
				a, b := guarded(t, m*k, true), guarded(t, k*n, true)
				normal(r, a)
				normal(r, b)
				ars, acs, brs, bcs := k, 1, n, 1
				if mode&1 != 0 {
					ars, acs = 1, m
				}
				if mode&2 != 0 {
					brs, bcs = 1, k
				}
				c, want := guarded(t, m*n, true), make([]float32, m*n)
				normal(r, c)
				copy(want, c)
				GemmBF16(c, n, a, ars, acs, b, brs, bcs, m, n, k, 0.7, mode == 3, scratch)
				RoundBF16(a, a)
				RoundBF16(b, b)
				for i := range m {
					for j := range n {
						sum, scale := 0.0, 0.0
						if mode == 3 {
							sum = float64(want[i*n+j])
							scale = math.Abs(sum)
						}
						for l := range k {
							p := float64(float32(0.7)) * float64(a[i*ars+l*acs]) * float64(b[l*brs+j*bcs])
							sum, scale = sum+p, scale+math.Abs(p)
						}
						if got := float64(c[i*n+j]); math.Abs(got-sum) > 8*ulp(scale) {
							t.Fatalf("%v mode %d: c[%d,%d] = %v, want %v", s, mode, i, j, got, sum)
						}
					}
				}
			}
		}
	})
}
