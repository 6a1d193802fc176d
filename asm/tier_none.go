//go:build !(amd64 || arm64) || purego

package asm

const (
	useVec = false
	lanes  = 4
)

var level = chooseTier() // complains about a TENON_TIER that this build lacks

func setTier(i int) { level = i }

func tiers() []string { return []string{generic} }
