package asm

import (
	"runtime"
	"unsafe"
)

// ReadStreams reads x in eight streams side by side and drops what it read: as
// fast as memory can be read. It leaves out up to 127 elements at the end.
func ReadStreams(x []float32) {
	stride := len(x) / 8 &^ 15
	if !useVec {
		x0, x1, x2, x3, x4, x5, x6, x7 := x[:stride], x[stride:][:stride], x[2*stride:][:stride], x[3*stride:][:stride], x[4*stride:][:stride], x[5*stride:][:stride], x[6*stride:][:stride], x[7*stride:][:stride]
		var s0, s1, s2, s3, s4, s5, s6, s7 float32
		for i := range x0 {
			s0 += x0[i]
			s1 += x1[i]
			s2 += x2[i]
			s3 += x3[i]
			s4 += x4[i]
			s5 += x5[i]
			s6 += x6[i]
			s7 += x7[i]
		}
		runtime.KeepAlive(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7)
		return
	}
	const most = 16 << 10 // elements of a stream between two chances for the collector
	for at := 0; at < stride; at += most {
		readVec(&x[at], stride, min(most, stride-at))
	}
}

// StreamFill sets all of x to v past the caches, as fast as memory can be written, if x
// begins at a multiple of 64 bytes: the limit of whatever writes more than the caches
// hold. (0 is no measure of it: a Zen 4 writes zeros three times as fast as anything else.)
func StreamFill(x []float32, v float32) {
	n := len(x) &^ 15
	if !useVec || n == 0 || uintptr(unsafe.Pointer(&x[0]))%64 != 0 {
		fill(x, v)
		return
	}
	const most = 256 << 10 // elements between two chances for the collector
	for at := 0; at < n; at += most {
		fillVec(&x[at], min(most, n-at), v)
	}
	fill(x[n:], v)
}

func fill(x []float32, v float32) {
	for i := range x {
		x[i] = v
	}
}

// Prefetch asks for x to be brought into the second-level cache and does not wait
// for it. What is read next in another place comes sooner so: the machine itself
// looks ahead only within a page.
func Prefetch[T byte | float32](x []T) {
	if useVec && len(x) > 0 {
		prefetchVec((*byte)(unsafe.Pointer(&x[0])), len(x)*int(unsafe.Sizeof(x[0])))
	}
}
