package tensor

import (
	"encoding/binary"
	"math"
	"testing"
)

// TestEncodeHalf encodes all values, all midpoints between neighbours, and their
// neighbours in F32.
func TestEncodeHalf(t *testing.T) {
	decode := func(dt DType, h uint16) float32 {
		var v [1]float32
		dt.Decode(v[:], binary.LittleEndian.AppendUint16(nil, h))
		return v[0]
	}
	for _, c := range []struct {
		dt  DType
		inf uint16
	}{{F16, 0x7c00}, {BF16, 0x7f80}} {
		encode := func(v float32) uint16 {
			var b [2]byte
			c.dt.Encode(b[:], []float32{v})
			return binary.LittleEndian.Uint16(b[:])
		}
		for h := range c.inf {
			for sign := range uint16(2) {
				s := sign << 15
				v := decode(c.dt, h|s)
				if got := encode(v); got != h|s {
					t.Fatalf("%s: %g is %04x, want %04x", c.dt, v, got, h|s)
				}
				next := float64(decode(c.dt, h+1|s))
				if h+1 == c.inf { // as if there were one more exponent
					next = 2*float64(v) - float64(decode(c.dt, h-1|s))
				}
				mid := float32((float64(v) + next) / 2) // exact
				even := h + h&1
				away := math.Nextafter32(mid, float32(math.Inf(1-2*int(sign))))
				if got := encode(mid); got != even|s {
					t.Fatalf("%s: tie %g is %04x, want %04x", c.dt, mid, got, even|s)
				}
				if got := encode(math.Nextafter32(mid, v)); got != h|s {
					t.Fatalf("%s: below tie %g is %04x, want %04x", c.dt, mid, got, h|s)
				}
				if got := encode(away); got != (h+1)|s {
					t.Fatalf("%s: above tie %g is %04x, want %04x", c.dt, mid, got, h+1|s)
				}
			}
		}
		for _, b := range []uint32{0x7f800001, 0x7fc00000, 0xff800001, 0xffffffff, 0x7fffffff} {
			got := decode(c.dt, encode(math.Float32frombits(b)))
			if got == got || math.Signbit(float64(got)) != (b>>31 == 1) {
				t.Errorf("%s: NaN %08x is %08x", c.dt, b, math.Float32bits(got))
			}
		}
	}
}
