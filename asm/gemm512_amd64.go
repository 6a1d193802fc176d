//go:build !purego

package asm

// rows512 is the number of rows of gemm512's largest tile.
const rows512 = 14

// gemm512 computes a tile of up to 14 rows and one or two vectors of columns, of
// the last of which mask tells the columns that there are; tile is rows-1, or
// rows512 more with two vectors:
//
//	c[i*ldc+j] = alpha * Σ_l a[i*ars+l*acs] * b[j/16*bps+l*brs+j%16] (+ c[i*ldc+j])
//
// Meanwhile it asks for the k*64 bytes at next, which are wanted soon, in the L2 cache.
//
//go:noescape
func gemm512(tile, k int, a *float32, ars, acs int, b *float32, brs, bps int, c *float32, ldc int, alpha float32, mask uint32, accumulate bool, next uintptr)

// gemmBF16 is gemm512 on pairs of BF16: a product is
//
//	first(a)*first(b) + second(a)*second(b)
//
//go:noescape
func gemmBF16(tile, k int, a *float32, ars, acs int, b *float32, brs, bps int, c *float32, ldc int, alpha float32, mask uint32, accumulate bool, next uintptr)

// pairBF16 is the loop of PairRows; n is a multiple of 16.
//
//go:noescape
func pairBF16(dst, x, y *float32, n int)

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
