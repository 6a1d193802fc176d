package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/tenon-ml/tenon/asm"
)

// bitsAt returns n <= 8 bits of b from the bit at on, the lowest first.
func bitsAt(b []byte, at, n int) int {
	v := 0
	for i := range n {
		v |= int(b[(at+i)/8]>>((at+i)%8)&1) << i
	}
	return v
}

// nibble returns the nibble of an element where the low ones of 32 bytes (or
// half a short block) come before their high ones.
func nibble(b []byte, i, half int) int { return bitsAt(b[i/(2*half)*half+i%half:], i/half%2*4, 4) }

// f16 returns the value of an F16 in exact arithmetic.
func f16(b []byte) float32 {
	h := binary.LittleEndian.Uint16(b)
	sign, exp, man := 1-2*float64(h>>15), int(h>>10&31), float64(h&1023)
	switch {
	case exp == 31 && man > 0:
		return float32(math.NaN())
	case exp == 31:
		return float32(math.Inf(int(sign)))
	case exp == 0:
		return float32(math.Copysign(math.Ldexp(man, -24), sign))
	default:
		return float32(sign * math.Ldexp(1024+man, exp-25))
	}
}

// mul and sub round once: the products and sums of F32 numbers, as F64, are
// either exact or far enough from what F32 would round differently.
func mul(x, y float32) float32 { return float32(float64(x) * float64(y)) }
func sub(x, y float32) float32 { return float32(float64(x) - float64(y)) }

// scaleMin reads scale and minimum g of a Q4_K or Q5_K block: bytes 4 to 15
// hold them as 0 EEAAAAAA … 4 eeaaaaaa … 8 eeeeEEEE (A: scale 0, E: scale 4, in
// capitals; minima in small letters).
func scaleMin(b []byte, g int) (scale, minimum float32) {
	b = b[4:16]
	if g < 4 {
		return float32(bitsAt(b[g:], 0, 6)), float32(bitsAt(b[g+4:], 0, 6))
	}
	g -= 4
	return float32(bitsAt(b[8+g:], 0, 4) + 16*bitsAt(b[g:], 6, 2)), float32(bitsAt(b[8+g:], 4, 4) + 16*bitsAt(b[4+g:], 6, 2))
}

// blockFormats gives each block type's element i of a block as its definition
// has it, one element at a time.
var blockFormats = []struct {
	dt      DType
	scales  []int // where a block has its F16 numbers
	element func(b []byte, i int) float32
}{
	{Q4_0, []int{0}, func(b []byte, i int) float32 { return mul(f16(b), float32(nibble(b[2:], i, 16)-8)) }},
	{Q4_1, []int{0, 2}, func(b []byte, i int) float32 {
		return sub(mul(f16(b), float32(nibble(b[4:], i, 16))), -f16(b[2:]))
	}},
	{Q5_0, []int{0}, func(b []byte, i int) float32 {
		return mul(f16(b), float32(nibble(b[6:], i, 16)+16*bitsAt(b[2:], i, 1)-16))
	}},
	{Q5_1, []int{0, 2}, func(b []byte, i int) float32 {
		return sub(mul(f16(b), float32(nibble(b[8:], i, 16)+16*bitsAt(b[4:], i, 1))), -f16(b[2:]))
	}},
	{Q8_0, []int{0}, func(b []byte, i int) float32 { return mul(f16(b), float32(int8(b[2+i]))) }},
	{Q2_K, []int{80, 82}, func(b []byte, i int) float32 {
		scale, minimum := float32(bitsAt(b[i/16:], 0, 4)), float32(bitsAt(b[i/16:], 4, 4))
		q := bitsAt(b[16+i/128*32+i%32:], i/32%4*2, 2)
		return sub(mul(mul(f16(b[80:]), scale), float32(q)), mul(f16(b[82:]), minimum))
	}},
	{Q3_K, []int{108}, func(b []byte, i int) float32 {
		q := bitsAt(b[32+i/128*32+i%32:], i/32%4*2, 2) + 4*bitsAt(b[i%32:], i/32, 1) - 4
		g := i / 16
		s := bitsAt(b[96+g%8:], g/8*4, 4) + 16*bitsAt(b[104+g%4:], g/4*2, 2) - 32
		return mul(mul(f16(b[108:]), float32(s)), float32(q))
	}},
	{Q4_K, []int{0, 2}, func(b []byte, i int) float32 {
		scale, minimum := scaleMin(b, i/32)
		return sub(mul(mul(f16(b), scale), float32(nibble(b[16:], i, 32))), mul(f16(b[2:]), minimum))
	}},
	{Q5_K, []int{0, 2}, func(b []byte, i int) float32 {
		scale, minimum := scaleMin(b, i/32)
		q := nibble(b[48:], i, 32) + 16*bitsAt(b[16+i%32:], i/32, 1)
		return sub(mul(mul(f16(b), scale), float32(q)), mul(f16(b[2:]), minimum))
	}},
	{Q6_K, []int{208}, func(b []byte, i int) float32 {
		q := nibble(b, i, 64) + 16*bitsAt(b[128+i/128*32+i%32:], i/32%4*2, 2) - 32
		return mul(mul(f16(b[208:]), float32(int8(b[192+i/16]))), float32(q))
	}},
	{IQ4_NL, []int{0}, func(b []byte, i int) float32 {
		values := []float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
		return mul(f16(b), values[nibble(b[2:], i, 16)])
	}},
}

// checkBlocks decodes src, whole blocks of the format, and compares each
// element's bits with its definition's (of a NaN only that it is one).
func checkBlocks(t *testing.T, dt DType, element func(b []byte, i int) float32, src []byte) {
	t.Helper()
	block, size := dt.Block()
	const after = 7 // elements that must stay
	all := make([]float32, len(src)/size*block+after)
	for i := range all {
		all[i] = -1.5
	}
	dst := all[:len(all)-after]
	dt.Decode(dst, src)
	for i, got := range dst {
		want := element(src[i/block*size:][:size], i%block)
		if math.Float32bits(got) != math.Float32bits(want) && (got == got || want == want) {
			t.Fatalf("%s, block %d, element %d: got %v (%08x), want %v (%08x), block %x", dt, i/block, i%block,
				got, math.Float32bits(got), want, math.Float32bits(want), src[i/block*size:][:size])
		}
	}
	for _, v := range all[len(dst):] {
		if v != -1.5 {
			t.Fatalf("%s: %d elements: one after them is %v", dt, len(dst), v)
		}
	}
}

func TestDecodeBlocks(t *testing.T) {
	t.Logf("tier %s", asm.Tier())
	for _, f := range blockFormats {
		t.Run(f.dt.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(21, uint64(f.dt)))
			block, size := f.dt.Block()
			if !f.dt.CanDecode() || f.dt.Bytes(3*block) != 3*size {
				t.Fatalf("%d elements in %d bytes, CanDecode %v", block, size, f.dt.CanDecode())
			}
			if dt, ok := ParseDType(f.dt.String()); !ok || dt != f.dt {
				t.Errorf("ParseDType(%q) = %v, %v", f.dt.String(), dt, ok)
			}
			for n := range 40 {
				src := make([]byte, n*size)
				for i := range src {
					src[i] = byte(r.Uint32())
				}
				if n%4 != 0 { // scales as weights have them, where each bit of the sum matters
					for b := range n {
						for _, at := range f.scales {
							binary.LittleEndian.PutUint16(src[b*size+at:], uint16(r.Uint32())&0x83ff|uint16(4+r.IntN(10))<<10)
						}
					}
				}
				checkBlocks(t, f.dt, f.element, src)
			}
		})
	}
}

// Every type with blocks is in the table of definitions.
func TestBlockFormats(t *testing.T) {
	known := map[DType]bool{}
	for _, f := range blockFormats {
		known[f.dt] = true
	}
	for dt := F32; dt < numDTypes; dt++ {
		if block, _ := dt.Block(); block > 1 && !known[dt] && !dt.Quantized() {
			t.Errorf("%s has no definition", dt)
		}
	}
}

// Decode wants as many bytes as its elements take.
func TestDecodeShort(t *testing.T) {
	for _, f := range blockFormats {
		block, size := f.dt.Block()
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", f.dt)
				}
			}()
			f.dt.Decode(make([]float32, 2*block), make([]byte, 2*size)[:2*size-1])
		}()
	}
}

func FuzzDecodeBlocks(f *testing.F) {
	for i, format := range blockFormats {
		_, size := format.dt.Block()
		block := make([]byte, size)
		for j := range block {
			block[j] = byte(37*j + i)
		}
		f.Add(uint8(i), block)
	}
	f.Fuzz(func(t *testing.T, which uint8, src []byte) {
		format := blockFormats[int(which)%len(blockFormats)]
		_, size := format.dt.Block()
		checkBlocks(t, format.dt, format.element, src[:len(src)/size*size])
	})
}

// The rate is that of the F32 that is written.
func BenchmarkDecode(b *testing.B) {
	const n = 16 << 10
	dst := make([]float32, n)
	types := []DType{BF16, F16}
	for _, f := range blockFormats {
		types = append(types, f.dt)
	}
	for _, dt := range types {
		src := make([]byte, dt.Bytes(n))
		for i := range src {
			src[i] = byte(i) & 0x3f // finite scales
		}
		b.Run(fmt.Sprintf("%s/%s", dt, asm.Tier()), func(b *testing.B) {
			b.SetBytes(4 * n)
			for b.Loop() {
				dt.Decode(dst, src)
			}
		})
	}
}
