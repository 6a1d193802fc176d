//go:build (amd64 || arm64) && !purego

package asm

// useVec says whether the kernels run their vector form. It is set before main
// and by tests.
var useVec = chooseTier() == vec

func setTier(name string) { useVec = name == vec }
