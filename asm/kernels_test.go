package asm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// eachTier runs f in every tier and restores the one that ran before.
func eachTier(t *testing.T, f func(t *testing.T)) {
	defer setTier(level)
	for i, tier := range tiers() {
		t.Run(tier, func(t *testing.T) {
			setTier(i)
			if Tier() != tier {
				t.Fatalf("tier %s runs, want %s", Tier(), tier)
			}
			f(t)
		})
	}
}

// A rowKernel is an elementwise kernel: ins inputs and outs outputs of one
// length. ref computes the outputs of one element in float64.
type rowKernel struct {
	name      string
	ins, outs int
	inOut     int // the first inOut outputs are read, too: they follow the inputs of ref
	run       func(out, in [][]float32)
	ref       func(x []float64) []float64
	ulps      float64 // of the result, or of the largest term where terms cancel
	scale     func(x []float64) float64
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

const a32 = float32(0.37)

var a64 = float64(a32)

var rowKernels = []rowKernel{
	{name: "Add", ins: 2, outs: 1, ulps: 0.5, run: func(o, x [][]float32) { Add(o[0], x[0], x[1]) }, ref: func(x []float64) []float64 { return []float64{x[0] + x[1]} }},
	{name: "Sub", ins: 2, outs: 1, ulps: 0.5, run: func(o, x [][]float32) { Sub(o[0], x[0], x[1]) }, ref: func(x []float64) []float64 { return []float64{x[0] - x[1]} }},
	{name: "Mul", ins: 2, outs: 1, ulps: 0.5, run: func(o, x [][]float32) { Mul(o[0], x[0], x[1]) }, ref: func(x []float64) []float64 { return []float64{x[0] * x[1]} }},
	{name: "Div", ins: 2, outs: 1, ulps: 0.5, run: func(o, x [][]float32) { Div(o[0], x[0], x[1]) }, ref: func(x []float64) []float64 { return []float64{x[0] / x[1]} }},
	{name: "Scale", ins: 1, outs: 1, ulps: 0.5, run: func(o, x [][]float32) { Scale(o[0], x[0], a32) }, ref: func(x []float64) []float64 { return []float64{a64 * x[0]} }},
	{name: "AddScaled", ins: 1, outs: 1, inOut: 1, ulps: 1, run: func(o, x [][]float32) { AddScaled(o[0], x[0], a32) },
		ref:   func(x []float64) []float64 { return []float64{x[1] + a64*x[0]} },
		scale: func(x []float64) float64 { return math.Abs(x[1]) + math.Abs(a64*x[0]) }},
	{name: "MulAddScaled", ins: 2, outs: 1, inOut: 1, ulps: 2, run: func(o, x [][]float32) { MulAddScaled(o[0], x[0], x[1], a32) },
		ref:   func(x []float64) []float64 { return []float64{x[2] + a64*x[0]*x[1]} },
		scale: func(x []float64) float64 { return math.Abs(x[2]) + math.Abs(a64*x[0]*x[1]) }},
	{name: "Exp", ins: 1, outs: 1, ulps: 2, run: func(o, x [][]float32) { Exp(o[0], x[0]) }, ref: func(x []float64) []float64 { return []float64{math.Exp(x[0])} }},
	{name: "SiLU", ins: 1, outs: 1, ulps: 3, run: func(o, x [][]float32) { SiLU(o[0], x[0]) }, ref: func(x []float64) []float64 { return []float64{x[0] * sigmoid(x[0])} }},
	{name: "SwiGLU", ins: 2, outs: 1, ulps: 4, run: func(o, x [][]float32) { SwiGLU(o[0], x[0], x[1]) }, ref: func(x []float64) []float64 { return []float64{x[0] * sigmoid(x[0]) * x[1]} }},
	{name: "SwiGLUGrad", ins: 3, outs: 2, ulps: 12, run: func(o, x [][]float32) { SwiGLUGrad(o[1], o[0], x[0], x[1], x[2]) },
		ref: func(x []float64) []float64 {
			s := sigmoid(x[1])
			return []float64{x[0] * x[1] * s, x[0] * x[2] * s * (1 + x[1]*(1-s))}
		},
		scale: func(x []float64) float64 {
			s := sigmoid(x[1])
			return max(math.Abs(x[0]*x[1]*s), math.Abs(x[0]*x[2]*s)*(1+math.Abs(x[1]*(1-s))))
		}},
	{name: "AttentionGrad", ins: 2, outs: 2, inOut: 2, ulps: 8, run: func(o, x [][]float32) { AttentionGrad(o[0], o[1], x[0], x[1]) },
		ref: func(x []float64) []float64 {
			p := math.Exp(x[2] - x[0])
			return []float64{p, p * (x[3] - x[1])}
		},
		scale: func(x []float64) float64 {
			d := math.Abs(x[2]) + math.Abs(x[0])
			return math.Exp(x[2]-x[0]) * (1 + d) * (1 + math.Abs(x[3]) + math.Abs(x[1]))
		}},
	{name: "AdamW", ins: 1, outs: 3, inOut: 3, ulps: 4,
		run: func(o, x [][]float32) {
			Mul(o[2], o[2], o[2]) // the second moment is not negative
			AdamW(o[0], x[0], o[1], o[2], 1e-3, 0.9, 0.999, 1e-8, 0.01, 1-math.Pow(0.9, 3), 1-math.Pow(0.999, 3))
		},
		ref: func(x []float64) []float64 {
			g, p, m, v := x[0], x[1], x[2], x[3]*x[3]
			m += 0.1 * (g - m)
			v = 0.999*v + 0.001*g*g
			p = p*(1-1e-5) - 1e-3/(1-math.Pow(0.9, 3))*m/(math.Sqrt(v)/math.Sqrt(1-math.Pow(0.999, 3))+1e-8)
			return []float64{p, m, v}
		},
		scale: func(x []float64) float64 { return math.Abs(x[0]) + math.Abs(x[1]) + math.Abs(x[2]) + x[3]*x[3] + 0.01 }},
}

// ulp is the distance of float32 neighbours at x.
func ulp(x float64) float64 {
	x = min(max(math.Abs(x), 0x1p-126), 0x1p127)
	return math.Ldexp(1, math.Ilogb(x)-23)
}

func normal(r *rand.Rand, x []float32) {
	for i := range x {
		x[i] = float32(r.NormFloat64() * 3)
	}
}

func TestRowKernels(t *testing.T) {
	for _, k := range rowKernels {
		t.Run(k.name, func(t *testing.T) {
			eachTier(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 2))
				worst := 0.0
				for n := range 68 {
					for _, atEnd := range []bool{false, true} {
						worst = max(worst, checkRow(t, r, k, n, atEnd, false))
					}
					if k.ins >= k.outs-k.inOut {
						checkRow(t, r, k, n, false, true)
					}
				}
				worst = max(worst, checkRow(t, r, k, 3*chunk+5, true, false))
				t.Logf("within %.2f ulp", worst)
			})
		})
	}
}

// checkRow runs k on n elements that lie against an unmapped page, before
// (unaligned end) or after (unaligned start), and returns the worst error in
// ulps. With alias, the outputs that are not read are the inputs.
func checkRow(t *testing.T, r *rand.Rand, k rowKernel, n int, atEnd, alias bool) (worst float64) {
	t.Helper()
	in, out := make([][]float32, k.ins), make([][]float32, k.outs)
	for i := range in {
		in[i] = guarded(t, n, atEnd)
		normal(r, in[i])
	}
	for i := range out {
		out[i] = guarded(t, n, atEnd)
		normal(r, out[i])
		if alias && i >= k.inOut {
			out[i] = in[k.ins-1-(i-k.inOut)]
		}
	}
	args := make([][]float64, n)
	for i := range args {
		for _, x := range in {
			args[i] = append(args[i], float64(x[i]))
		}
		for _, x := range out[:k.inOut] {
			args[i] = append(args[i], float64(x[i]))
		}
	}
	k.run(out, in)
	for i := range n {
		want := k.ref(args[i])
		for o, w := range want {
			unit := ulp(w)
			if k.scale != nil {
				unit = ulp(k.scale(args[i]))
			}
			got := out[o][i]
			d := math.Abs(float64(got)-w) / unit
			if !(d <= k.ulps) {
				t.Fatalf("%s: n %d, output %d, element %d of %v: got %v, want %v: %.1f ulp, want at most %v (alias %v)", k.name, n, o, i, args[i], got, w, d, k.ulps, alias)
			}
			worst = max(worst, d)
		}
	}
	return worst
}

func TestReductions(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		lengths := []int{chunk + 1, 2*chunk + 37}
		for n := range 68 {
			lengths = append(lengths, n)
		}
		for i, n := range append(lengths, lengths...) {
			atEnd := i < len(lengths)
			x, y, dst := guarded(t, n, atEnd), guarded(t, n, atEnd), guarded(t, n, atEnd)
			normal(r, x)
			normal(r, y)
			var sum, abs, dot, dotAbs, squares float64
			top := math.Inf(-1)
			for i := range x {
				v, w := float64(x[i]), float64(y[i])
				sum, abs = sum+v, abs+math.Abs(v)
				dot, dotAbs = dot+v*w, dotAbs+math.Abs(v*w)
				squares += v * v
				top = max(top, v)
			}
			check := func(name string, got float32, want, scale float64) {
				t.Helper()
				if d := math.Abs(float64(got)-want) / ulp(scale); !(d <= 2+math.Sqrt(float64(n))) && d != 0 {
					t.Errorf("%s, n %d: got %v, want %v: %.1f ulp of %v", name, n, got, want, d, scale)
				}
			}
			check("Sum", Sum(x), sum, abs)
			check("Dot", Dot(x, y), dot, dotAbs)
			check("SumSquares", SumSquares(x), squares, squares)
			if got := Max(x); float64(got) != top {
				t.Errorf("Max, n %d: got %v, want %v", n, got, top)
			}
			var expSum float64
			for _, v := range x {
				expSum += math.Exp(float64(v - 2))
			}
			check("ExpSubSum", ExpSubSum(dst, x, 2), expSum, expSum)
			for i, v := range x {
				check(fmt.Sprintf("ExpSubSum[%d]", i), dst[i], math.Exp(float64(v-2)), math.Exp(float64(v-2)))
			}
			for i := range x { // one NaN, wherever it lies
				if n > 67 {
					break
				}
				old := x[i]
				x[i] = float32(math.NaN())
				if got := Max(x); got == got {
					t.Errorf("Max, n %d with NaN at %d: got %v", n, i, got)
				}
				x[i] = old
			}
		}
	})
}

func TestSpecialValues(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	special := []float32{0, float32(math.Copysign(0, -1)), 1, -1, inf, -inf, nan, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32,
		1e-40, -1e-40, math.MaxFloat32, -math.MaxFloat32, 88.72283, 88.72284, 89, 1000, -87.33654, -87.4, -88, -100, -103.27892, -103.97207, -103.97209, -104, -105, -1000, 0x1p-126}
	var x, y []float32
	for _, v := range special {
		for _, w := range special {
			x, y = append(x, v), append(y, w)
		}
	}
	same := func(got, want float32) bool { return got == want || got != got && want != want }
	eachTier(t, func(t *testing.T) {
		dst := make([]float32, len(x))
		for _, k := range []struct {
			name string
			run  func(dst, x, y []float32)
			ref  func(x, y float32) float32
		}{
			{"Add", Add, func(x, y float32) float32 { return x + y }},
			{"Sub", Sub, func(x, y float32) float32 { return x - y }},
			{"Mul", Mul, func(x, y float32) float32 { return x * y }},
			{"Div", Div, func(x, y float32) float32 { return x / y }},
		} {
			k.run(dst, x, y)
			for i := range dst {
				if want := k.ref(x[i], y[i]); !same(dst[i], want) {
					t.Errorf("%s(%v, %v): got %v, want %v", k.name, x[i], y[i], dst[i], want)
				}
			}
		}
		Exp(dst, x)
		for i, got := range dst {
			want := math.Exp(float64(x[i]))
			if w := float32(want); !same(got, w) && !(math.Abs(float64(got)-want) <= 2*ulp(want) && !math.IsInf(float64(w), 0) && !math.IsInf(float64(got), 0)) {
				t.Errorf("Exp(%v): got %v, want %v", x[i], got, w)
			}
		}
		SiLU(dst, x)
		for i, got := range dst {
			if v := x[i]; v != v || v == -inf {
				if got == got {
					t.Errorf("SiLU(%v): got %v, want NaN", v, got)
				}
			} else if want := float32(float64(v) * sigmoid(float64(v))); math.Abs(float64(got-want)) > 1e-36+4*ulp(float64(want)) || got == inf && v != inf {
				t.Errorf("SiLU(%v): got %v, want %v", v, got, want)
			}
		}
	})
}

// The error bound of Exp holds for every float32 whose exponential is neither 0
// nor Inf; a prime step keeps the test short.
func TestExpRange(t *testing.T) {
	step := uint32(509)
	if testing.Short() {
		step = 50021
	}
	eachTier(t, func(t *testing.T) {
		var x, y [1 << 12]float32
		worst, at := 0.0, float32(0)
		for _, sign := range []uint32{0, 1 << 31} {
			for b := uint32(0); b < 0x42d10000; {
				for i := range x {
					x[i] = math.Float32frombits(b | sign)
					b += step
				}
				Exp(y[:], x[:])
				for i, v := range x {
					want := math.Exp(float64(v))
					if want >= math.MaxFloat32 {
						continue
					}
					if d := math.Abs(float64(y[i])-want) / ulp(want); !(d <= worst) {
						worst, at = d, v
					}
				}
			}
		}
		t.Logf("worst %.3f ulp at %v", worst, at)
		if worst > 2 {
			t.Errorf("exp(%v) is off by %v ulp, want at most 2", at, worst)
		}
	})
}

func TestHalves(t *testing.T) {
	all := make([]byte, 2<<16)
	for i := range 1 << 16 {
		all[2*i], all[2*i+1] = byte(i), byte(i>>8)
	}
	bits := math.Float32bits
	eachTier(t, func(t *testing.T) {
		got := make([]float32, 1<<16)
		back := make([]byte, 2<<16)
		DecodeBF16(got, all)
		for i, v := range got {
			if bits(v) != uint32(i)<<16 {
				t.Fatalf("DecodeBF16(%#04x): got %#08x", i, bits(v))
			}
		}
		EncodeBF16(back, got)
		for i, v := range got {
			want := i
			if v != v {
				want |= 0x40
			}
			if h := int(back[2*i]) | int(back[2*i+1])<<8; h != want {
				t.Fatalf("EncodeBF16(%#08x): got %#04x, want %#04x", bits(v), h, want)
			}
		}
		DecodeF16(got, all)
		for i, v := range got {
			e, m := i>>10&31, i&0x3ff
			want := math.Ldexp(float64(m), -24)
			switch {
			case e == 31 && m != 0:
				if bits(v) != uint32(i&0x8000)<<16|0x7fc00000|uint32(m)<<13 {
					t.Fatalf("DecodeF16(%#04x): got %#08x", i, bits(v))
				}
				continue
			case e == 31:
				want = math.Inf(1)
			case e > 0:
				want = math.Ldexp(float64(1024+m), e-25)
			}
			if i&0x8000 != 0 {
				want = -want
			}
			if bits(v) != bits(float32(want)) {
				t.Fatalf("DecodeF16(%#04x): got %v, want %v", i, v, want)
			}
		}
		EncodeF16(back, got)
		for i, v := range got {
			want := i
			if v != v {
				want |= 0x200
			}
			if h := int(back[2*i]) | int(back[2*i+1])<<8; h != want {
				t.Fatalf("EncodeF16(%#08x): got %#04x, want %#04x", bits(v), h, want)
			}
		}
		for n := range 68 {
			dst, src := guarded(t, n, true), guardedBytes(t, 2*n)
			copy(src, all[1<<15:])
			DecodeBF16(dst, src)
			EncodeBF16(src, dst)
			DecodeF16(dst, src)
			EncodeF16(src, dst)
		}
	})
}

// Rounding to 16 bits, against the definition: the nearer of two neighbours, the
// even one of two equally near.
func TestEncodeRounds(t *testing.T) {
	decode := map[string]func([]float32, []byte){"BF16": DecodeBF16, "F16": DecodeF16}
	encode := map[string]func([]byte, []float32){"BF16": EncodeBF16, "F16": EncodeF16}
	eachTier(t, func(t *testing.T) {
		for name := range decode {
			var grid [1 << 15]float32 // the non-negative values in order
			raw := make([]byte, 2<<15)
			for i := range grid {
				raw[2*i], raw[2*i+1] = byte(i), byte(i>>8)
			}
			decode[name](grid[:], raw)
			for i := 0; i+1 < len(grid) && !math.IsInf(float64(grid[i+1]), 0); i++ {
				lo, hi := grid[i], grid[i+1]
				mid := float32((float64(lo) + float64(hi)) / 2) // exact: F32 is finer
				even := i + i&1
				var x [16]float32
				x[0], x[1], x[2], x[3], x[4], x[5] = mid, math.Nextafter32(mid, lo), math.Nextafter32(mid, hi), lo, hi, -mid
				if name == "BF16" && i == 0 {
					continue // half of the least denormal of BF16 has no neighbours to test
				}
				want := [6]int{even, i, i + 1, i, i + 1, even | 1<<15}
				var out [32]byte
				encode[name](out[:], x[:])
				for j, w := range want {
					if got := int(out[2*j]) | int(out[2*j+1])<<8; got != w {
						t.Fatalf("Encode%s(%v): got %#04x, want %#04x", name, x[j], got, w)
					}
				}
			}
		}
		var out [32]byte
		var x [16]float32
		x[0], x[1], x[2] = 65519.996, 65520, 1e9
		EncodeF16(out[:], x[:])
		for j, w := range []int{0x7bff, 0x7c00, 0x7c00} {
			if got := int(out[2*j]) | int(out[2*j+1])<<8; got != w {
				t.Errorf("EncodeF16(%v): got %#04x, want %#04x", x[j], got, w)
			}
		}
	})
}

func TestRMSNorm(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for i := 2; i < 2*68; i++ {
			n, atEnd := i/2, i%2 != 0
			x, w, dz, dst := guarded(t, n, atEnd), guarded(t, n, atEnd), guarded(t, n, atEnd), guarded(t, n, atEnd)
			for _, s := range [][]float32{x, w, dz, dst} {
				normal(r, s)
			}
			const eps = 1e-5
			var ss, dot float64
			for i := range x {
				ss += float64(x[i]) * float64(x[i])
				dot += float64(dz[i]) * float64(w[i]) * float64(x[i])
			}
			rstd := 1 / math.Sqrt(ss/float64(n)+float64(float32(eps)))
			c := rstd * rstd * dot / float64(n)
			old := append([]float32(nil), dst...)
			got := RMSNormRow(dst, x, w, eps)
			if math.Abs(float64(got)-rstd) > 4*ulp(rstd) {
				t.Errorf("n %d: rstd %v, want %v", n, got, rstd)
			}
			for i, v := range dst {
				if want := float64(x[i]) * rstd * float64(w[i]); math.Abs(float64(v)-want) > 6*ulp(want) {
					t.Errorf("n %d: RMSNormRow[%d] = %v, want %v", n, i, v, want)
				}
			}
			for _, add := range []bool{false, true} {
				copy(dst, old)
				RMSNormGradRow(dst, dz, x, w, got, add)
				for i, v := range dst {
					a, b := rstd*float64(dz[i])*float64(w[i]), rstd*float64(x[i])*c
					want, scale := a-b, math.Abs(a)+math.Abs(b)+rstd*rstd*rstd*math.Abs(float64(x[i]))*math.Sqrt(ss)*10
					if add {
						want += float64(old[i])
						scale += math.Abs(float64(old[i]))
					}
					if math.Abs(float64(v)-want) > 8*ulp(scale) {
						t.Errorf("n %d add %v: RMSNormGradRow[%d] = %v, want %v", n, add, i, v, want)
					}
				}
			}
			copy(old, dz)
			want := append([]float32(nil), dst...)
			RMSNormGradRow(want, dz, x, w, got, false)
			RMSNormGradRow(dz, dz, x, w, got, false)
			for i := range dz {
				if dz[i] != want[i] {
					t.Errorf("n %d: RMSNormGradRow with dx = dz differs at %d", n, i)
				}
			}
			RMSNormRow(want, x, w, eps)
			RMSNormRow(x, x, w, eps)
			for i := range x {
				if x[i] != want[i] {
					t.Errorf("n %d: RMSNormRow with dst = x differs at %d", n, i)
				}
			}
		}
	})
}

func TestRoPE(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		for i := range 2 * 68 {
			h, atEnd := i/2, i%2 != 0
			x, dst, cos, sin := guarded(t, 2*h, atEnd), guarded(t, 2*h, atEnd), guarded(t, h, atEnd), guarded(t, h, atEnd)
			normal(r, x)
			for i := range cos {
				s, c := math.Sincos(r.NormFloat64())
				sin[i], cos[i] = float32(s), float32(c)
			}
			RoPERow(dst, x, cos, sin, false)
			for i := range h {
				x0, x1, c, s := float64(x[i]), float64(x[i+h]), float64(cos[i]), float64(sin[i])
				tol := 2 * ulp(math.Abs(x0)+math.Abs(x1))
				if math.Abs(float64(dst[i])-(x0*c-x1*s)) > tol || math.Abs(float64(dst[i+h])-(x1*c+x0*s)) > tol {
					t.Errorf("D %d, pair %d: got %v %v, want %v %v", 2*h, i, dst[i], dst[i+h], x0*c-x1*s, x1*c+x0*s)
				}
			}
			RoPERow(dst, dst, cos, sin, true)
			for i := range dst {
				if math.Abs(float64(dst[i]-x[i])) > 8*ulp(math.Abs(float64(x[i%h]))+math.Abs(float64(x[i%h+h]))) {
					t.Errorf("D %d: inverse gives %v at %d, want %v", 2*h, dst[i], i, x[i])
				}
			}
		}
	})
}
