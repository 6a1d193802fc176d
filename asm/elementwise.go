package asm

// chunk is the number of elements that one call of an elementwise vector kernel
// works on: below 50 µs from memory.
const chunk = 1 << 14

// pad returns the tail of a slice in a whole vector. Kernels whose vector form
// rounds differently from Go's loop compute their tails so, and an element's
// result does not depend on where a slice was cut.
func pad(x []float32) (v [lanes]float32) {
	copy(v[:], x)
	return v
}

// Add is
//
//	for i := range dst {
//		dst[i] = x[i] + y[i]
//	}
func Add(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	i := 0
	if useVec {
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			addVec(dst[i:j], x[i:j], y[i:j])
			i = j
		}
	}
	for ; i < len(dst); i++ {
		dst[i] = x[i] + y[i]
	}
}

// Sub is
//
//	for i := range dst {
//		dst[i] = x[i] - y[i]
//	}
func Sub(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	i := 0
	if useVec {
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			subVec(dst[i:j], x[i:j], y[i:j])
			i = j
		}
	}
	for ; i < len(dst); i++ {
		dst[i] = x[i] - y[i]
	}
}

// Mul is
//
//	for i := range dst {
//		dst[i] = x[i] * y[i]
//	}
func Mul(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	i := 0
	if useVec {
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			mulVec(dst[i:j], x[i:j], y[i:j])
			i = j
		}
	}
	for ; i < len(dst); i++ {
		dst[i] = x[i] * y[i]
	}
}

// Div is
//
//	for i := range dst {
//		dst[i] = x[i] / y[i]
//	}
func Div(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	i := 0
	if useVec {
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			divVec(dst[i:j], x[i:j], y[i:j])
			i = j
		}
	}
	for ; i < len(dst); i++ {
		dst[i] = x[i] / y[i]
	}
}

// Scale is
//
//	for i := range dst {
//		dst[i] = a * x[i]
//	}
func Scale(dst, x []float32, a float32) {
	x = x[:len(dst)]
	i := 0
	if useVec {
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			scaleVec(dst[i:j], x[i:j], a)
			i = j
		}
	}
	for ; i < len(dst); i++ {
		dst[i] = a * x[i]
	}
}

// AddScaled is
//
//	for i := range dst {
//		dst[i] += a * x[i]
//	}
func AddScaled(dst, x []float32, a float32) {
	x = x[:len(dst)]
	if useVec {
		i := 0
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			addScaledVec(dst[i:j], x[i:j], a)
			i = j
		}
		if i < len(dst) {
			d, v := pad(dst[i:]), pad(x[i:])
			addScaledVec(d[:], v[:], a)
			copy(dst[i:], d[:])
		}
		return
	}
	for i := range dst {
		dst[i] += a * x[i]
	}
}

// MulAddScaled is
//
//	for i := range dst {
//		dst[i] += a * x[i] * y[i]
//	}
func MulAddScaled(dst, x, y []float32, a float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	if useVec {
		i := 0
		for end := len(dst) &^ (lanes - 1); i < end; {
			j := min(i+chunk, end)
			mulAddScaledVec(dst[i:j], x[i:j], y[i:j], a)
			i = j
		}
		if i < len(dst) {
			d, v, w := pad(dst[i:]), pad(x[i:]), pad(y[i:])
			mulAddScaledVec(d[:], v[:], w[:], a)
			copy(dst[i:], d[:])
		}
		return
	}
	for i := range dst {
		dst[i] += a * x[i] * y[i]
	}
}
