package asm

// A micro-kernel computes a tile of TileRows x TileCols elements of c in
// registers. The right side comes in panels of TileCols columns.
const (
	TileRows = 6
	TileCols = 16
)

// maxDepth is the longest inner dimension that the micro-kernel runs through at
// once: a panel of b of that length fills half of a 48 KiB cache, and a call
// takes about a microsecond.
const maxDepth = 384

// Depth returns the length of the pieces into which Gemm and its users cut the
// inner dimension k. It is a multiple of 32 or k itself, and depends on k alone,
// since it decides how an element is summed.
func Depth(k int) int {
	pieces := (k + maxDepth - 1) / maxDepth
	if pieces <= 1 {
		return k
	}
	return ((k+pieces-1)/pieces + 31) &^ 31
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
			GemmPanels(c[j:], ldc, al, ars, acs, scratch, m, w, kk, alpha, add)
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
				packT8(&panel[j], &b[j*bcs], bcs, whole)
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

// GemmRows is Gemm with rows of b read where they lie, without packing: bcs is
// 1, n a multiple of TileCols and k at most Depth(k).
func GemmRows(c []float32, ldc int, a []float32, ars, acs int, b []float32, brs, m, n, k int, alpha float32, accumulate bool) {
	if m == 0 {
		return
	}
	for j := 0; j < n; j += TileCols {
		column(c[j:], ldc, a, ars, acs, b[j:], brs, m, TileCols, k, alpha, accumulate)
	}
}

// GemmPanels is Gemm with b packed by Pack; k is at most Depth(k), one piece of
// the inner dimension.
func GemmPanels(c []float32, ldc int, a []float32, ars, acs int, panels []float32, m, n, k int, alpha float32, accumulate bool) {
	if m == 0 {
		return
	}
	for j := 0; j < n; j += TileCols {
		column(c[j:], ldc, a, ars, acs, panels[j*k:], TileCols, m, min(TileCols, n-j), k, alpha, accumulate)
	}
}

// column computes n up to TileCols columns of c, by a panel with rows brs apart.
func column(c []float32, ldc int, a []float32, ars, acs int, b []float32, brs, m, n, k int, alpha float32, accumulate bool) {
	_, _ = a[(m-1)*ars+(k-1)*acs], b[(k-1)*brs+TileCols-1]
	if n == TileCols {
		for i := 0; i < m; i += TileRows {
			tile(min(TileRows, m-i), k, a[i*ars:], ars, acs, b, brs, c[i*ldc:], ldc, alpha, accumulate)
		}
		return
	}
	var t [TileRows * TileCols]float32
	for i := 0; i < m; i += TileRows {
		rows := min(TileRows, m-i)
		if accumulate {
			for r := range rows {
				copy(t[r*TileCols:][:n], c[(i+r)*ldc:])
			}
		}
		tile(rows, k, a[i*ars:], ars, acs, b, brs, t[:], TileCols, alpha, accumulate)
		for r := range rows {
			copy(c[(i+r)*ldc:][:n], t[r*TileCols:])
		}
	}
}

// tile computes up to TileRows x TileCols elements:
//
//	c[i*ldc+j] = alpha * Σ_l a[i*ars+l*acs] * b[l*brs+j] (+ c[i*ldc+j])
//
// The callers have checked a and b against their bounds.
func tile(rows, k int, a []float32, ars, acs int, b []float32, brs int, c []float32, ldc int, alpha float32, accumulate bool) {
	_ = c[(rows-1)*ldc+TileCols-1]
	if !useVec {
		tileGo(rows, k, a, ars, acs, b, brs, c, ldc, alpha, accumulate)
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
