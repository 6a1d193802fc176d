package tensor

// streamLen is the number of elements from which a copy is too long for the caches.
const streamLen = 2 << 20

func (c *CPU) copyStrided(dst *Tensor, ds []int, src *Tensor, ss []int, shape Shape) {
	switch {
	case dst.dt.Quantized():
		Bad("copy to "+dst.dt.String(), "another type: what is encoded is made by Quantize", dst, src)
	case dst.dt == src.dt && shape.Equal(dst.shape) && shape.Equal(src.shape) && plain(ds, shape) && plain(ss, shape):
		d, s := dst.Bytes(), src.Bytes()
		c.ranges(len(d), 8*chunk, func(lo, hi int) { copy(d[lo:hi], s[lo:hi]) })
	case dst.dt == F32 && src.dt == F32:
		copyRows(elements[float32](dst), ds, elements[float32](src), ss, shape)
	case dst.dt == F64 && src.dt == F64:
		copyRows(elements[float64](dst), ds, elements[float64](src), ss, shape)
	case dst.dt == F32 && src.dt == F64:
		copyRows(elements[float32](dst), ds, elements[float64](src), ss, shape)
	case dst.dt == F64 && src.dt == F32:
		copyRows(elements[float64](dst), ds, elements[float32](src), ss, shape)
	case dst.dt == F32 && plain(ds, shape) && plain(ss, shape):
		d := dst.F32()
		block := 1
		if !src.dt.Quantized() {
			block, _ = src.dt.Block()
		}
		size, stream := chunk, len(d) >= streamLen
		if stream {
			size = streamLen / 8
		}
		c.ranges(len(d)/block, max(size/block, 1), func(lo, hi int) { src.decode(d[lo*block:hi*block], lo*block, stream) })
	default:
		Bad("strided copy from "+src.dt.String()+" to "+dst.dt.String(), "F32 and F64, or a whole tensor to F32", dst, src)
	}
}

// plain reports whether the strides are those of a contiguous array.
func plain(st []int, shape Shape) bool {
	for i, s := range shape.strides() {
		if shape[i] != 1 && st[i] != s {
			return false
		}
	}
	return true
}

func copyRows[D, S float32 | float64](dst []D, ds []int, src []S, ss []int, shape Shape) {
	walk(shape, ds, ss, func(do, so, n, dstep, sstep int) {
		for range n {
			dst[do] = D(src[so])
			do, so = do+dstep, so+sstep
		}
	})
}

func (c *CPU) encode(dst, src *Tensor) {
	switch dst.dt {
	case F32:
		o := operands{z: dst.F32(), x: src.F32()}
		c.spread(len(o.z), 2*chunk, o, func(o operands, lo, hi int) { copy(o.z[lo:hi], o.x[lo:hi]) })
	case Q8_0:
		encodeQ8_0(dst.Bytes(), src.F32())
	default:
		dst.dt.Encode(dst.Bytes(), src.F32())
	}
}
