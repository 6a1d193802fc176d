package asm

import (
	"math"
	"unsafe"
)

// BF16 products take their operands in pairs: a pair is the bfloat16 of two
// neighbours along the inner dimension, the first one in the lower half, in the four
// bytes of a float32. Pack, PackRows and GemmTilesBF16 move pairs as they move
// floats.

// HasBF16 reports whether the tier that runs multiplies pairs in hardware.
func HasBF16() bool { return useBF16 }

// PairRow writes a row as pairs, a last zero added if its length is odd:
//
//	dst[i] = pair(x[2*i], x[2*i+1])
//
// Values are rounded to nearest even.
func PairRow(dst, x []float32) {
	n := len(x) / 2
	EncodeBF16(bytesOf(dst[:n]), x[:2*n])
	if len(x)%2 != 0 {
		dst[n] = pair(x[2*n], 0)
	}
}

// PairRows writes two rows as pairs:
//
//	for i := range dst {
//		dst[i] = pair(x[i], y[i])
//	}
//
// Values are rounded to nearest even; the instruction for it makes denormals zero.
func PairRows(dst, x, y []float32) {
	n, done := len(dst), 0
	x, y = x[:n], y[:n]
	if useBF16 {
		if done = n &^ 15; done > 0 {
			pairBF16(&dst[0], &x[0], &y[0], done)
		}
	}
	for i := done; i < n; i++ {
		dst[i] = pair(x[i], y[i])
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

func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// GemmTilesBF16 is GemmTiles on pairs, k of them in a row: with
//
//	first(x)*first(y) + second(x)*second(y)
//
// in place of a product, in F32. VDPBF16PS, which computes it, rounds after either
// product, takes denormals as zero and makes none; its sums and those of plain Go
// differ by that.
func GemmTilesBF16(c []float32, ldc int, tiles []float32, h int, panels []float32, stride, m, n, k int, alpha float32, accumulate bool) {
	x := left{tiles, 1, 0, h, true, true}
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
