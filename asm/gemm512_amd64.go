//go:build !purego

package asm

// rows512 is the number of rows of gemm512's largest tile.
const rows512 = 14

// gemm512 computes a tile of up to 14 rows and one or two vectors of columns, of
// the last of which mask tells the columns that there are; tile is rows-1, with two
// vectors rows512 more, and for up to 8 columns twice that more:
//
//	c[i*ldc+j] = alpha * Σ_l a[i*ars+l*acs] * b[j/16*bps+l*brs+j%16] (+ c[i*ldc+j])
//
// Meanwhile it asks for k times 64 bytes from next on, brs apart, which are wanted soon,
// in the L2 cache.
//
//go:noescape
func gemm512(tile, k int, a *float32, ars, acs int, b *float32, brs, bps int, c *float32, ldc int, alpha float32, mask uint32, accumulate bool, next uintptr)

// gemmBF16 is gemm512 on pairs of BF16: a product is
//
//	first(a)*first(b) + second(a)*second(b)
//
//go:noescape
func gemmBF16(tile, k int, a *float32, ars, acs int, b *float32, brs, bps int, c *float32, ldc int, alpha float32, mask uint32, accumulate bool, next uintptr)

// pairT512 packs 4 to 16 rows of k elements in pairs, transposed, and fills them up
// with zeros to ldd, up to 16:
//
//	dst[l*ldd+i] = pair(src[i*ld+2*l], src[i*ld+2*l+1])
//
// order is pairOrder's for that number of rows.
//
//go:noescape
func pairT512(dst *float32, ldd int, src *float32, ld, rows, k int, order *[2][16]uint32)

// pairOrder are, for a number of rows, indices into two vectors whose quarters are
// four rows' each, those of the pairs l and l+4 in turns: the rows' words of l, and
// those of l+4. With fewer than 16 rows the quarters' rows overlap.
var pairOrder = func() (order [17][2][16]uint32) {
	for rows := 4; rows <= 16; rows++ {
		for i := range rows {
			g := i / 4
			first := min(4*g, rows-4)
			for next := range 2 {
				order[rows][next][i] = uint32(8*g + 4*next + i - first)
			}
		}
	}
	return order
}()

// pairCopy512 packs n up to 16 columns of k pairs of rows, and fills them up with
// zeros to ldd, up to 16:
//
//	dst[l*ldd+i] = pair(src[2*l*ld+i], src[(2*l+1)*ld+i])
//
//go:noescape
func pairCopy512(dst *float32, ldd int, src *float32, ld, k, n int)

// pairPanels4 and pairPanels2 pack k pairs of rows of 4 and 2 panels that are stride
// elements apart:
//
//	dst[j/16*stride+l*16+j%16] = pair(src[2*l*ld+j], src[(2*l+1)*ld+j])
//
//go:noescape
func pairPanels4(dst *float32, stride int, src *float32, ld, k int)

//go:noescape
func pairPanels2(dst *float32, stride int, src *float32, ld, k int)

// packBF16Rows4 to packF16Rows1 are packRows4 and packRows1 for rows of BF16 and F16
// that are ld bytes apart.
//
//go:noescape
func packBF16Rows4(dst *float32, src *byte, ld, k int)

//go:noescape
func packBF16Rows1(dst *float32, src *byte, ld, k int)

//go:noescape
func packF16Rows4(dst *float32, src *byte, ld, k int)

//go:noescape
func packF16Rows1(dst *float32, src *byte, ld, k int)

// packCopy512 copies n up to 16 columns:
//
//	dst[l*n+i] = src[l*ld+i]
//
//go:noescape
func packCopy512(dst, src *float32, ld, k, n int)

// fmaLoop512 is the loop of FMALoop.
//
//go:noescape
func fmaLoop512(n int)
