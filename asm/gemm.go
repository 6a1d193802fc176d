package asm

import "unsafe"

// TileCols is the width of the panels in which the right side comes. A
// micro-kernel computes a tile of a few rows and 16 columns of c in registers,
// that of AVX-512 one of 32.
const TileCols = 16

// TileRows returns the height of the tiles into which m rows are best cut: as even
// ones as there can be, of up to 14 rows with AVX-512 and up to 6 without.
func TileRows(m int) int {
	most := 6
	if use512 {
		most = 14
	}
	if m <= most {
		return max(m, 1)
	}
	tiles := (m + most - 1) / most
	return (m + tiles - 1) / tiles
}

// maxDepth is the longest inner dimension that the micro-kernel runs through at
// once: a panel of b of that length fills half of a 32 KiB cache, and a call
// takes about two microseconds.
const maxDepth = 256

// Depth returns the length of the pieces into which Gemm and its users cut the
// inner dimension k. It is a multiple of 64 or k itself, and depends on k alone,
// since it decides how an element is summed.
func Depth(k int) int {
	pieces := (k + maxDepth - 1) / maxDepth
	if pieces <= 1 {
		return k
	}
	return ((k+pieces-1)/pieces + 63) &^ 63
}

// GemmScratch returns the number of floats of scratch that Gemm wants.
func GemmScratch() int { return 32 << 10 }

// Gemm is, on one thread and for matrices that lie in the caches,
//
//	for i := range m {
//		for j := range n {
//			c[i*ldc+j] = alpha * Σ_l a[i*ars+l*acs] * b[l*brs+j*bcs] (+ c[i*ldc+j])
//		}
//	}
//
// adding to c if accumulate. One of brs, bcs is 1. c does not overlap a or b.
// scratch has GemmScratch elements.
func Gemm(c []float32, ldc int, a []float32, ars, acs int, b []float32, brs, bcs int, m, n, k int, alpha float32, accumulate bool, scratch []float32) {
	if m == 0 || n == 0 {
		return
	}
	if k == 0 {
		scaleRows(c, ldc, m, n, accumulate)
		return
	}
	depth := Depth(k)
	for l := 0; l < k; l += depth {
		kk := min(depth, k-l)
		add := accumulate || l > 0
		al, bl := a[l*acs:], b[l*brs:]
		j := 0
		if bcs == 1 {
			j = n &^ (TileCols - 1)
			GemmRows(c, ldc, al, ars, acs, bl, brs, m, j, kk, alpha, add)
		}
		width := GemmScratch() / kk / TileCols * TileCols
		for ; j < n; j += width {
			w := min(width, n-j)
			Pack(scratch, bl[j*bcs:], brs, bcs, kk, w)
			GemmPanels(c[j:], ldc, al, ars, acs, scratch, kk*TileCols, m, w, kk, alpha, add)
		}
	}
}

// scaleRows is Gemm with an empty inner dimension.
func scaleRows(c []float32, ldc, m, n int, accumulate bool) {
	if accumulate {
		return
	}
	for i := range m {
		clear(c[i*ldc:][:n])
	}
}

// PanelsLen returns the length of the panels of k rows and n columns.
func PanelsLen(k, n int) int { return k * ((n + TileCols - 1) &^ (TileCols - 1)) }

// Pack copies b into panels of TileCols columns, the last one filled up with
// zeros:
//
//	for j := range n {
//		for l := range k {
//			panels[j/TileCols*k*TileCols+l*TileCols+j%TileCols] = b[l*brs+j*bcs]
//		}
//	}
//
// One of brs, bcs is 1. panels has PanelsLen(k, n) elements.
func Pack(panels, b []float32, brs, bcs, k, n int) {
	j := 0
	if useVec && bcs == 1 && k > 0 {
		for j+TileCols <= n {
			dst, src := &panels[j*k:][:k*TileCols][0], &b[j:][:(k-1)*brs+TileCols][0]
			if j+4*TileCols <= n {
				_, _ = panels[(j+4*TileCols)*k-1], b[j+(k-1)*brs+4*TileCols-1]
				packRows4(dst, src, brs, k)
				j += 4 * TileCols
			} else {
				packRows1(dst, src, brs, k)
				j += TileCols
			}
		}
	}
	for ; j < n; j += TileCols {
		packPanel(panels[j*k:][:k*TileCols], b[j*bcs:], brs, bcs, k, min(TileCols, n-j))
	}
}

func packPanel(panel, b []float32, brs, bcs, k, n int) {
	if n < TileCols {
		clear(panel)
	}
	if bcs == 1 {
		for l := range k {
			copy(panel[l*TileCols:][:n], b[l*brs:])
		}
		return
	}
	j, whole := 0, 0
	if useVec {
		if whole = k &^ (lanes - 1); whole > 0 {
			for ; j+8 <= n; j += 8 {
				_ = b[(j+7)*bcs+whole-1]
				packT8(&panel[j], TileCols, &b[j*bcs], bcs, whole)
			}
		}
	}
	for i := range n {
		from := 0
		if i < j {
			from = whole
		}
		for l := from; l < k; l++ {
			panel[l*TileCols+i] = b[i*bcs+l*brs]
		}
	}
}

// Repack packs the transpose of what is packed in panels that are stride elements
// apart:
//
//	for j := range n {
//		for l := range k {
//			dst[j/TileCols*k*TileCols+l*TileCols+j%TileCols] = panels[l/TileCols*stride+j*TileCols+l%TileCols]
//		}
//	}
//
// n is a multiple of TileCols or what is beyond it is packed as 0. dst has
// PanelsLen(k, n) elements.
func Repack(dst, panels []float32, stride, k, n int) {
	for j := 0; j < n; j += TileCols {
		cols := min(TileCols, n-j)
		for l := 0; l < k; l += TileCols {
			rows := min(TileCols, k-l)
			packPanel(dst[j*k+l*TileCols:][:rows*TileCols], panels[l/TileCols*stride+j*TileCols:], 1, TileCols, rows, cols)
		}
	}
}

// PackRows copies a into tiles of h rows, the last one as high as there are rows
// left:
//
//	for i := range m {
//		rows := min(h, m-i/h*h)
//		for l := range k {
//			tiles[i/h*h*k+l*rows+i%h] = a[i*ars+l*acs]
//		}
//	}
//
// One of ars, acs is 1. tiles has m*k elements.
func PackRows(tiles, a []float32, ars, acs, m, k, h int) {
	if k == 0 {
		return
	}
	for i := 0; i < m; i += h {
		rows := min(h, m-i)
		packTile(tiles[i*k:][:rows*k], a[i*ars:], ars, acs, rows, k)
	}
}

func packTile(tile, a []float32, ars, acs, rows, k int) {
	_ = a[(rows-1)*ars+(k-1)*acs]
	from := 0
	if acs != 1 {
		if useVec && rows >= 4 && ars == 1 {
			if use512 {
				packCopy512(&tile[0], &a[0], acs, k, rows)
				return
			}
			packCopy4(&tile[0], &a[0], acs, k, rows)
			return
		}
	} else if whole := k &^ (lanes - 1); useVec && rows >= 4 && whole > 0 {
		from = whole
		if rows >= 8 {
			packT8(&tile[0], rows, &a[0], ars, whole)
			packT8(&tile[rows-8], rows, &a[(rows-8)*ars], ars, whole)
		} else {
			packT4(&tile[0], rows, &a[0], ars, whole)
			packT4(&tile[rows-4], rows, &a[(rows-4)*ars], ars, whole)
		}
	}
	for r := range rows {
		for l := from; l < k; l++ {
			tile[l*rows+r] = a[r*ars+l*acs]
		}
	}
}

// GemmRows is Gemm with rows of b read where they lie, without packing: bcs is
// 1, n a multiple of TileCols and k at most Depth(k).
func GemmRows(c []float32, ldc int, a []float32, ars, acs int, b []float32, brs, m, n, k int, alpha float32, accumulate bool) {
	x := left{a, ars, acs, TileRows(m), false, false}
	x.multiply(c, ldc, b, brs, TileCols, m, n, k, alpha, accumulate)
}

// WideTiles reports whether GemmRows is as fast as GemmPanels however many rows a has:
// the tiles of AVX-512 fetch the rows of b that come next, and read none more than
// once for 14 rows of a.
func WideTiles() bool { return use512 }

// GemmPanels is Gemm with b in panels that are stride elements apart: k*TileCols
// where Pack has written them. k is at most Depth(k), one piece of the inner
// dimension.
func GemmPanels(c []float32, ldc int, a []float32, ars, acs int, panels []float32, stride, m, n, k int, alpha float32, accumulate bool) {
	x := left{a, ars, acs, TileRows(m), false, false}
	x.multiply(c, ldc, panels, TileCols, stride, m, n, k, alpha, accumulate)
}

// GemmTiles is GemmPanels with a packed by PackRows in tiles of h rows, which are
// TileRows of some m.
func GemmTiles(c []float32, ldc int, tiles []float32, h int, panels []float32, stride, m, n, k int, alpha float32, accumulate bool) {
	x := left{tiles, 1, 0, h, true, false}
	x.multiply(c, ldc, panels, TileCols, stride, m, n, k, alpha, accumulate)
}

// left is the left side of a product, h rows a tile, as it lies or packed.
type left struct {
	a        []float32
	ars, acs int
	h        int
	packed   bool
	pairs    bool // of BF16
}

// tile returns the tile that begins with row i, and its strides.
func (x *left) tile(i, rows, k int) (a []float32, ars, acs int) {
	if x.packed {
		return x.a[i*k:][:rows*k], 1, rows
	}
	return x.a[i*x.ars:][:(rows-1)*x.ars+(k-1)*x.acs+1], x.ars, x.acs
}

// multiply goes through b panel by panel: a panel stays in the L1 cache while the
// rows of a pass. Rows of a panel are brs apart, panels bps.
func (x *left) multiply(c []float32, ldc int, b []float32, brs, bps, m, n, k int, alpha float32, accumulate bool) {
	if m == 0 || n == 0 {
		return
	}
	width := TileCols
	if use512 {
		width = 2 * TileCols
	}
	for j := 0; j < n; j += width {
		nn := min(width, n-j)
		panels := (nn + TileCols - 1) / TileCols
		bj := b[j/TileCols*bps:][:(panels-1)*bps+(k-1)*brs+TileCols]
		if nn == width || use512 || x.pairs {
			for i := 0; i < m; i += x.h {
				next := uintptr(unsafe.Pointer(&bj[0]))
				if ahead := i / x.h; ahead < width/TileCols { // one of the next panels, or of b where it lies
					next += uintptr(4 * (width/TileCols + ahead) * bps)
				}
				rows := min(x.h, m-i)
				a, ars, acs := x.tile(i, rows, k)
				if x.pairs {
					tileBF16(rows, nn, k, a, ars, acs, bj, brs, bps, c[i*ldc+j:], ldc, alpha, accumulate, next)
				} else {
					tile(rows, nn, k, a, ars, acs, bj, brs, bps, c[i*ldc+j:], ldc, alpha, accumulate, next)
				}
			}
			continue
		}
		var t [6 * TileCols]float32
		for i := 0; i < m; i += x.h {
			rows := min(x.h, m-i)
			if accumulate {
				for r := range rows {
					copy(t[r*TileCols:][:nn], c[(i+r)*ldc+j:])
				}
			}
			a, ars, acs := x.tile(i, rows, k)
			tile(rows, width, k, a, ars, acs, bj, brs, bps, t[:], TileCols, alpha, accumulate, 0)
			for r := range rows {
				copy(c[(i+r)*ldc+j:][:nn], t[r*TileCols:])
			}
		}
	}
}

// tile computes up to TileRows rows of n columns, 16 or with AVX-512 up to 32:
//
//	c[i*ldc+j] = alpha * Σ_l a[i*ars+l*acs] * b[j/16*bps+l*brs+j%16] (+ c[i*ldc+j])
//
// The caller has checked a and b against their bounds. next is what AVX-512 fetches
// meanwhile.
func tile(rows, n, k int, a []float32, ars, acs int, b []float32, brs, bps int, c []float32, ldc int, alpha float32, accumulate bool, next uintptr) {
	_ = c[(rows-1)*ldc+n-1]
	if !useVec {
		tileGo(rows, k, a, ars, acs, b, brs, c, ldc, alpha, accumulate)
		return
	}
	if use512 {
		vectors := (n - 1) / TileCols
		kernel := vectors*rows512 + rows - 1
		if n <= TileCols/2 {
			kernel += 2 * rows512
		}
		gemm512(kernel, k, &a[0], ars, acs, &b[0], brs, bps, &c[0], ldc, alpha, uint32(1)<<(n-vectors*TileCols)-1, accumulate, next)
		return
	}
	switch rows {
	case 6:
		gemm6(k, &a[0], ars, acs, &b[0], brs, &c[0], ldc, alpha, accumulate)
	case 5:
		gemm5(k, &a[0], ars, acs, &b[0], brs, &c[0], ldc, alpha, accumulate)
	case 4:
		gemm4(k, &a[0], ars, acs, &b[0], brs, &c[0], ldc, alpha, accumulate)
	case 3:
		gemm3(k, &a[0], ars, acs, &b[0], brs, &c[0], ldc, alpha, accumulate)
	case 2:
		gemm2(k, &a[0], ars, acs, &b[0], brs, &c[0], ldc, alpha, accumulate)
	case 1:
		gemm1(k, &a[0], ars, acs, &b[0], brs, &c[0], ldc, alpha, accumulate)
	}
}

// tileGo computes a tile by pieces of two rows and four columns, which the
// compiler keeps in registers.
func tileGo(rows, k int, a []float32, ars, acs int, b []float32, brs int, c []float32, ldc int, alpha float32, accumulate bool) {
	for i := 0; i < rows; i += 2 {
		a0 := a[i*ars:]
		a1 := a0 // a single last row is computed twice
		if i+1 < rows {
			a1 = a[(i+1)*ars:]
		}
		for j := 0; j < TileCols; j += 4 {
			var s [8]float32
			s00, s01, s02, s03 := s[0], s[1], s[2], s[3]
			s10, s11, s12, s13 := s[4], s[5], s[6], s[7]
			for l := range k {
				v := (*[4]float32)(b[l*brs+j:])
				x, y := a0[l*acs], a1[l*acs]
				s00 += x * v[0]
				s01 += x * v[1]
				s02 += x * v[2]
				s03 += x * v[3]
				s10 += y * v[0]
				s11 += y * v[1]
				s12 += y * v[2]
				s13 += y * v[3]
			}
			s = [8]float32{s00, s01, s02, s03, s10, s11, s12, s13}
			for r := range min(2, rows-i) {
				row := c[(i+r)*ldc+j:][:4]
				for q := range row {
					v := alpha * s[4*r+q]
					if accumulate {
						v += row[q]
					}
					row[q] = v
				}
			}
		}
	}
}
