//go:build !purego

package asm

const has16 = true

// dots16Blocks runs the kernel of a format: see dots16Args.
func dots16Blocks(f rowFormat, a *dots16Args) {
	switch f {
	case rowsQ8_0:
		if a.apart != 0 {
			dots16Q8_0_512(a)
		} else {
			dots16Q8_0(a)
		}
	case rowsQ4_0:
		if a.apart != 0 {
			dots16Q4_0_512(a)
		} else {
			dots16Q4_0(a)
		}
	case rowsQ4_1:
		if a.apart != 0 {
			dots16Q4_1_512(a)
		} else {
			dots16Q4_1(a)
		}
	case rowsIQ4_NL:
		if a.apart != 0 {
			dots16IQ4_NL_512(a)
		} else {
			dots16IQ4_NL(a)
		}
	case rowsNF4:
		if use512 {
			dots16NF4_512(a)
		} else {
			dots16NF4(a)
		}
	}
}

//go:noescape
func dots16Q8_0(a *dots16Args)

//go:noescape
func dots16Q8_0_512(a *dots16Args)

//go:noescape
func dots16Q4_0(a *dots16Args)

//go:noescape
func dots16Q4_0_512(a *dots16Args)

//go:noescape
func dots16Q4_1(a *dots16Args)

//go:noescape
func dots16Q4_1_512(a *dots16Args)

//go:noescape
func dots16IQ4_NL(a *dots16Args)

//go:noescape
func dots16IQ4_NL_512(a *dots16Args)

//go:noescape
func dots16NF4(a *dots16Args)

//go:noescape
func dots16NF4_512(a *dots16Args)
