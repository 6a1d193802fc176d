package asm

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestGemm(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		scratch := make([]float32, GemmScratch())
		for _, s := range [][3]int{{0, 3, 3}, {3, 0, 3}, {3, 3, 0}, {1, 1, 1}, {1, 16, 8}, {2, 17, 3}, {3, 15, 9}, {4, 8, 16}, {5, 33, 7}, {6, 16, 1}, {7, 24, 31}, {12, 32, 8},
			{13, 40, 65}, {64, 64, 64}, {64, 48, 67}, {20, 90, 400}, {11, 100, 385}, {6, 80, 1000}} {
			m, n, k := s[0], s[1], s[2]
			for mode := range 8 {
				ars, acs, brs, bcs := k+1, 1, n+2, 1
				if mode&1 != 0 {
					ars, acs = 1, m+1
				}
				if mode&2 != 0 {
					brs, bcs = 1, k+3
				}
				accumulate := mode&4 != 0
				length := func(rows, cols, rs, cs int) int { return max(0, min(rows, cols, 1)*((rows-1)*rs+(cols-1)*cs+1)) }
				ldc := n + 1
				a := guarded(t, length(m, k, ars, acs), mode%3 != 0)
				b := guarded(t, length(k, n, brs, bcs), mode%3 != 0)
				c := guarded(t, length(m, n, ldc, 1), mode%3 != 0)
				for _, x := range [][]float32{a, b, c} {
					normal(r, x)
				}
				old := append([]float32(nil), c...)
				Gemm(c, ldc, a, ars, acs, b, brs, bcs, m, n, k, 0.7, accumulate, scratch)
				for i := range c {
					row, col := i/ldc, i%ldc
					want, scale := float64(old[i]), math.Abs(float64(old[i]))
					if col < n {
						if !accumulate {
							want, scale = 0, 0
						}
						for l := range k {
							p := float64(float32(0.7)) * float64(a[row*ars+l*acs]) * float64(b[l*brs+col*bcs])
							want, scale = want+p, scale+math.Abs(p)
						}
					}
					if math.Abs(float64(c[i])-want) > 8*ulp(scale) {
						t.Fatalf("%v mode %d: c[%d,%d] = %v, want %v", s, mode, row, col, c[i], want)
					}
				}
			}
		}
	})
}

func TestPack(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(13, 14))
		for _, k := range []int{1, 3, 4, 8, 9, 17, 40} {
			for _, n := range []int{1, 7, 8, 15, 16, 17, 24, 31, 64, 70, 150} {
				for _, transposed := range []bool{false, true} {
					brs, bcs := n+1, 1
					if transposed {
						brs, bcs = 1, k+1
					}
					b := guarded(t, (k-1)*brs+(n-1)*bcs+1, true)
					normal(r, b)
					panels := guarded(t, PanelsLen(k, n), true)
					normal(r, panels)
					Pack(panels, b, brs, bcs, k, n)
					for i, got := range panels {
						j, l := i/(k*TileCols)*TileCols+i%TileCols, i/TileCols%k
						var want float32
						if j < n {
							want = b[l*brs+j*bcs]
						}
						if got != want {
							t.Fatalf("k %d n %d transposed %v: (%d, %d) is %v, want %v", k, n, transposed, l, j, got, want)
						}
					}
				}
			}
		}
	})
}

// Panels of BF16 and F16 have the bits of decoded rows that are packed.
func TestPackHalf(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 22))
		for _, k := range []int{1, 2, 9, 64, 256} {
			for _, n := range []int{1, 15, 16, 17, 48, 63, 64, 80, 130} {
				for f16, decode := range map[bool]func([]float32, []byte){false: DecodeBF16, true: DecodeF16} {
					ld := n + r.IntN(5)
					b := guardedBytes(t, 2*((k-1)*ld+n))
					for i := range b {
						b[i] = byte(r.Uint32()) // NaN and denormals too
					}
					decoded := make([]float32, (k-1)*ld+n)
					decode(decoded, b)
					got, want := guarded(t, PanelsLen(k, n), true), make([]float32, PanelsLen(k, n))
					normal(r, got)
					PackHalf(got, b, ld, k, n, f16)
					Pack(want, decoded, ld, 1, k, n)
					for i := range got {
						if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
							t.Fatalf("k %d n %d F16 %v: element %d is %v, want %v", k, n, f16, i, got[i], want[i])
						}
					}
				}
			}
		}
	})
}

func TestRepack(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(19, 20))
		for _, k := range []int{1, 8, 15, 16, 17, 40} { // rows of what is packed, columns of its transpose
			for _, n := range []int{1, 8, 15, 16, 33, 70} {
				b := guarded(t, k*n, true)
				normal(r, b)
				panels, got, want := guarded(t, PanelsLen(n, k), true), guarded(t, PanelsLen(k, n), true), make([]float32, PanelsLen(k, n))
				Pack(panels, b, 1, n, n, k)
				Repack(got, panels, n*TileCols, k, n)
				Pack(want, b, n, 1, k, n)
				for i := range got {
					if got[i] != want[i] {
						t.Fatalf("k %d n %d: element %d is %v, want %v", k, n, i, got[i], want[i])
					}
				}
			}
		}
	})
}

func TestPackRows(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(15, 16))
		for _, k := range []int{1, 4, 8, 9, 17, 40} {
			for m := 1; m <= 30; m++ {
				for _, transposed := range []bool{false, true} {
					ars, acs := k+1, 1
					if transposed {
						ars, acs = 1, m+1
					}
					a := guarded(t, (m-1)*ars+(k-1)*acs+1, m%2 == 0)
					normal(r, a)
					tiles := guarded(t, m*k, m%2 != 0)
					normal(r, tiles)
					h := TileRows(m)
					PackRows(tiles, a, ars, acs, m, k, h)
					for i := range m {
						for l := range k {
							rows := min(h, m-i/h*h)
							if got, want := tiles[i/h*h*k+l*rows+i%h], a[i*ars+l*acs]; got != want {
								t.Fatalf("m %d k %d transposed %v: (%d, %d) is %v, want %v", m, k, transposed, i, l, got, want)
							}
						}
					}
				}
			}
		}
	})
}

// A packed left side gives the bits of one that is read where it lies, for every
// height of a tile and every number of columns.
func TestGemmTiles(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(17, 18))
		for m := 1; m <= 31; m++ {
			for _, n := range []int{1, 8, 9, 15, 16, 17, 24, 31, 32, 33, 70} {
				k := 1 + (3*m+n)%37
				a, b := guarded(t, m*k, true), guarded(t, n*k, true)
				normal(r, a)
				normal(r, b)
				ldc := n + m%3
				c, want := guarded(t, (m-1)*ldc+n, true), make([]float32, (m-1)*ldc+n)
				normal(r, c)
				copy(want, c)
				panels, tiles := guarded(t, PanelsLen(k, n), true), guarded(t, m*k, true)
				Pack(panels, b, n, 1, k, n)
				h := TileRows(m)
				PackRows(tiles, a, k, 1, m, k, h)
				GemmTiles(c, ldc, tiles, h, panels, k*TileCols, m, n, k, 0.7, n%2 == 0)
				Gemm(want, ldc, a, k, 1, b, n, 1, m, n, k, 0.7, n%2 == 0, make([]float32, GemmScratch()))
				for i := range c {
					if c[i] != want[i] {
						t.Fatalf("m %d n %d k %d: element %d is %v, want %v", m, n, k, i, c[i], want[i])
					}
				}
			}
		}
	})
}

// The heights of tiles are as even as they can be with the fewest tiles.
func TestTileRows(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		most := 6
		if use512 {
			most = 14
		}
		for m := 1; m < 300; m++ {
			tiles := (m + most - 1) / most
			if h := TileRows(m); h > most || tiles*h < m || (tiles*(h-1) >= m) {
				t.Fatalf("TileRows(%d) = %d", m, h)
			}
		}
	})
}

// The pieces of the inner dimension are whole blocks of every stored type.
func TestDepth(t *testing.T) {
	for k := 1; k < 5000; k++ {
		d := Depth(k)
		if d > k || d > maxDepth || d < k && d%64 != 0 {
			t.Fatalf("Depth(%d) = %d", k, d)
		}
	}
}
