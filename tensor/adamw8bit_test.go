package tensor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"testing"
)

// The maps have bitsandbytes' bits.
func TestDynamicMaps(t *testing.T) {
	for want, values := range map[string]*[256]float32{
		"6d0ca9fed140bc2c31b9be3292029e22a209f6955020e65b13ceb5d7592f4e25": signed8.values,
		"8bdfcefe676c452769befeb4d489f5528b91b56d1c5405a95e17feb70181062e": unsigned8.values,
	} {
		b := make([]byte, 4*len(values))
		F32.Encode(b, values[:])
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want {
			t.Errorf("SHA-256 %x, want %s", sum, want)
		}
	}
}

// The code is that of the nearest value, found by looking at all.
func TestEncode8(t *testing.T) {
	r := NewRandom(1, "encode8")
	for _, e := range []*encoder8{signed8, unsigned8} {
		for _, n := range []int{1, 2, 255, 256, 257, 700} {
			for _, scale := range []float32{0, 1, 3e-5, 1e-20, 1e-38, 1e-40, math.SmallestNonzeroFloat32, 3e38} {
				x := make([]float32, n)
				r.Normal(x, 0, 1)
				for i := range x {
					switch i % 4 { // of all magnitudes, and ties
					case 1:
						x[i] *= float32(math.Pow(10, -float64(i%9)))
					case 2:
						x[i] = float32(e.bounds[i%255])
					case 3:
						x[i] = e.values[i%256]
					}
					x[i] = max(-1, min(1, x[i]))
					if e == unsigned8 {
						x[i] = float32(math.Abs(float64(x[i])))
					}
					if i%MomentBlock == 0 {
						x[i] = 1
					}
					x[i] *= scale
				}
				codes, absmax := make([]byte, n), make([]float32, ceil(n, MomentBlock))
				e.encode(codes, absmax, x)
				for i, v := range x {
					s := absmax[i/MomentBlock]
					if s != absMax(x[i/MomentBlock*MomentBlock:min(n, (i/MomentBlock+1)*MomentBlock)]) {
						t.Fatalf("scale %g", s)
					}
					least, d := math.Inf(1), 0.0
					for _, w := range e.values {
						d = math.Abs(float64(w)*float64(s) - float64(v))
						least = min(least, d)
					}
					if d = math.Abs(float64(e.values[codes[i]])*float64(s) - float64(v)); d > least {
						t.Fatalf("scale %g: %g has code %d, %g away, the nearest is %g away", s, v, codes[i], d, least)
					}
				}
				y := make([]float32, n)
				e.decode(y, codes, absmax)
				again, scales := make([]byte, n), make([]float32, len(absmax))
				e.encode(again, scales, y)
				for i := range y {
					if scale > 1e-30 && y[i] != e.values[codes[i]]*absmax[i/MomentBlock] {
						t.Fatalf("%d decodes to %g", codes[i], y[i])
					}
				}
				if scale > 1e-30 && !bytes.Equal(codes, again) {
					t.Errorf("scale %g, %d elements: codes of decoded codes are others", scale, n)
				}
			}
		}
	}
}

func BenchmarkAdamW8bit(b *testing.B) {
	c := NewCPU(1)
	defer c.Close()
	const n = 1 << 20
	r := NewRandom(1, "bench")
	p, g := New(c, F32, n), New(c, F32, n)
	r.Normal(p.F32(), 0, 1)
	r.Normal(g.F32(), 0, 1)
	m, err := NewMoment8(c, Shape{n}, true)
	if err != nil {
		b.Fatal(err)
	}
	v, err := NewMoment8(c, Shape{n}, false)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(n)
	for i := 0; b.Loop(); i++ {
		c.adamW8bit(p, g, m, v, AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Step: i + 1})
	}
}
