package asm

// Add is
//
//	for i := range dst {
//		dst[i] = x[i] + y[i]
//	}
func Add(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
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
	for i := range dst {
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
	for i := range dst {
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
	for i := range dst {
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
	for i := range dst {
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
	for i := range dst {
		dst[i] += a * x[i] * y[i]
	}
}
