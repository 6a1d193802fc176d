package tensor

import (
	"math"

	"github.com/tenon-ml/tenon/asm"
)

func (c *CPU) fill(dst *Tensor, v float64) {
	if dst.dt == F64 {
		s := dst.F64()
		for i := range s {
			s[i] = v
		}
		return
	}
	o := operands{z: dst.F32(), a: float32(v)}
	c.spread(len(o.z), chunk, o, func(o operands, lo, hi int) {
		for i := lo; i < hi; i++ {
			o.z[i] = o.a
		}
	})
}

func (c *CPU) unary(op UnaryOp, dst, x *Tensor) {
	if dst.dt == F64 {
		unaryLoop(op, dst.F64(), x.F64())
		return
	}
	d, s := dst.F32(), x.F32()
	c.ranges(len(d), chunk, func(lo, hi int) {
		switch op {
		case OpExp:
			asm.Exp(d[lo:hi], s[lo:hi])
		case OpSiLU:
			asm.SiLU(d[lo:hi], s[lo:hi])
		case OpNeg:
			asm.Scale(d[lo:hi], s[lo:hi], -1)
		default:
			unaryLoop(op, d[lo:hi], s[lo:hi])
		}
	})
}

func unaryLoop[T float32 | float64](op UnaryOp, dst, x []T) {
	for i, v := range x {
		v := float64(v)
		switch op {
		case OpNeg:
			v = -v
		case OpExp:
			v = math.Exp(v)
		case OpLog:
			v = math.Log(v)
		case OpSqrt:
			v = math.Sqrt(v)
		case OpRsqrt:
			v = 1 / math.Sqrt(v)
		case OpRecip:
			v = 1 / v
		case OpSigmoid:
			v = 1 / (1 + math.Exp(-v))
		case OpSiLU:
			v = v / (1 + math.Exp(-v))
		}
		dst[i] = T(v)
	}
}

func (c *CPU) binary(op BinaryOp, dst, x, y *Tensor) {
	if dst.dt == F64 {
		c.binary64(op, dst, x, y)
		return
	}
	if x.shape.Equal(dst.shape) && y.Elems() == 1 && op == OpMul {
		o := operands{z: dst.F32(), x: x.F32(), a: y.F32()[0]}
		c.spread(len(o.z), chunk, o, func(o operands, lo, hi int) { asm.Scale(o.z[lo:hi], o.x[lo:hi], o.a) })
		return
	}
	if n := y.Elems(); x.shape.Equal(dst.shape) && n > 1 && n == y.Dim(-1) && op == OpAdd {
		o := operands{z: dst.F32(), x: x.F32(), y: y.F32(), n: n} // a bias
		c.spread(len(o.z)/n, rowsAtOnce(n), o, func(o operands, lo, hi int) {
			for i := lo * o.n; i < hi*o.n; i += o.n {
				asm.Add(o.z[i:i+o.n], o.x[i:i+o.n], o.y)
			}
		})
		return
	}
	if !x.shape.Equal(dst.shape) || !y.shape.Equal(dst.shape) {
		binaryStrided(op, dst.F32(), elements[float32](x), elements[float32](y), dst.shape,
			broadcastStrides(x.shape, dst.shape), broadcastStrides(y.shape, dst.shape))
		return
	}
	o := operands{z: dst.F32(), x: x.F32(), y: y.F32(), op: op}
	c.spread(len(o.z), chunk, o, func(o operands, lo, hi int) {
		z, x, y := o.z[lo:hi], o.x[lo:hi], o.y[lo:hi]
		switch o.op {
		case OpAdd:
			asm.Add(z, x, y)
		case OpSub:
			asm.Sub(z, x, y)
		case OpMul:
			asm.Mul(z, x, y)
		case OpDiv:
			asm.Div(z, x, y)
		}
	})
}

func (c *CPU) binary64(op BinaryOp, dst, x, y *Tensor) {
	binaryStrided(op, dst.F64(), elements[float64](x), elements[float64](y), dst.shape,
		broadcastStrides(x.shape, dst.shape), broadcastStrides(y.shape, dst.shape))
}

func binaryStrided[T float32 | float64](op BinaryOp, dst, x, y []T, shape Shape, xs, ys []int) {
	i := 0
	walk(shape, xs, ys, func(xo, yo, n, xstep, ystep int) {
		for range n {
			switch a, b := x[xo], y[yo]; op {
			case OpAdd:
				dst[i] = a + b
			case OpSub:
				dst[i] = a - b
			case OpMul:
				dst[i] = a * b
			case OpDiv:
				dst[i] = a / b
			}
			i, xo, yo = i+1, xo+xstep, yo+ystep
		}
	})
}

// walk visits an array of the given shape row by row, in order: f gets the
// offsets of the row's first element in two strided places, the row's length and
// the two steps along it.
func walk(shape Shape, as, bs []int, f func(ao, bo, n, astep, bstep int)) {
	if shape.Elems() == 0 {
		return
	}
	if len(shape) == 0 {
		f(0, 0, 1, 0, 0)
		return
	}
	last := len(shape) - 1
	idx := make([]int, last)
	ao, bo := 0, 0
	for {
		f(ao, bo, shape[last], as[last], bs[last])
		i := last - 1
		for ; i >= 0; i-- {
			idx[i]++
			ao, bo = ao+as[i], bo+bs[i]
			if idx[i] < shape[i] {
				break
			}
			ao, bo = ao-as[i]*shape[i], bo-bs[i]*shape[i]
			idx[i] = 0
		}
		if i < 0 {
			return
		}
	}
}
