//go:build !purego

package asm

import "golang.org/x/sys/cpu"

const lanes = 8 // float32 in a vector of the kernels in vec_amd64.s

// What the tier that runs may use. They are set before main and by tests.
var (
	level   = chooseTier()
	useVec  = level >= 1
	use512  = level >= 2 // AVX-512 F, BW, DQ, VL, VNNI
	useBF16 = level >= 3 // and BF16
)

// hasVBMI says that permutations of bytes go with AVX-512.
var hasVBMI = cpu.X86.HasAVX512VBMI

func setTier(i int) {
	level, useVec, use512, useBF16 = i, i >= 1, i >= 2, i >= 3
}

func tiers() []string {
	has := &cpu.X86
	switch {
	case !(has.HasAVX2 && has.HasFMA && has.HasF16C):
		return []string{generic}
	case !(has.HasAVX512F && has.HasAVX512BW && has.HasAVX512DQ && has.HasAVX512VL && has.HasAVX512VNNI):
		return []string{generic, "avx2"}
	case !has.HasAVX512BF16:
		return []string{generic, "avx2", "avx512"}
	}
	return []string{generic, "avx2", "avx512", "avx512bf16"}
}
