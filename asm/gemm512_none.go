//go:build !amd64 || purego

package asm

const rows512 = 14

// Never called: use512 and useBF16 are a constant false.
func gemm512(tile, k int, a *float32, ars, acs int, b *float32, brs, bps int, c *float32, ldc int, alpha float32, mask uint32, accumulate bool, next uintptr) {
	panic(use512)
}
func gemmBF16(tile, k int, a *float32, ars, acs int, b *float32, brs, bps int, c *float32, ldc int, alpha float32, mask uint32, accumulate bool, next uintptr) {
	panic(useBF16)
}
func pairT512(dst *float32, ldd int, src *float32, ld, rows, k int, order *[2][16]uint32) {
	panic(useBF16)
}
func pairCopy512(dst *float32, ldd int, src *float32, ld, k, n int) { panic(useBF16) }
func pairPanels4(dst *float32, stride int, src *float32, ld, k int) { panic(useBF16) }
func pairPanels2(dst *float32, stride int, src *float32, ld, k int) { panic(useBF16) }

var pairOrder [17][2][16]uint32

func packCopy512(dst, src *float32, ld, k, n int)      { panic(use512) }
func packBF16Rows4(dst *float32, src *byte, ld, k int) { panic(use512) }
func packBF16Rows1(dst *float32, src *byte, ld, k int) { panic(use512) }
func packF16Rows4(dst *float32, src *byte, ld, k int)  { panic(use512) }
func packF16Rows1(dst *float32, src *byte, ld, k int)  { panic(use512) }
func fmaLoop512(int)                                   { panic(use512) }
