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

// storeFence waits for the stores that go past the caches.
//
//go:noescape
func storeFence()
