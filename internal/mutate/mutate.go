// Package mutate makes hostile files out of good ones, for tests: it knows the
// structure of each format, so that what it breaks is what readers trust.
// Mutants follow from the seed alone.
package mutate

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"unicode/utf16"
)

// A Mutant is a file, and what was done to make it.
type Mutant struct {
	About string
	Data  []byte
}

// bytesOf yields files with bytes changed, cut off, repeated or put in, without
// regard to structure.
func bytesOf(r *rand.Rand, file []byte) Mutant {
	b := slices.Clone(file)
	at := r.IntN(len(b) + 1)
	switch r.IntN(6) {
	case 0:
		return Mutant{fmt.Sprintf("cut off at %d of %d", at, len(b)), b[:at]}
	case 1:
		n := 1 << r.IntN(17)
		return Mutant{fmt.Sprintf("%d zeros at the end", n), append(b, make([]byte, n)...)}
	case 2:
		return Mutant{fmt.Sprintf("begins at %d", at), b[at:]}
	case 3:
		end := at + r.IntN(len(b)-at+1)
		return Mutant{fmt.Sprintf("[%d, %d) twice", at, end), slices.Insert(b, end, b[at:end]...)}
	}
	for range 1 + r.IntN(8) {
		if len(b) > 0 {
			at = r.IntN(len(b))
			b[at] ^= byte(1 << r.IntN(8))
		}
	}
	return Mutant{fmt.Sprintf("bits changed, the last at %d", at), b}
}

// encodings yields a text in encodings and wrappings that are not its own.
func encodings(text []byte) []Mutant {
	wide := utf16.Encode([]rune(string(text)))
	var le, be []byte
	for _, u := range wide {
		le = binary.LittleEndian.AppendUint16(le, u)
		be = binary.BigEndian.AppendUint16(be, u)
	}
	return []Mutant{
		{"empty", nil},
		{"a space", []byte(" ")},
		{"a BOM", append([]byte("\xef\xbb\xbf"), text...)},
		{"UTF-16", append([]byte{0xff, 0xfe}, le...)},
		{"UTF-16, big-endian", append([]byte{0xfe, 0xff}, be...)},
		{"UTF-16 without a mark", le},
		{"twice", slices.Concat(text, text)},
		{"a word behind", append(slices.Clone(text), " x"...)},
		{"a zero behind", append(slices.Clone(text), 0)},
		{"a comment before", append([]byte("// x\n"), text...)},
		{"gzip's beginning", append([]byte{0x1f, 0x8b, 8, 0}, text...)},
		{"a pickle", []byte("\x80\x02cos\nsystem\nq\x00X\x09\x00\x00\x00touch pwnq\x01\x85q\x02Rq\x03.")},
		{"a zip file", []byte("PK\x03\x04\x14\x00\x08\x08archive/data.pkl")},
		{"many brackets", slices.Repeat([]byte{'['}, 1<<20)},
		{"many braces", slices.Repeat([]byte(`{"a":`), 1<<18)},
	}
}

func newRand(seed uint64, what string) *rand.Rand {
	h := seed
	for _, c := range []byte(what) {
		h = h*1099511628211 + uint64(c)
	}
	return rand.New(rand.NewPCG(seed, h))
}

// seq yields the mutants of a list, and then as many as are missing to n that next
// makes.
func seq(list []Mutant, n int, next func() Mutant) iter.Seq[Mutant] {
	return func(yield func(Mutant) bool) {
		for i := range n {
			m := Mutant{}
			if i < len(list) {
				m = list[i]
			} else {
				m = next()
			}
			m.About = fmt.Sprintf("%d: %s", i, m.About)
			if !yield(m) {
				return
			}
		}
	}
}

// numbers are those that break arithmetic on sizes.
var numbers = []uint64{
	0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 255, 256, 65535, 65536, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1,
	1 << 40, 1 << 56, 1 << 60, 1 << 61, 1 << 62, 1<<63 - 32, 1<<63 - 1, 1 << 63, 1<<64 - 32, 1<<64 - 8, 1<<64 - 1,
}

// notFinite sets elements of F32 data to values that are no numbers.
func notFinite(r *rand.Rand, data []byte) {
	for range 1 + r.IntN(3) {
		if i := len(data) / 4; i > 0 {
			v := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, -math.MaxFloat32}[r.IntN(5)]
			binary.LittleEndian.PutUint32(data[4*r.IntN(i):], math.Float32bits(v))
		}
	}
}
