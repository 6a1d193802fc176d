package asm

// FMALoop runs n rounds of independent fused multiply-adds on the registers of
// the tier alone, and returns how many floating-point operations they are: what
// a machine can do at most. A round takes a few nanoseconds; n is at most a few
// thousand, since the collector cannot stop a thread inside of the loop.
//
//	for range n {
//		for i := range sum {
//			sum[i] = sum[i]*x + y
//		}
//	}
func FMALoop(n int) (flops int) {
	n = max(n, 0)
	switch {
	case use512:
		fmaLoop512(n)
		return n * 24 * 16 * 2
	case useVec:
		fmaLoop(n)
		return n * 12 * lanes * 2
	}
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	x := 1 / float32(n+2)
	for range n {
		s0 = s0*x + x
		s1 = s1*x + x
		s2 = s2*x + x
		s3 = s3*x + x
		s4 = s4*x + x
		s5 = s5*x + x
		s6 = s6*x + x
		s7 = s7*x + x
	}
	if s0+s1+s2+s3+s4+s5+s6+s7 < 0 { // never, but the compiler cannot know
		n = 0
	}
	return n * 8 * 2
}
