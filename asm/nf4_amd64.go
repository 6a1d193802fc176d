//go:build !purego

package asm

// These are decodeNF4Vec with AVX-512, and both with stores that go past the caches:
// dst is then a multiple of 64 bytes.

//go:noescape
func decodeNF4AVX512(dst *float32, src *byte, absmax *float32, units, per int, c *Codebook)

//go:noescape
func decodeNF4Stream(dst *float32, src *byte, absmax *float32, units, per int, c *Codebook)

//go:noescape
func decodeNF4StreamAVX512(dst *float32, src *byte, absmax *float32, units, per int, c *Codebook)

// packNF4T decodes units of 32 codes of 16 rows, ld bytes apart, into a panel; per
// units share a scale:
//
//	dst[16*l+j] = c.Values[code(j, l)] * scales[j*lds+l/(32*per)]
//
//go:noescape
func packNF4T(dst *float32, src *byte, ld int, scales *float32, lds, units, per int, c *Codebook)

// packNF4x1 and packNF4x2 decode one or two units of 32 codes of k rows, ld bytes
// apart, into panels ldd elements apart; the scale of the second unit is second
// elements further:
//
//	dst[j/16*ldd+16*l+j%16] = c.Values[code(l, j)] * scales[l*lds+j/32*second]
//
//go:noescape
func packNF4x1(dst *float32, ldd int, src *byte, ld int, scales *float32, lds, second, k int, c *Codebook)

//go:noescape
func packNF4x2(dst *float32, ldd int, src *byte, ld int, scales *float32, lds, second, k int, c *Codebook)

// storeFence waits for the stores that go past the caches.
//
//go:noescape
func storeFence()
