package gguf

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/mapped"
)

// A File is an open GGUF file. Its methods may be called from several
// goroutines, except Close.
type File struct {
	path string
	file *mapped.File
	content
	index map[string]int // tensor name → place in tensors
}

// Open maps the file at path and validates its metadata and the places of its
// tensors; no tensor data is read. Errors name the file, and the key or tensor.
func Open(path string) (*File, error) {
	m, err := mapped.Open(path)
	if err != nil {
		return nil, err
	}
	var c *content
	if err := m.Try(func() (err error) {
		c, err = parse(path, m.Bytes())
		return err
	}); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	f := &File{path: path, file: m, content: *c, index: make(map[string]int, len(c.tensors))}
	for i, t := range f.tensors {
		f.index[t.Name] = i
	}
	return f, nil
}

// Path returns the path that was opened.
func (f *File) Path() string { return f.path }

// Version returns the format's version, 2 or 3.
func (f *File) Version() int { return f.version }

// Close unmaps the file. What Bytes returned must not be used any more;
// metadata and tensor descriptions stay valid.
func (f *File) Close() error { return f.file.Close() }

// Tensors returns the tensors in the file's order.
func (f *File) Tensors() []Tensor { return slices.Clone(f.tensors) }

// Tensor describes a tensor; ok is false if there is none of that name.
func (f *File) Tensor(name string) (t Tensor, ok bool) {
	i, ok := f.index[name]
	if !ok {
		return t, false
	}
	return f.tensors[i], true
}

// Bytes returns a tensor's data in the mapped file: rows of whole blocks,
// little-endian. It must not be written to, nor used after Close. It is nil if
// there is no tensor of that name. Where somebody else may truncate the file
// meanwhile, use View.
func (f *File) Bytes(name string) []byte {
	t, ok := f.Tensor(name)
	if !ok {
		return nil
	}
	end := t.start + t.Bytes
	return f.file.Bytes()[t.start:end:end]
}

// Decodable returns the description of a tensor that can be decoded to F32.
// It is an error if there is no such tensor or its type has no decoding.
func (f *File) Decodable(name string) (Tensor, error) {
	t, ok := f.Tensor(name)
	if !ok {
		return t, fmt.Errorf("%s: no tensor %q", f.path, name)
	}
	if !t.DType.CanDecode() {
		return t, fmt.Errorf("%s: tensor %q: type %s is not supported, want one of %s", f.path, name, t.Type, strings.Join(decodable(), " "))
	}
	return t, nil
}

// Decode writes a tensor's elements to dst as F32, bit for bit as gguf-py
// dequantises them. It is an error if there is no such tensor, if its type has
// no decoding, or if it has not len(dst) elements.
func (f *File) Decode(dst []float32, name string) error {
	t, err := f.Decodable(name)
	if err != nil {
		return err
	}
	elements := 1
	for _, d := range t.Shape {
		elements *= d // does not overflow: parse has checked it
	}
	if elements != len(dst) {
		return fmt.Errorf("%s: tensor %q: shape %v, want %d elements", f.path, name, t.Shape, len(dst))
	}
	return f.View(name, func(data []byte) error {
		t.DType.Decode(dst, data)
		return nil
	})
}

// View calls read with what Bytes returns, and returns its error. That the file
// was truncated or written to since it was opened is an error and not a crash.
// What read reads, it must read in its own goroutine.
func (f *File) View(name string, read func(data []byte) error) error {
	if _, ok := f.Tensor(name); !ok {
		return fmt.Errorf("%s: no tensor %q", f.path, name)
	}
	return f.file.Try(func() error { return read(f.Bytes(name)) })
}

// Release gives the memory pages of a tensor's data back to the system: to be
// called after reading through it. The data stays readable.
func (f *File) Release(name string) {
	if t, ok := f.Tensor(name); ok {
		f.file.Release(t.start, t.Bytes)
	}
}

// ErrNoKey is wrapped by the getters' errors when the file lacks the key. An
// error that does not wrap it means that the value is of another type.
var ErrNoKey = errors.New("no such metadata key")

// Keys returns the metadata keys in the file's order.
func (f *File) Keys() []string { return slices.Clone(f.keys) }

// Value returns a metadata value as it is stored: uint8 to uint64, int8 to
// int64, float32, float64, bool, string; slices of these; []any for arrays of
// arrays. It must not be changed. ok is false if there is no such key.
func (f *File) Value(key string) (v any, ok bool) {
	v, ok = f.values[key]
	return v, ok
}

func (f *File) get(key string) (any, error) {
	v, ok := f.values[key]
	if !ok {
		return nil, fmt.Errorf("%s: metadata %q: %w", f.path, key, ErrNoKey)
	}
	return v, nil
}

func (f *File) wrongType(key string, v any, want string) error {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Slice {
		return fmt.Errorf("%s: metadata %q: array of %d (%T), want %s", f.path, key, r.Len(), v, want)
	}
	return fmt.Errorf("%s: metadata %q: %.100q (%T), want %s", f.path, key, fmt.Sprint(v), v, want)
}

// typed returns the value of a key that is stored as a T.
func typed[T any](f *File, key, want string) (x T, err error) {
	v, err := f.get(key)
	if err != nil {
		return x, err
	}
	x, ok := v.(T)
	if !ok {
		return x, f.wrongType(key, v, want)
	}
	return x, nil
}

// String returns the string of a key.
func (f *File) String(key string) (string, error) { return typed[string](f, key, "a string") }

// Bool returns the bool of a key.
func (f *File) Bool(key string) (bool, error) { return typed[bool](f, key, "a bool") }

// Strings returns the array of strings of a key. It must not be changed.
func (f *File) Strings(key string) ([]string, error) {
	return typed[[]string](f, key, "an array of strings")
}

// Int returns the integer of a key, stored as whatever integer type, that fits
// an int.
func (f *File) Int(key string) (int, error) {
	v, err := f.get(key)
	if err != nil {
		return 0, err
	}
	n, ok := toInt(reflect.ValueOf(v))
	if !ok {
		return 0, f.wrongType(key, v, "an integer")
	}
	return n, nil
}

// Uint returns the integer of a key, stored as whatever integer type, that is
// not negative and fits an int.
func (f *File) Uint(key string) (int, error) {
	n, err := f.Int(key)
	if err == nil && n < 0 {
		return 0, f.wrongType(key, n, "an integer from 0")
	}
	return n, err
}

// Ints returns the array of integers of a key, stored as whatever integer
// type, that fit an int.
func (f *File) Ints(key string) ([]int, error) {
	v, err := f.get(key)
	if err != nil {
		return nil, err
	}
	r := reflect.ValueOf(v)
	if r.Kind() != reflect.Slice {
		return nil, f.wrongType(key, v, "an array of integers")
	}
	x := make([]int, r.Len())
	for i := range x {
		n, ok := toInt(r.Index(i))
		if !ok {
			return nil, f.wrongType(key, v, "an array of integers")
		}
		x[i] = n
	}
	return x, nil
}

func toInt(v reflect.Value) (n int, ok bool) {
	switch {
	case v.CanInt():
		n := v.Int()
		return int(n), n >= math.MinInt && n <= math.MaxInt
	case v.CanUint():
		n := v.Uint()
		return int(n), n <= math.MaxInt
	default:
		return 0, false
	}
}

// Float returns the number of a key that is stored as float32 or float64.
func (f *File) Float(key string) (float64, error) {
	v, err := f.get(key)
	if err != nil {
		return 0, err
	}
	switch v := v.(type) {
	case float32:
		return float64(v), nil
	case float64:
		return v, nil
	default:
		return 0, f.wrongType(key, v, "a floating-point number")
	}
}

// Floats returns the array of float32 of a key. It must not be changed.
func (f *File) Floats(key string) ([]float32, error) {
	return typed[[]float32](f, key, "an array of float32")
}
