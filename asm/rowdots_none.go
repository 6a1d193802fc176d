//go:build !(amd64 || arm64) || purego

package asm

func dotsVectors(rowFormat, int) int { return 0 }

// Never called: useVec is a constant false.
func dotsUnits(rowFormat, *dotsArgs) { panic(useVec) }
func fold(_, _ *float32, _ int)      { panic(useVec) }
func foldNF4(_, _ *float32, _ int)   { panic(useVec) }
