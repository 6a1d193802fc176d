//go:build !amd64 || purego

package asm

// Never called: see tier_noavx512.go.
func decodeNF4AVX512(*float32, *byte, *float32, int, int, *Codebook)          { panic(use512) }
func decodeNF4StreamAVX512(*float32, *byte, *float32, int, int, *Codebook)    { panic(use512) }
func packNF4T(*float32, *byte, int, *float32, int, int, int, *Codebook)       { panic(use512) }
func packNF4x1(*float32, int, *byte, int, *float32, int, int, int, *Codebook) { panic(use512) }
func packNF4x2(*float32, int, *byte, int, *float32, int, int, int, *Codebook) { panic(use512) }

// Other processors write past the caches by themselves, or have no instruction for it.
func decodeNF4Stream(dst *float32, src *byte, absmax *float32, units, per int, c *Codebook) {
	decodeNF4Vec(dst, src, absmax, units, per, c)
}

func storeFence() {}
