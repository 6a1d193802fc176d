package mutate

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Safetensors yields n mutants of a safetensors file: a header's length that
// lies; types, shapes and offsets that lie, overflow, overlap or leave holes; a
// header that is no JSON; data cut off, too long, or not finite.
func Safetensors(seed uint64, n int, file []byte) iter.Seq[Mutant] {
	r := newRand(seed, "safetensors")
	le := binary.LittleEndian
	size := le.Uint64(file)
	header, data := file[8:8+size], file[8+size:]
	with := func(header, data []byte) []byte {
		return slices.Concat(le.AppendUint64(nil, uint64(len(header))), header, data)
	}
	list := encodings(file)
	for _, v := range append([]uint64{size - 1, size + 1, uint64(len(file)) - 8, uint64(len(file)) - 7, 100_000_000, 100_000_001}, numbers...) {
		b := slices.Clone(file)
		le.PutUint64(b, v)
		list = append(list, Mutant{fmt.Sprintf("header of %d bytes", v), b})
	}
	extra := []string{
		`"F32"`, `"F16"`, `"BF16"`, `"F64"`, `"I32"`, `"I64"`, `"BOOL"`, `"F8_E4M3"`, `"F4"`, `"f32"`, `"float32"`,
		`[4294967296,4294967296]`, `[2147483648,2147483648,4]`, `[0]`, `[0,9223372036854775807]`, `[1,1,1,1,1,1,1,1,1]`, `[-1]`, `[1.0]`, `[1e1]`,
		`[0,0]`, `[0,1]`, `[8,4]`, `[0,9223372036854775807]`, `[9223372036854775807,9223372036854775807]`, `[-8,8]`, fmt.Sprintf(`[0,%d]`, len(data)), fmt.Sprintf(`[%d,%d]`, len(data), len(data)),
	}
	good := parseJSON(header)
	return seq(list, n, func() Mutant {
		switch r.IntN(8) {
		case 0:
			return bytesOf(r, file)
		case 1:
			d := slices.Clone(data)
			notFinite(r, d)
			return Mutant{"values that are not finite", with(header, d)}
		case 2:
			m := bytesOf(r, data)
			return Mutant{"data " + m.About, with(header, m.Data)}
		}
		c := good.clone()
		about := change(r, c, append(extra, hostile[:40]...))
		if r.IntN(2) == 0 {
			about += "; " + change(r, c, extra)
		}
		return Mutant{"header: " + about, with(c.bytes(), data)}
	})
}

// IndexNames are file names in a shard index that leave its folder, or that are
// no files.
var IndexNames = []string{
	"", ".", "..", "../model.safetensors", "/etc/passwd", "a/../../b", `..\model.safetensors`, "C:x", "//host/share", "model.safetensors\x00", "~/x",
	"model.safetensors.index.json", "\n", "./model.safetensors", "sub/model.safetensors", strings.Repeat("a", 5000), "file:///etc/passwd",
}

// Index yields n mutants of a model.safetensors.index.json: besides those of JSON,
// files that leave the folder, that are missing, or that are the index itself.
func Index(seed uint64, n int, doc []byte) iter.Seq[Mutant] {
	var extra []string
	for _, name := range IndexNames {
		text, err := json.Marshal(name)
		if err != nil {
			panic(err) // strings are JSON
		}
		extra = append(extra, string(text))
	}
	return JSON(seed, n, doc, extra...)
}

// gguf types of metadata values.
const (
	ggufString = 8
	ggufArray  = 9
)

var ggufSizes = []int{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8}

// A field is a number in a binary file by which the rest is read.
type field struct {
	what       string
	off, width int
}

// ggufFields lists the fields of a good GGUF file, where its records (pairs and
// tensors) begin, with the end of the last one, and where its texts are.
func ggufFields(file []byte) (fields []field, records []int, texts [][2]int) {
	off := 4
	number := func(width int, what string) int {
		fields = append(fields, field{what, off, width})
		off += width
		if width == 4 {
			return int(binary.LittleEndian.Uint32(file[off-4:]))
		}
		return int(binary.LittleEndian.Uint64(file[off-8:]))
	}
	text := func(what string) {
		n := number(8, "length of "+what)
		if n > 0 {
			texts = append(texts, [2]int{off, off + n})
		}
		off += n
	}
	var read func(kind int)
	read = func(kind int) {
		switch kind {
		case ggufString:
			text("string")
		case ggufArray:
			kind, n := number(4, "type of elements"), number(8, "number of elements")
			for range n {
				read(kind)
			}
		case 4, 5, 6:
			number(4, "value")
		case 10, 11, 12:
			number(8, "value")
		default:
			off += ggufSizes[kind]
		}
	}
	number(4, "version")
	tensors, pairs := number(8, "number of tensors"), number(8, "number of pairs")
	for range pairs {
		records = append(records, off)
		text("key")
		read(number(4, "type of a value"))
	}
	for range tensors {
		records = append(records, off)
		text("name")
		for range number(4, "number of dimensions") {
			number(8, "dimension")
		}
		number(4, "type of a tensor")
		number(8, "offset")
	}
	return fields, append(records, off), texts
}

// GGUF yields n mutants of a GGUF file: counts, types, lengths, values, dimensions
// and offsets that lie; records left out, repeated and exchanged; keys renamed;
// data cut off or not finite.
func GGUF(seed uint64, n int, file []byte) iter.Seq[Mutant] {
	r := newRand(seed, "gguf")
	le := binary.LittleEndian
	fields, records, texts := ggufFields(file)
	data := records[len(records)-1]
	set := func(b []byte, f field, v uint64) {
		if f.width == 4 {
			le.PutUint32(b[f.off:], uint32(v))
		} else {
			le.PutUint64(b[f.off:], v)
		}
	}
	// Arrays have many fields that are alike: those of the records come first.
	pick := func() field {
		if r.IntN(3) == 0 {
			return fields[r.IntN(min(len(fields), 200))]
		}
		return fields[r.IntN(len(fields))]
	}
	return seq(encodings(file[:min(len(file), 4096)]), n, func() Mutant {
		b := slices.Clone(file)
		switch r.IntN(8) {
		case 0:
			return bytesOf(r, file)
		case 1:
			notFinite(r, b[data:])
			return Mutant{"values that are not finite", b}
		case 2:
			i := r.IntN(len(records) - 1)
			record := slices.Clone(b[records[i]:records[i+1]])
			if r.IntN(2) == 0 {
				// Left out, with the count that belongs to it.
				b = slices.Delete(b, records[i], records[i+1])
				pairs := le.Uint64(file[16:])
				at := 8
				if uint64(i) < pairs {
					at = 16
				}
				le.PutUint64(b[at:], le.Uint64(b[at:])-1)
				// The data stays where its alignment is.
				pad := (len(record) % 32)
				b = slices.Insert(b, data-len(record), make([]byte, pad)...)
				return Mutant{fmt.Sprintf("record %d left out", i), b}
			}
			return Mutant{fmt.Sprintf("record %d twice", i), slices.Insert(b, records[r.IntN(len(records))], record...)}
		case 3:
			t := texts[r.IntN(len(texts))]
			at := t[0] + r.IntN(t[1]-t[0])
			b[at] = []byte{0, 0xff, '\n', 'x', '.', 0x1b, '%', ' '}[r.IntN(8)]
			return Mutant{fmt.Sprintf("text at %d changed", at), b}
		}
		var about []string
		for range 1 + r.IntN(3) {
			f := pick()
			v := numbers[r.IntN(len(numbers))]
			if r.IntN(3) == 0 {
				v = uint64(r.IntN(16))
			}
			set(b, f, v)
			about = append(about, fmt.Sprintf("%s at %d is %d", f.what, f.off, v))
		}
		return Mutant{strings.Join(about, "; "), b}
	})
}

// Protobuf yields n mutants of a protocol buffer such as a SentencePiece model:
// lengths and tags that lie, fields left out, repeated, exchanged and changed, at
// both levels of nesting.
func Protobuf(seed uint64, n int, file []byte) iter.Seq[Mutant] {
	r := newRand(seed, "protobuf")
	top := protoFields(file)
	return seq(encodings(file[:min(len(file), 4096)]), n, func() Mutant {
		if r.IntN(6) == 0 {
			return bytesOf(r, file)
		}
		all := slices.Clone(top)
		var about []string
		for range 1 + r.IntN(3) {
			// The last fields are the few that are no pieces.
			i := r.IntN(len(all))
			if r.IntN(2) == 0 {
				i = max(0, len(all)-1-r.IntN(4))
			}
			f := all[i]
			switch r.IntN(7) {
			case 0:
				all = slices.Delete(slices.Clone(all), i, i+1)
				about = append(about, fmt.Sprintf("field %d left out", i))
				if len(all) == 0 {
					return Mutant{"no fields", nil}
				}
				continue
			case 1:
				all = slices.Insert(slices.Clone(all), r.IntN(len(all)), f)
				about = append(about, fmt.Sprintf("field %d twice", i))
				continue
			case 2:
				f.length = int64(numbers[r.IntN(len(numbers))])
				about = append(about, fmt.Sprintf("field %d of %d bytes", i, uint64(f.length)))
			case 3:
				f.tag = numbers[r.IntN(len(numbers))]
				about = append(about, fmt.Sprintf("field %d has tag %d", i, f.tag))
			default:
				if inner := protoFields(f.data); len(inner) > 0 {
					k := r.IntN(len(inner))
					g := inner[k]
					switch r.IntN(4) {
					case 0:
						g.length = int64(numbers[r.IntN(len(numbers))])
					case 1:
						g.tag = uint64(r.IntN(200))
					case 2:
						inner = append(inner, g)
					default:
						g.data = bytesOf(r, g.data).Data
						if g.tag&7 != 2 && len(g.data) > 10 {
							g.data = g.data[:10]
						}
					}
					inner[k] = g
					f.data, f.length = protoBytes(inner), -1
					about = append(about, fmt.Sprintf("field %d.%d changed", i, k))
				}
			}
			all[i] = f
		}
		return Mutant{strings.Join(about, "; "), protoBytes(all)}
	})
}

// A protoField is a tag and what follows it: the bytes of a number, or those
// behind a length. A length that is not negative takes the place of the true one.
type protoField struct {
	tag    uint64
	length int64
	data   []byte
}

// protoFields splits a message; it is nil if the bytes are none.
func protoFields(b []byte) (out []protoField) {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return nil
		}
		b = b[n:]
		f := protoField{tag: tag, length: -1}
		size := 0
		switch tag & 7 {
		case 0:
			if _, size = binary.Uvarint(b); size <= 0 {
				return nil
			}
		case 1:
			size = 8
		case 5:
			size = 4
		case 2:
			v, n := binary.Uvarint(b)
			if n <= 0 || v > uint64(len(b)-n) {
				return nil
			}
			b, size = b[n:], int(v)
		default:
			return nil
		}
		if size > len(b) {
			return nil
		}
		f.data, b = b[:size], b[size:]
		out = append(out, f)
	}
	return out
}

func protoBytes(fields []protoField) (b []byte) {
	for _, f := range fields {
		b = binary.AppendUvarint(b, f.tag)
		if f.tag&7 == 2 || f.length >= 0 {
			n := uint64(len(f.data))
			if f.length != -1 {
				n = uint64(f.length)
			}
			b = binary.AppendUvarint(b, n)
		}
		b = append(b, f.data...)
	}
	return b
}
