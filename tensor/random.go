package tensor

import "math"

// Philox returns four random words for a counter under a key: Philox4x32-10 of
// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). Any place
// of any stream can be drawn at once, so what is random does not depend on the
// order or the thread in which it is computed.
func Philox(key, counter uint64) [4]uint32 { return philox(key, counter, 0) }

func philox(key, lo, hi uint64) [4]uint32 {
	const m0, m1, w0, w1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85
	k0, k1 := uint32(key), uint32(key>>32)
	c := [4]uint32{uint32(lo), uint32(lo >> 32), uint32(hi), uint32(hi >> 32)}
	for range 10 {
		p0, p1 := uint64(m0)*uint64(c[0]), uint64(m1)*uint64(c[2])
		c = [4]uint32{uint32(p1>>32) ^ c[1] ^ k0, uint32(p1), uint32(p0>>32) ^ c[3] ^ k1, uint32(p0)}
		k0, k1 = k0+w0, k1+w1
	}
	return c
}

// Random is a stream of random numbers, made by Philox from a key.
type Random struct {
	key, at uint64
	buf     [4]uint32
	left    int
}

// NewRandom returns the stream of a seed and a name: streams of different names
// are independent of each other.
func NewRandom(seed uint64, name string) *Random { return &Random{key: StreamKey(seed, name)} }

// StreamKey returns the Philox key of a named stream under a seed.
func StreamKey(seed uint64, name string) uint64 {
	// FNV-1a over the name, then two rounds of a 64-bit mixer.
	h := uint64(14695981039346656037) ^ seed*0x9E3779B97F4A7C15
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	for range 2 {
		h = (h ^ h>>32) * 0xD6E8FEB86659FD93
	}
	return h ^ h>>32
}

// Uint32 returns the next word.
func (r *Random) Uint32() uint32 {
	if r.left == 0 {
		r.buf, r.left = Philox(r.key, r.at), 4
		r.at++
	}
	r.left--
	return r.buf[3-r.left]
}

// Float64 returns a number of [0, 1) with 53 random bits.
func (r *Random) Float64() float64 {
	hi, lo := uint64(r.Uint32()), uint64(r.Uint32())
	return float64(hi<<21|lo>>11) / (1 << 53)
}

// Uniform fills dst with numbers of [lo, hi).
func (r *Random) Uniform(dst []float32, lo, hi float64) {
	for i := range dst {
		dst[i] = float32(lo + (hi-lo)*r.Float64())
	}
}

// Normal fills dst with normally distributed numbers (Box-Muller).
func (r *Random) Normal(dst []float32, mean, std float64) {
	for i := 0; i < len(dst); i += 2 {
		u := 1 - r.Float64() // never 0
		m, a := std*math.Sqrt(-2*math.Log(u)), 2*math.Pi*r.Float64()
		dst[i] = float32(mean + m*math.Cos(a))
		if i+1 < len(dst) {
			dst[i+1] = float32(mean + m*math.Sin(a))
		}
	}
}

// DropoutMask calls f for the elements lo ≤ i < hi with whether dropout keeps
// element i: its 32 random bits, word i mod 4 of Philox(key, i/4), are at least
// p·2³².
func DropoutMask(p float64, key uint64, lo, hi int, f func(i int, keep bool)) {
	limit := uint64(p * (1 << 32))
	for i := lo; i < hi; {
		w := Philox(key, uint64(i/4))
		for end := min((i/4+1)*4, hi); i < end; i++ {
			f(i, uint64(w[i%4]) >= limit)
		}
	}
}

func (c *CPU) dropout(dst, x *Tensor, p float64, key uint64) {
	d, s := dst.F32(), x.F32()
	scale := float32(1 / (1 - p))
	c.ranges(len(d), chunk, func(lo, hi int) {
		DropoutMask(p, key, lo, hi, func(i int, keep bool) {
			if keep {
				d[i] = s[i] * scale
			} else {
				d[i] = 0
			}
		})
	})
}
