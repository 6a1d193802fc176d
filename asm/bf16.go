package asm

import "math"

// BF16 products take their operands in pairs: a pair is the bfloat16 of two
// neighbours along the inner dimension, the first one in the lower half, in the four
// bytes of a float32. Vector tiers that have no instruction for pairs take rounded
// values as they are. Pack, PackRows and GemmTilesBF16 move pairs as they move floats.

// HasBF16 reports whether the tier that runs multiplies pairs in hardware.
func HasBF16() bool { return useBF16 }

// pairs reports whether the tier that runs takes pairs.
func pairs() bool { return useBF16 || !useVec }

// WordsBF16 returns the number of floats that k elements take in what PackBF16 and
// PackRowsBF16 write: (k+1)/2 as pairs, k as rounded values.
func WordsBF16(k int) int {
	if pairs() {
		return (k + 1) / 2
	}
	return k
}

// DepthBF16 is Depth for products in BF16.
func DepthBF16(k int) int { return 2 * Depth((k+1)/2) }

// PackBF16 is Pack of values rounded to BF16, in pairs along the k rows, a last row of
// zeros added if their number is odd. With words = WordsBF16(k):
//
//	for j := range n {
//		for l := range words {
//			panels[j/TileCols*words*TileCols+l*TileCols+j%TileCols] = pair(b[2*l*brs+j*bcs], b[(2*l+1)*brs+j*bcs])
//		}
//	}
//
// Values are rounded to nearest even; the instruction for it makes denormals zero.
// The last panel is filled up with zeros. One of brs, bcs is 1. panels has
// PanelsLen(words, n) elements.
func PackBF16(panels, b []float32, brs, bcs, k, n int) {
	if !pairs() {
		Pack(panels, b, brs, bcs, k, n)
		RoundBF16(panels, panels)
		return
	}
	words, j := (k+1)/2, 0
	if useBF16 && bcs == 1 && k > 1 {
		for j+2*TileCols <= n {
			panels, src, stride := panels[j*words:], b[j:], words*TileCols
			cols, rows := 2*TileCols, k&^1
			if j+4*TileCols <= n {
				cols = 4 * TileCols
				_, _ = panels[cols*words-1], src[(k-1)*brs+cols-1]
				pairPanels4(&panels[0], stride, &src[0], brs, rows/2)
			} else {
				_, _ = panels[cols*words-1], src[(k-1)*brs+cols-1]
				pairPanels2(&panels[0], stride, &src[0], brs, rows/2)
			}
			for i := range cols * (k - rows) {
				panels[i/TileCols*stride+(words-1)*TileCols+i%TileCols] = pair(src[rows*brs+i], 0)
			}
			j += cols
		}
	}
	for ; j < n; j += TileCols {
		packPairs(panels[j*words:][:words*TileCols], TileCols, b[j*bcs:], bcs, brs, min(TileCols, n-j), k)
	}
}

// PackRowsBF16 is PackRows of values rounded to BF16, in pairs along the k columns, as
// PackBF16 has them. With words = WordsBF16(k):
//
//	for i := range m {
//		rows := min(h, m-i/h*h)
//		for l := range words {
//			tiles[i/h*h*words+l*rows+i%h] = pair(a[i*ars+2*l*acs], a[i*ars+(2*l+1)*acs])
//		}
//	}
//
// One of ars, acs is 1. tiles has m*words elements.
func PackRowsBF16(tiles, a []float32, ars, acs, m, k, h int) {
	if !pairs() {
		PackRows(tiles, a, ars, acs, m, k, h)
		RoundBF16(tiles[:m*k], tiles)
		return
	}
	words := (k + 1) / 2
	for i := 0; i < m; i += h {
		rows := min(h, m-i)
		packPairs(tiles[i*words:][:rows*words], rows, a[i*ars:], ars, acs, rows, k)
	}
}

// packPairs packs n rows of k elements, rows being rs and neighbours cs apart:
//
//	dst[l*ldd+i] = pair(x[i*rs+2*l*cs], x[i*rs+(2*l+1)*cs]), or 0 for i from n up to ldd
func packPairs(dst []float32, ldd int, x []float32, rs, cs, n, k int) {
	if k == 0 {
		return
	}
	_ = x[(n-1)*rs+(k-1)*cs]
	from := 0
	switch {
	case !useBF16 || ldd > 16:
	case cs == 1 && n >= 4:
		_ = dst[(k+1)/2*ldd-1]
		pairT512(&dst[0], ldd, &x[0], rs, n, k, &pairOrder[n])
		return
	case cs != 1 && k > 1:
		from = k &^ 1
		_ = dst[from/2*ldd-1]
		pairCopy512(&dst[0], ldd, &x[0], cs, from/2, n)
	}
	for l := from; l < k; l += 2 {
		row := dst[l/2*ldd:][:ldd]
		for i := range n {
			second := float32(0)
			if l+1 < k {
				second = x[i*rs+(l+1)*cs]
			}
			row[i] = pair(x[i*rs+l*cs], second)
		}
		clear(row[n:])
	}
}

// RoundBF16 rounds values to bfloat16, to nearest even:
//
//	for i := range dst {
//		dst[i] = bf16(x[i])
//	}
func RoundBF16(dst, x []float32) {
	var b [512]byte
	for i := 0; i < len(dst); i += len(b) / 2 {
		n := min(len(b)/2, len(dst)-i)
		EncodeBF16(b[:], x[i:i+n])
		DecodeBF16(dst[i:i+n], b[:])
	}
}

func roundBF16(v float32) uint32 {
	b := math.Float32bits(v)
	if v != v {
		b |= 1 << 22
	} else {
		b += 0x7fff + b>>16&1
	}
	return b &^ 0xffff
}

func pair(x, y float32) float32 {
	return math.Float32frombits(roundBF16(x)>>16 | roundBF16(y))
}

// GemmBF16 is Gemm with both operands rounded to BF16, to nearest even.
func GemmBF16(c []float32, ldc int, a []float32, ars, acs int, b []float32, brs, bcs int, m, n, k int, alpha float32, accumulate bool, scratch []float32) {
	if m == 0 || n == 0 {
		return
	}
	if k == 0 {
		scaleRows(c, ldc, m, n, accumulate)
		return
	}
	half := GemmScratch() / 2
	h, depth := TileRows(m), DepthBF16(k)
	for l := 0; l < k; l += depth {
		kk := min(depth, k-l)
		words := WordsBF16(kk)
		width, rows := half/words/TileCols*TileCols, half/words/h*h
		for j := 0; j < n; j += width {
			nn := min(width, n-j)
			panels := scratch[:PanelsLen(words, nn)]
			PackBF16(panels, b[l*brs+j*bcs:], brs, bcs, kk, nn)
			for i := 0; i < m; i += rows {
				mm := min(rows, m-i)
				tiles := scratch[half:][:words*mm]
				PackRowsBF16(tiles, a[i*ars+l*acs:], ars, acs, mm, kk, h)
				GemmTilesBF16(c[i*ldc+j:], ldc, tiles, h, panels, words*TileCols, mm, nn, words, alpha, accumulate || l > 0)
			}
		}
	}
}

// GemmTilesBF16 is GemmTiles on what PackRowsBF16 and PackBF16 have written, of k
// words: with
//
//	first(x)*first(y) + second(x)*second(y)
//
// in place of a product, in F32. VDPBF16PS, which computes it, rounds after either
// product, takes denormals as zero and makes none; its sums and those of plain Go
// differ by that.
func GemmTilesBF16(c []float32, ldc int, tiles []float32, h int, panels []float32, stride, m, n, k int, alpha float32, accumulate bool) {
	x := left{tiles, 1, 0, h, true, pairs()}
	x.multiply(c, ldc, panels, TileCols, stride, m, n, k, alpha, accumulate)
}

// tileBF16 is tile on pairs.
func tileBF16(rows, n, k int, a []float32, ars, acs int, b []float32, brs, bps int, c []float32, ldc int, alpha float32, accumulate bool, next uintptr) {
	if !useBF16 {
		tileBF16Go(rows, n, k, a, ars, acs, b, brs, bps, c, ldc, alpha, accumulate)
		return
	}
	_ = c[(rows-1)*ldc+n-1]
	vectors := (n - 1) / TileCols
	gemmBF16(vectors*rows512+rows-1, k, &a[0], ars, acs, &b[0], brs, bps, &c[0], ldc, alpha, uint32(1)<<(n-vectors*TileCols)-1, accumulate, next)
}

// tileBF16Go is a tile of pairs in plain Go.
func tileBF16Go(rows, n, k int, a []float32, ars, acs int, b []float32, brs, bps int, c []float32, ldc int, alpha float32, accumulate bool) {
	for i := range rows {
		for j := range n {
			var s float32
			bj := b[j/TileCols*bps+j%TileCols:]
			for l := range k {
				x, y := math.Float32bits(a[i*ars+l*acs]), math.Float32bits(bj[l*brs])
				s += float32(math.Float32frombits(x&^0xffff) * math.Float32frombits(y&^0xffff))
				s += float32(math.Float32frombits(x<<16) * math.Float32frombits(y<<16))
			}
			v := float32(alpha * s)
			if accumulate {
				v += c[i*ldc+j]
			}
			c[i*ldc+j] = v
		}
	}
}
