package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/tensor"
)

// maxHeader is the reference implementation's limit on the header's length.
const maxHeader = 100_000_000

// dtypes are the format's element types that tenon knows, in the reference
// implementation's order: its writer puts later ones first.
var dtypes = []tensor.DType{
	tensor.Bool,
	tensor.U8, tensor.I8, tensor.F8E5M2, tensor.F8E4M3,
	tensor.I16, tensor.U16, tensor.F16, tensor.BF16,
	tensor.I32, tensor.U32, tensor.F32,
	tensor.F64, tensor.I64, tensor.U64,
}

// Info describes a stored tensor.
type Info struct {
	DType tensor.DType
	Shape []int // row-major, outermost first; not to be changed
	Bytes int   // length of its data
}

// size returns the bytes that a tensor of that type and shape takes. ok is
// false if they, or the elements, overflow an int.
func size(dt tensor.DType, shape []int) (n int, ok bool) {
	_, width := dt.Block()
	u := uint(1)
	for _, d := range append(slices.Clip(shape), width) {
		hi, lo := bits.Mul(u, uint(d))
		if hi != 0 || d < 0 || int(lo) < 0 {
			return 0, false
		}
		u = lo
	}
	return int(u), true
}

// A record is a tensor's place in the data part of its file.
type record struct {
	Info
	name  string
	start int // offset in the file
}

// parse validates a whole file and returns its tensors in the order of their
// data. path is for the errors.
func parse(path string, file []byte) (tensors []record, metadata map[string]string, err error) {
	if len(file) < 8 {
		return nil, nil, fmt.Errorf("%s: %d bytes, want at least the 8 of the header's length", path, len(file))
	}
	n := binary.LittleEndian.Uint64(file)
	if n > maxHeader {
		return nil, nil, fmt.Errorf("%s: header of %d bytes, want at most %d (is this a safetensors file?)", path, n, maxHeader)
	}
	if n > uint64(len(file)-8) {
		return nil, nil, fmt.Errorf("%s: header of %d bytes in a file of %d (cut off?)", path, n, len(file))
	}
	header, data := file[8:8+n], file[8+n:]
	tensors, metadata, err = parseHeader(header)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	slices.SortStableFunc(tensors, func(a, b record) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return a.Bytes - b.Bytes // an empty tensor before the one that starts there too
	})
	end := 0
	for i := range tensors {
		t := &tensors[i]
		if t.start != end {
			return nil, nil, fmt.Errorf("%s: tensor %q: data starts at %d, want %d, the end of the one before", path, t.name, t.start, end)
		}
		if t.Bytes > len(data)-t.start {
			return nil, nil, fmt.Errorf("%s: tensor %q: data at [%d, %d) of %d bytes (cut off?)", path, t.name, t.start, t.start+t.Bytes, len(data))
		}
		want, ok := size(t.DType, t.Shape)
		if !ok {
			return nil, nil, fmt.Errorf("%s: tensor %q: size of shape %v overflows", path, t.name, t.Shape)
		}
		if t.Bytes != want {
			return nil, nil, fmt.Errorf("%s: tensor %q: %d bytes of data, want %d for %s %v", path, t.name, t.Bytes, want, t.DType, t.Shape)
		}
		end = t.start + t.Bytes
		t.start += 8 + int(n)
	}
	if end != len(data) {
		return nil, nil, fmt.Errorf("%s: %d bytes of data, want %d, the end of the last tensor", path, len(data), end)
	}
	return tensors, metadata, nil
}

// parseHeader reads the JSON. The records' starts count from the data part.
func parseHeader(header []byte) (tensors []record, metadata map[string]string, err error) {
	if !utf8.Valid(header) {
		return nil, nil, errors.New("header is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(header))
	d.UseNumber()
	seen := map[string]bool{}
	err = object(d, func(name string) error {
		if seen[name] {
			return fmt.Errorf("tensor %q: named twice", name)
		}
		seen[name] = true
		if name == "__metadata__" {
			m, err := stringMap(d)
			metadata = m
			return wrap(err, "__metadata__")
		}
		// A lone surrogate, which Go's decoder replaces: two of them would be one name.
		if strings.ContainsRune(name, utf8.RuneError) {
			return fmt.Errorf("tensor %q: name is not valid Unicode", name)
		}
		r, err := parseInfo(d)
		r.name = name
		tensors = append(tensors, r)
		return wrap(err, "tensor %q", name)
	})
	if err != nil {
		return nil, nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, nil, errors.New("header has more than one JSON value")
	}
	return tensors, metadata, nil
}

// parseInfo reads {"dtype": …, "shape": […], "data_offsets": [start, end]};
// other keys are skipped.
func parseInfo(d *json.Decoder) (record, error) {
	var r record
	var offsets []int
	seen := map[string]bool{}
	err := object(d, func(key string) error {
		if seen[key] {
			return fmt.Errorf("%q given twice", key)
		}
		seen[key] = true
		var err error
		switch key {
		case "dtype":
			var s string
			if s, err = stringValue(d); err != nil {
				break
			}
			dt, ok := tensor.ParseDType(s)
			if !ok || !slices.Contains(dtypes, dt) {
				return fmt.Errorf("dtype %q, want one that is supported: %s", s, dtypeNames())
			}
			r.DType = dt
		case "shape":
			r.Shape, err = ints(d)
		case "data_offsets":
			offsets, err = ints(d)
		default:
			var skip json.RawMessage
			err = d.Decode(&skip)
		}
		return wrap(err, "%q", key)
	})
	if err != nil {
		return r, err
	}
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if !seen[key] {
			return r, fmt.Errorf("no %q", key)
		}
	}
	if len(offsets) != 2 || offsets[0] > offsets[1] {
		return r, fmt.Errorf("data_offsets %v, want [start, end]", offsets)
	}
	r.start, r.Bytes = offsets[0], offsets[1]-offsets[0]
	return r, nil
}

func dtypeNames() string {
	names := make([]string, len(dtypes))
	for i, dt := range dtypes {
		names[i] = dt.String()
	}
	return strings.Join(names, " ")
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}

// token is d.Token with the end of the text as an ordinary error.
func token(d *json.Decoder) (json.Token, error) {
	t, err := d.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return t, wrap(err, "JSON")
}

// object reads a JSON object, calling value to read the value of each key.
func object(d *json.Decoder, value func(key string) error) error {
	t, err := token(d)
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return fmt.Errorf("%s, want a JSON object", describe(t))
	}
	for d.More() {
		key, err := token(d)
		if err != nil {
			return err
		}
		if err := value(key.(string)); err != nil { // Token has checked that keys are strings
			return err
		}
	}
	_, err = token(d)
	return err
}

// stringMap reads null or a JSON object of strings.
func stringMap(d *json.Decoder) (map[string]string, error) {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return nil, err
	}
	if string(raw) == "null" {
		return nil, nil
	}
	inner := json.NewDecoder(bytes.NewReader(raw))
	m := map[string]string{}
	err := object(inner, func(key string) error {
		if _, ok := m[key]; ok {
			return fmt.Errorf("%q given twice", key)
		}
		s, err := stringValue(inner)
		m[key] = s
		return wrap(err, "%q", key)
	})
	return m, err
}

func stringValue(d *json.Decoder) (string, error) {
	t, err := token(d)
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%s, want a string", describe(t))
	}
	return s, nil
}

// ints reads a JSON array of non-negative integers that fit an int.
func ints(d *json.Decoder) ([]int, error) {
	t, err := token(d)
	if err != nil {
		return nil, err
	}
	if t != json.Delim('[') {
		return nil, fmt.Errorf("%s, want an array of numbers", describe(t))
	}
	x := []int{}
	for d.More() {
		t, err := token(d)
		if err != nil {
			return nil, err
		}
		s, ok := t.(json.Number)
		n, err := strconv.ParseUint(string(s), 10, strconv.IntSize-1)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s, want a whole number from 0 to 2^%d-1", describe(t), strconv.IntSize-1)
		}
		x = append(x, int(n))
	}
	_, err = token(d)
	return x, err
}

func describe(t json.Token) string {
	switch t := t.(type) {
	case nil:
		return "null"
	case string:
		return strconv.Quote(t)
	default:
		return fmt.Sprint(t)
	}
}
