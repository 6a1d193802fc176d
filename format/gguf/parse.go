package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/tensor"
)

// The limits that the format has (dimensions) or that keep a small file from
// exhausting the stack (nesting).
const (
	maxDims    = 4
	maxNesting = 16
)

// A ggmlType is a row of the table of tensor types.
type ggmlType struct {
	name         string
	block, bytes int // elements in a block, bytes of a block
}

// ggmlTypes is ggml's enum ggml_type. Missing numbers are types that ggml has
// removed.
var ggmlTypes = map[uint32]ggmlType{
	0: {"F32", 1, 4}, 1: {"F16", 1, 2}, 2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20},
	6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24}, 8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 40},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144}, 13: {"Q5_K", 256, 176},
	14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50},
	20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110}, 22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136},
	24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8}, 28: {"F64", 1, 8},
	29: {"IQ1_M", 256, 56}, 30: {"BF16", 1, 2}, 34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66},
	39: {"MXFP4", 32, 17}, 40: {"NVFP4", 64, 36}, 41: {"Q1_0", 128, 18},
}

// decodable returns the names of the types that can be decoded to F32, in the
// order of their numbers.
func decodable() (names []string) {
	for _, id := range slices.Sorted(maps.Keys(ggmlTypes)) {
		name := ggmlTypes[id].name
		if dt, _ := tensor.ParseDType(name); dt.CanDecode() {
			names = append(names, name)
		}
	}
	return names
}

// A Tensor describes a stored tensor.
type Tensor struct {
	Name  string
	Type  string       // ggml's name of the type, such as "Q4_1"
	DType tensor.DType // the same, or tensor.Invalid if tensor has no such type
	Shape []int        // row-major, outermost first: the reverse of GGUF's order
	Bytes int          // length of its data
	start int          // offset of its data in the file
}

// The numbers of metadata types.
const (
	typeUint8 = iota
	typeInt8
	typeUint16
	typeInt16
	typeUint32
	typeInt32
	typeFloat32
	typeBool
	typeString
	typeArray
	typeUint64
	typeInt64
	typeFloat64
	numTypes
)

// minSize has the fewest bytes that a value of each metadata type takes.
var minSize = [numTypes]uint64{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8}

// content is a parsed file.
type content struct {
	version int
	keys    []string // in the file's order
	values  map[string]any
	tensors []Tensor // in the file's order

	alignment int
	fileType  int // where the value of general.file_type is, 0 if there is none
	described int // where the descriptions of the tensors begin
}

// parse validates all of a file but the tensors' values. path is for the errors.
func parse(path string, file []byte) (*content, error) {
	c := &cursor{file: file}
	f, err := c.parse()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// A cursor reads a file from the start. Nothing is allocated from a length
// before it is known that the file has as many bytes left.
type cursor struct {
	file []byte
	off  int
}

func (c *cursor) parse() (*content, error) {
	magic, err := c.take(4)
	if err != nil || string(magic) != "GGUF" {
		return nil, fmt.Errorf("starts with %q, want \"GGUF\"", c.file[:min(4, len(c.file))])
	}
	version, err := c.uint32()
	if err != nil {
		return nil, fmt.Errorf("version: %w", err)
	}
	switch version {
	case 2, 3:
	case 1:
		return nil, errors.New("GGUF version 1, want 2 or 3 (convert the model again)")
	default:
		if v := bits.ReverseBytes32(version); v >= 1 && v <= 3 {
			return nil, fmt.Errorf("big-endian GGUF (version %d), want little-endian", v)
		}
		return nil, fmt.Errorf("GGUF version %d, want 2 or 3", version)
	}
	numTensors, err := c.uint64()
	if err != nil {
		return nil, fmt.Errorf("number of tensors: %w", err)
	}
	numPairs, err := c.uint64()
	if err != nil {
		return nil, fmt.Errorf("number of metadata pairs: %w", err)
	}
	left := uint64(len(c.file) - c.off)
	if most := left / (8 + 4 + 1); numPairs > most {
		return nil, fmt.Errorf("%d metadata pairs, but %d bytes have room for at most %d", numPairs, left, most)
	}
	if most := left / (8 + 4 + 4 + 8); numTensors > most {
		return nil, fmt.Errorf("%d tensors, but %d bytes have room for at most %d", numTensors, left, most)
	}

	f := &content{version: int(version), values: map[string]any{}}
	for i := range numPairs {
		key, err := c.name()
		if err != nil {
			return nil, fmt.Errorf("metadata pair %d: key: %w", i, err)
		}
		if _, ok := f.values[key]; ok {
			return nil, fmt.Errorf("metadata %q: given twice", key)
		}
		kind, err := c.uint32()
		if err != nil {
			return nil, fmt.Errorf("metadata %q: type: %w", key, err)
		}
		if key == "general.file_type" && kind == typeUint32 {
			f.fileType = c.off
		}
		v, err := c.value(kind)
		if err != nil {
			return nil, fmt.Errorf("metadata %q: %w", key, err)
		}
		f.keys = append(f.keys, key)
		f.values[key] = v
	}
	f.alignment, f.described = 32, c.off
	if v, ok := f.values["general.alignment"]; ok {
		a, ok := v.(uint32)
		if !ok || bits.OnesCount32(a) != 1 || uint64(a) > math.MaxInt {
			return nil, fmt.Errorf("metadata %q: %.100q (%T), want a power of two (uint32)", "general.alignment", fmt.Sprint(v), v)
		}
		f.alignment = int(a)
	}

	seen := map[string]bool{}
	for i := range numTensors {
		t, err := c.tensor()
		if err != nil {
			if t.Name == "" {
				return nil, fmt.Errorf("tensor %d of %d: %w", i, numTensors, err)
			}
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if seen[t.Name] {
			return nil, fmt.Errorf("tensor %q: named twice", t.Name)
		}
		seen[t.Name] = true
		f.tensors = append(f.tensors, t)
	}
	return f, place(f.tensors, c.off, f.alignment, len(c.file))
}

// place turns the tensors' starts, which count from the data part, into
// offsets in the file, and checks that they are aligned, within the file and
// apart from each other. The data part begins at the first multiple of
// alignment from off on.
func place(tensors []Tensor, off, alignment, size int) error {
	base := off + padding(off, alignment)
	order := make([]*Tensor, len(tensors))
	for i := range tensors {
		t := &tensors[i]
		order[i] = t
		if t.start%alignment != 0 {
			return fmt.Errorf("tensor %q: offset %d, want a multiple of the alignment %d", t.Name, t.start, alignment)
		}
		if base > size || t.start > size-base || t.Bytes > size-base-t.start {
			return fmt.Errorf("tensor %q: %d bytes of data at %d, but the data part has %d (cut off?)", t.Name, t.Bytes, t.start, max(size-base, 0))
		}
		t.start += base
	}
	slices.SortStableFunc(order, func(a, b *Tensor) int { return a.start - b.start })
	end, last := base, ""
	for _, t := range order {
		if t.Bytes == 0 {
			continue
		}
		if t.start < end {
			return fmt.Errorf("tensor %q: data overlaps that of tensor %q", t.Name, last)
		}
		end, last = t.start+t.Bytes, t.Name
	}
	return nil
}

// tensor reads a tensor's description. With an error, the name is set as soon
// as it is known.
func (c *cursor) tensor() (t Tensor, err error) {
	if t.Name, err = c.name(); err != nil {
		return t, fmt.Errorf("name: %w", err)
	}
	dims, err := c.uint32()
	if err != nil {
		return t, fmt.Errorf("dimensions: %w", err)
	}
	if dims > maxDims {
		return t, fmt.Errorf("%d dimensions, want at most %d", dims, maxDims)
	}
	t.Shape = make([]int, dims)
	for i := range t.Shape {
		d, err := c.uint64()
		if err != nil {
			return t, fmt.Errorf("dimension %d: %w", i, err)
		}
		if d > math.MaxInt {
			return t, fmt.Errorf("dimension %d is %d, want at most 2^%d-1", i, d, bits.UintSize-1)
		}
		t.Shape[len(t.Shape)-1-i] = int(d)
	}
	id, err := c.uint32()
	if err != nil {
		return t, fmt.Errorf("type: %w", err)
	}
	typ, ok := ggmlTypes[id]
	if !ok {
		return t, fmt.Errorf("type %d is not known", id)
	}
	t.Type = typ.name
	t.DType, _ = tensor.ParseDType(typ.name) // Invalid if not known
	elements := uint(1)
	for _, d := range t.Shape {
		hi, lo := bits.Mul(elements, uint(d))
		if hi != 0 || lo > math.MaxInt {
			return t, fmt.Errorf("size of shape %v overflows", t.Shape)
		}
		elements = lo
	}
	row := 1
	if dims > 0 {
		row = t.Shape[dims-1]
	}
	if row%typ.block != 0 {
		return t, fmt.Errorf("shape %v with rows of %d, want a multiple of %s's block of %d", t.Shape, row, t.Type, typ.block)
	}
	hi, lo := bits.Mul(elements/uint(typ.block), uint(typ.bytes))
	if hi != 0 || lo > math.MaxInt {
		return t, fmt.Errorf("size of shape %v overflows", t.Shape)
	}
	t.Bytes = int(lo)
	start, err := c.uint64()
	if err != nil {
		return t, fmt.Errorf("offset: %w", err)
	}
	if start > math.MaxInt {
		return t, fmt.Errorf("offset %d is beyond the end of the file", start)
	}
	t.start = int(start)
	return t, nil
}

// value reads a metadata value that is no array's element.
func (c *cursor) value(kind uint32) (any, error) {
	if kind == typeArray {
		return c.array(1)
	}
	a, err := c.elements(kind, 1)
	if err != nil {
		return nil, err
	}
	return reflect.ValueOf(a).Index(0).Interface(), nil
}

// array reads an array: its elements' type, their number, the elements.
// Arrays of arrays become []any.
func (c *cursor) array(depth int) (any, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("arrays nested deeper than %d", maxNesting)
	}
	kind, err := c.uint32()
	if err != nil {
		return nil, fmt.Errorf("type of elements: %w", err)
	}
	n, err := c.uint64()
	if err != nil {
		return nil, fmt.Errorf("number of elements: %w", err)
	}
	if kind >= numTypes {
		return nil, fmt.Errorf("type %d is not known", kind)
	}
	if left := uint64(len(c.file) - c.off); n > left/minSize[kind] {
		return nil, fmt.Errorf("array of %d elements, but %d bytes have room for at most %d", n, left, left/minSize[kind])
	}
	if kind != typeArray {
		return c.elements(kind, n)
	}
	var x []any
	for i := range n {
		v, err := c.array(depth + 1)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		x = append(x, v)
	}
	return x, nil
}

// elements reads n values of a type that is no array, as a slice.
func (c *cursor) elements(kind uint32, n uint64) (any, error) {
	switch kind {
	case typeUint8:
		return numbers[uint8](c, n)
	case typeInt8:
		return numbers[int8](c, n)
	case typeUint16:
		return numbers[uint16](c, n)
	case typeInt16:
		return numbers[int16](c, n)
	case typeUint32:
		return numbers[uint32](c, n)
	case typeInt32:
		return numbers[int32](c, n)
	case typeFloat32:
		return numbers[float32](c, n)
	case typeUint64:
		return numbers[uint64](c, n)
	case typeInt64:
		return numbers[int64](c, n)
	case typeFloat64:
		return numbers[float64](c, n)
	case typeBool:
		b, err := c.take(n)
		if err != nil {
			return nil, err
		}
		x := make([]bool, n)
		for i, v := range b {
			if v > 1 {
				return nil, fmt.Errorf("bool of byte %d, want 0 or 1", v)
			}
			x[i] = v == 1
		}
		return x, nil
	case typeString:
		return c.strings(n)
	default:
		return nil, fmt.Errorf("type %d is not known", kind)
	}
}

func numbers[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64](c *cursor, n uint64) ([]T, error) {
	var zero T
	size := uint64(binary.Size(zero))
	if n > math.MaxInt/size {
		return nil, fmt.Errorf("%d values do not fit a file", n)
	}
	b, err := c.take(n * size)
	if err != nil {
		return nil, err
	}
	x := make([]T, n)
	_, err = binary.Decode(b, binary.LittleEndian, x)
	return x, err
}

// strings reads n strings, which share one allocation.
func (c *cursor) strings(n uint64) ([]string, error) {
	start := c.off
	for i := range n {
		if _, err := c.counted(); err != nil {
			if n > 1 {
				err = fmt.Errorf("element %d: %w", i, err)
			}
			return nil, err
		}
	}
	all := string(c.file[start:c.off])
	x := make([]string, n)
	c.off = start
	for i := range x {
		b, err := c.counted()
		if err != nil {
			return nil, err // not reached: the same bytes as above
		}
		end := c.off - start
		x[i] = all[end-len(b) : end]
	}
	return x, nil
}

// name reads a string that must be UTF-8 and not empty.
func (c *cursor) name() (string, error) {
	b, err := c.counted()
	if err != nil {
		return "", err
	}
	if len(b) == 0 || !utf8.Valid(b) {
		return "", fmt.Errorf("%.100q, want UTF-8 that is not empty", b)
	}
	return string(b), nil
}

// counted reads a length and as many bytes.
func (c *cursor) counted() ([]byte, error) {
	n, err := c.uint64()
	if err != nil {
		return nil, err
	}
	return c.take(n)
}

func (c *cursor) take(n uint64) ([]byte, error) {
	if left := uint64(len(c.file) - c.off); n > left {
		return nil, fmt.Errorf("%d bytes at offset %d, but only %d are left (cut off?)", n, c.off, left)
	}
	b := c.file[c.off : c.off+int(n)]
	c.off += int(n)
	return b, nil
}

func (c *cursor) uint32() (uint32, error) {
	b, err := c.take(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (c *cursor) uint64() (uint64, error) {
	b, err := c.take(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}
