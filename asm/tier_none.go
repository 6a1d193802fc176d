//go:build !(amd64 || arm64) || purego

package asm

const (
	useVec = false
	lanes  = 4
	vec    = "" // there is no vector tier
)

var _ = chooseTier() // complains about a TENON_TIER that this build lacks

func setTier(string) {}

func hasVec() bool { return false }
