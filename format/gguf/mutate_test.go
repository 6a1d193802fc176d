package gguf

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// A field is a number in a file that decides how the rest is read.
type field struct {
	what       string
	off, width int
}

func (f field) get(file []byte) uint64 {
	if f.width == 4 {
		return uint64(binary.LittleEndian.Uint32(file[f.off:]))
	}
	return binary.LittleEndian.Uint64(file[f.off:])
}

func (f field) set(file []byte, v uint64) {
	if f.width == 4 {
		binary.LittleEndian.PutUint32(file[f.off:], uint32(v))
	} else {
		binary.LittleEndian.PutUint64(file[f.off:], v)
	}
}

// fieldsOf lists the fields of a good file, and where its pairs and tensors
// begin (with the end of the last one).
func fieldsOf(file []byte) (fields []field, records []int) {
	off := 4
	number := func(width int, what string) int {
		f := field{what, off, width}
		fields = append(fields, f)
		off += width
		return int(f.get(file))
	}
	str := func(what string) { off += number(8, "length of "+what) }
	var value func(kind int)
	value = func(kind int) {
		switch kind {
		case typeString:
			str("string")
		case typeArray:
			kind, n := number(4, "type of elements"), number(8, "number of elements")
			for range n {
				value(kind)
			}
		default:
			off += int(minSize[kind])
		}
	}
	number(4, "version")
	tensors, pairs := number(8, "number of tensors"), number(8, "number of pairs")
	for range pairs {
		records = append(records, off)
		str("key")
		alignment := string(file[records[len(records)-1]+8:off]) == "general.alignment"
		kind := number(4, "type of a value")
		if alignment {
			number(4, "alignment")
			continue
		}
		value(kind)
	}
	for range tensors {
		records = append(records, off)
		str("name")
		for range number(4, "number of dimensions") {
			number(8, "dimension")
		}
		number(4, "type of a tensor")
		number(8, "offset")
	}
	return fields, append(records, off)
}

// Files whose counts, lengths, types, dimensions and offsets lie: each field
// set to each of the numbers that break arithmetic, then several at once,
// records repeated, exchanged and left out. None may panic, take long, or take
// memory out of proportion to the file; what is refused is so in one line.
func TestMutated(t *testing.T) {
	rounds := 10000
	if testing.Short() {
		rounds = 1000
	}
	for _, name := range []string{"types.gguf", "llama.gguf", "kblocks.gguf"} {
		t.Run(name, func(t *testing.T) {
			good, err := os.ReadFile(filepath.Join(goldens, name))
			if err != nil {
				t.Fatal(err)
			}
			if check(t, good) != nil {
				t.Fatal("not a good file")
			}
			fields, records := fieldsOf(good)
			size := uint64(len(good))
			values := []uint64{0, 1, 2, 3, 4, 5, 31, 32, 33, 255, 256, 257, size - 1, size, size + 1,
				1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1 << 40, 1 << 56, 1 << 61, 1 << 62, 1<<63 - 32, 1<<63 - 1, 1 << 63, 1<<64 - 32, 1<<64 - 1}
			accepted, refused := 0, 0
			try := func(file []byte, what func() string) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				begin := time.Now()
				err := check(t, file)
				runtime.ReadMemStats(&after)
				if n := after.TotalAlloc - before.TotalAlloc; n > 64*size+1<<20 {
					t.Errorf("%s: %d bytes allocated for a file of %d", what(), n, size)
				}
				if d := time.Since(begin); d > 5*time.Second {
					t.Errorf("%s: took %v", what(), d)
				}
				switch {
				case err == nil:
					accepted++
				case !strings.HasPrefix(err.Error(), "f: ") || strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000:
					t.Errorf("%s: %.2000q, want one line", what(), err)
				default:
					refused++
				}
			}
			file := slices.Clone(good)
			for _, f := range fields {
				was := f.get(good)
				for _, v := range append([]uint64{was - 1, was + 1, was * 2, was + 1<<32, was | 1<<63}, values...) {
					f.set(file, v)
					try(file, func() string { return fmt.Sprintf("%s at %d = %d", f.what, f.off, v) })
				}
				f.set(file, was)
			}

			const seed = 41
			r := rand.New(rand.NewPCG(seed, size))
			for round := range rounds {
				file := slices.Clone(good)
				for range 1 + r.IntN(4) {
					f, v := fields[r.IntN(len(fields))], values[r.IntN(len(values))]
					if r.IntN(2) == 0 { // a number that is right elsewhere
						v = fields[r.IntN(len(fields))].get(good)
					}
					f.set(file, v)
				}
				if r.IntN(3) == 0 { // a record is left out, comes twice or elsewhere
					i := r.IntN(len(records) - 1)
					record := slices.Clone(file[records[i]:records[i+1]])
					if r.IntN(2) == 0 {
						file = slices.Delete(file, records[i], records[i+1])
					}
					if at := records[r.IntN(len(records)-1)]; r.IntN(2) == 0 && at <= len(file) {
						file = slices.Insert(file, at, record...)
					}
				}
				if r.IntN(4) == 0 {
					file = file[:r.IntN(len(file))]
				}
				try(slices.Clip(file), func() string { return fmt.Sprintf("seed %d, round %d", seed, round) })
			}
			t.Logf("%d fields: %d files accepted, %d refused", len(fields), accepted, refused)
			if accepted == 0 || refused < accepted {
				t.Errorf("%d accepted, %d refused: the mutations do not bite", accepted, refused)
			}
		})
	}
}
