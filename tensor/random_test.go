package tensor

import (
	"math"
	"slices"
	"testing"
)

// TestPhilox compares with the known answers of Random123 (kat_vectors,
// philox4x32-10).
func TestPhilox(t *testing.T) {
	const ones = math.MaxUint64
	for _, c := range []struct {
		key, lo, hi uint64
		want        [4]uint32
	}{
		{0, 0, 0, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{ones, ones, ones, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := philox(c.key, c.lo, c.hi); got != c.want {
			t.Errorf("philox(%#x, %#x, %#x) = %#x, want %#x", c.key, c.lo, c.hi, got, c.want)
		}
	}
}

func TestRandom(t *testing.T) {
	draw := func(seed uint64, name string, n int) []float32 {
		x := make([]float32, n)
		NewRandom(seed, name).Normal(x, 2, 3)
		return x
	}
	const n = 1 << 16
	x := draw(1, "a", n)
	if !slices.Equal(x, draw(1, "a", n)) {
		t.Error("the same stream differs")
	}
	for name, y := range map[string][]float32{"seed": draw(2, "a", n), "name": draw(1, "b", n)} {
		var sum float64
		for i := range y {
			sum += (float64(x[i]) - 2) * (float64(y[i]) - 2)
		}
		if c := sum / n / 9; math.Abs(c) > 5/math.Sqrt(n) {
			t.Errorf("streams that differ in %s correlate by %g", name, c)
		}
	}
	var sum, square float64
	for _, v := range x {
		sum += float64(v)
		square += (float64(v) - 2) * (float64(v) - 2)
	}
	if mean := sum / n; math.Abs(mean-2) > 5*3/math.Sqrt(n) {
		t.Errorf("mean %g, want 2", mean)
	}
	if v := square / n; math.Abs(v-9) > 5*9*math.Sqrt(2./n) {
		t.Errorf("variance %g, want 9", v)
	}
	u := make([]float32, n)
	NewRandom(3, "u").Uniform(u, -1, 1)
	if lo, hi := slices.Min(u), slices.Max(u); lo < -1 || lo > -0.99 || hi > 1 || hi < 0.99 {
		t.Errorf("uniform numbers of [-1, 1) reach from %g to %g", lo, hi)
	}
}

// TestDropoutMask draws any piece of a mask alone.
func TestDropoutMask(t *testing.T) {
	var all []bool
	DropoutMask(0.4, 9, 0, 100, func(i int, keep bool) { all = append(all, keep) })
	for lo := range 20 {
		for hi := lo; hi < 100; hi += 13 {
			at := lo
			DropoutMask(0.4, 9, lo, hi, func(i int, keep bool) {
				if i != at || keep != all[i] {
					t.Errorf("mask of %d:%d: element %d is %v, want element %d, %v", lo, hi, i, keep, at, all[at])
				}
				at++
			})
			if at != max(lo, hi) {
				t.Errorf("mask of %d:%d ends at %d", lo, hi, at)
			}
		}
	}
}
