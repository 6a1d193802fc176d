package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/tensor"
)

const goldens = "../../testdata/safetensors"

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func readJSON(t testing.TB, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goldens, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// all.safetensors has, for each type, z.TYPE [2,3] and a.TYPE [], whose bytes
// count up from 1.
func TestRead(t *testing.T) {
	path := filepath.Join(goldens, "all.safetensors")
	f := open(t, path)
	names := f.Names()
	if !slices.IsSorted(names) || len(names) != 2*len(dtypes)+4 {
		t.Errorf("names %q", names)
	}
	if got, want := f.Metadata(), map[string]string{"format": "pt"}; !maps.Equal(got, want) {
		t.Errorf("metadata %v, want %v", got, want)
	}
	for _, dt := range dtypes {
		_, width := dt.Block()
		for name, want := range map[string]Info{
			"z." + dt.String(): {dt, []int{2, 3}, 6 * width},
			"a." + dt.String(): {dt, []int{}, width},
		} {
			got, ok := f.Info(name)
			if !ok || !cmp.Equal(got, want) {
				t.Errorf("%s: %+v, want %+v", name, got, want)
			}
			data := f.Bytes(name)
			if len(data) != want.Bytes || cap(data) != want.Bytes {
				t.Errorf("%s: %d bytes of capacity %d, want %d", name, len(data), cap(data), want.Bytes)
			}
			for i, b := range data {
				w := byte(i + 1)
				if dt == tensor.Bool {
					w &= 1
				}
				if b != w {
					t.Errorf("%s: byte %d is %d, want %d", name, i, b, w)
				}
			}
			f.Release(name)
			if f.PathOf(name) != path {
				t.Errorf("%s: in %q", name, f.PathOf(name))
			}
		}
	}
	if info, _ := f.Info("empty.second"); !slices.Equal(info.Shape, []int{3, 0, 2}) || info.Bytes != 0 || f.Bytes("empty.second") == nil {
		t.Errorf("empty.second: %+v", info)
	}
	got := make([]float32, 2)
	if err := f.Decode(got, ""); err != nil || !slices.Equal(got, []float32{2.5, 3.5}) {
		t.Errorf("Decode: %v, %v", got, err)
	}
	if _, ok := f.Info("absent"); ok || f.Bytes("absent") != nil || f.PathOf("absent") != "" {
		t.Error("absent tensor is there")
	}
	for _, err := range []error{f.Decode(got, "absent"), f.Decode(got[:1], ""), f.Decode(got, "z.I64")} {
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "tensor") {
			t.Errorf("error %v, want one naming file and tensor", err)
		}
	}
}

// Writing what save_file wrote gives its bytes, whatever the order of entries.
func TestWriteLikeReference(t *testing.T) {
	path := filepath.Join(goldens, "all.safetensors")
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	var entries []Entry
	for name, info := range f.All() {
		entries = append(entries, FromBytes(name, info.DType, info.Shape, f.Bytes(name)))
	}
	for range 2 {
		out := filepath.Join(t.TempDir(), "out.safetensors")
		if err := Write(out, entries, f.Metadata()); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			i := 0
			for i < len(got) && i < len(want) && got[i] == want[i] {
				i++
			}
			t.Fatalf("%d bytes, want %d; they differ from byte %d: %.60q, want %.60q", len(got), len(want), i, got[i:], want[i:])
		}
		slices.Reverse(entries)
	}
}

func TestFromFloats(t *testing.T) {
	f := open(t, filepath.Join(goldens, "floats.safetensors"))
	x := make([]float32, f.tensors["x"].Shape[0])
	if err := f.Decode(x, "x"); err != nil {
		t.Fatal(err)
	}
	for name, dt := range map[string]tensor.DType{"x": tensor.F32, "bf16": tensor.BF16, "f16": tensor.F16} {
		var got bytes.Buffer
		if err := FromFloats(name, dt, []int{len(x)}, x).Data(&got); err != nil {
			t.Fatal(err)
		}
		want := f.Bytes(name)
		_, width := dt.Block()
		for i, v := range x {
			g, w := got.Bytes()[i*width:(i+1)*width], want[i*width:(i+1)*width]
			if !bytes.Equal(g, w) {
				t.Errorf("%s: %g (%08x) is %x, want %x", name, v, math.Float32bits(v), g, w)
			}
		}
	}
	if err := FromFloats("x", tensor.I32, []int{len(x)}, x).Data(io.Discard); err == nil {
		t.Error("F32 values written as I32")
	}
}

// stricter has the headers of cases.json that the reference accepts and we
// do not, and why.
var stricter = map[string]string{
	`{"__metadata__":{"a":"1","a":"2"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`:                    "given twice",
	`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`: "named twice",
	`{"a":["U8",[1],[0,1]]}`:                                     "want a JSON object",
	`{"a":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}`: `tensor "a": dtype "F8_E8M0", want one that is supported`,
	`{"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}`:     `tensor "a": dtype "C64", want one that is supported`,
}

func TestCasesOfReference(t *testing.T) {
	var golden struct {
		Cases []struct{ File, Header, Reference string }
	}
	readJSON(t, "cases.json", &golden)
	if len(golden.Cases) < 60 {
		t.Fatalf("%d cases", len(golden.Cases))
	}
	dir := t.TempDir()
	for i, c := range golden.Cases {
		file, err := hex.DecodeString(c.File)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		reason, isStricter := stricter[c.Header]
		switch {
		case isStricter:
			if c.Reference != "ok" {
				break // the same header with a false length
			}
			if err == nil || !strings.Contains(err.Error(), reason) {
				t.Errorf("%q: error %v, want one with %q", c.Header, err, reason)
			}
		case (err == nil) != (c.Reference == "ok"):
			t.Errorf("%q: error %v, reference says %q", c.Header, err, c.Reference)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), path+": ") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q: error %q, want one line that begins with the file", c.Header, err)
		}
		if err == nil {
			f.Close()
		}
	}
}

// check reads all that a parsed file offers.
func check(t testing.TB, file []byte) error {
	tensors, _, err := parse("f", file)
	if err != nil {
		return err
	}
	end := -1
	for _, r := range tensors {
		if end >= 0 && r.start != end {
			t.Errorf("tensor %q starts at %d, want %d", r.name, r.start, end)
		}
		end = r.start + r.Bytes
		_ = file[r.start:end]
		if n, ok := size(r.DType, r.Shape); !ok || n != r.Bytes {
			t.Errorf("tensor %q: %d bytes for %s %v", r.name, r.Bytes, r.DType, r.Shape)
		}
	}
	if end >= 0 && end != len(file) {
		t.Errorf("data ends at %d of %d", end, len(file))
	}
	return nil
}

func TestTruncated(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(goldens, "all.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if err := check(t, file); err != nil {
		t.Fatal(err)
	}
	for n := range file {
		if check(t, file[:n:n]) == nil {
			t.Errorf("cut off at %d of %d bytes: no error", n, len(file))
		}
	}
	if check(t, append(file, 0)) == nil {
		t.Error("one byte too many: no error")
	}
}

func TestFlippedBytes(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(goldens, "all.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	header := 8 + int(binary.LittleEndian.Uint64(file))
	refused := 0
	for i := range header {
		for _, x := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
			file[i] ^= x
			if check(t, file) != nil {
				refused++
			}
			file[i] ^= x
		}
	}
	// The rest changes a name, metadata, or one type into another of its size.
	if n := 9 * header; refused < n/2 || refused == n {
		t.Errorf("%d of %d refused", refused, n)
	}
}

func TestNothingAllocatedFromLies(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var paths []string
	for i, n := range []uint64{1 << 63, 1 << 40, 1<<64 - 1, 1<<64 - 8, maxHeader, maxHeader - 1, 1 << 26} {
		paths = append(paths, write(fmt.Sprint("length", i), append(binary.LittleEndian.AppendUint64(nil, n), "{}"...)))
	}
	for i, h := range []string{
		`{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}`,
		`{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}`,
		`{"a":{"dtype":"F32","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`,
	} {
		paths = append(paths, write(fmt.Sprint("shape", i), append(binary.LittleEndian.AppendUint64(nil, uint64(len(h))), h...)))
	}
	for _, path := range paths {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := Open(path)
		runtime.ReadMemStats(&after)
		if err == nil {
			f.Close()
			t.Errorf("%s: no error", path)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Errorf("%s: %d bytes allocated", path, n)
		}
	}
}

// The limit on the header counts, not only the file's size.
func TestHeaderLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, binary.LittleEndian.AppendUint64(nil, maxHeader+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 8+maxHeader+1); err != nil { // sparse
		t.Skip("no file of 100 MB here:", err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "header of 100000001 bytes, want at most 100000000") {
		t.Errorf("error %v", err)
	}
}

func TestOpenNoFile(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.safetensors")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, empty, filepath.Join(dir, "absent.safetensors"), filepath.Join(dir, "absent.index.json")} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Open(%q): %v", path, err)
		}
	}
	if _, err := OpenDir(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), ModelFile) {
		t.Errorf("OpenDir without a checkpoint: %v", err)
	}
}

func TestWriteSharded(t *testing.T) {
	var golden struct {
		Sizes [][2]any
		Cases []struct {
			Limit int
			Files map[string][]string
			Index string
		}
	}
	readJSON(t, "index.json", &golden)
	var entries []Entry
	for _, s := range golden.Sizes {
		x := make([]float32, int(s[1].(float64)))
		for i := range x {
			x[i] = float32(len(entries)*100 + i)
		}
		entries = append(entries, FromFloats(s[0].(string), tensor.F32, []int{len(x)}, x))
	}
	for _, c := range golden.Cases {
		dir := t.TempDir()
		if err := WriteSharded(dir, entries, map[string]string{"format": "pt"}, c.Limit); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
		if err != nil || len(files) != len(c.Files) {
			t.Errorf("limit %d: files %q, want %v", c.Limit, files, c.Files)
		}
		for name, want := range c.Files {
			if got := open(t, filepath.Join(dir, name)).Names(); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				t.Errorf("limit %d: %s has %q, want %q", c.Limit, name, got, want)
			}
		}
		index, err := os.ReadFile(filepath.Join(dir, IndexFile))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err != nil || string(index) != c.Index {
			t.Errorf("limit %d: index %q, %v, want %q", c.Limit, index, err, c.Index)
		}
		f, err := OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range entries {
			got := make([]float32, e.Shape[0])
			if err := f.Decode(got, e.Name); err != nil {
				t.Error(err)
			}
			for j, v := range got {
				if v != float32(i*100+j) {
					t.Errorf("limit %d: %s[%d] = %g, want %d", c.Limit, e.Name, j, v, i*100+j)
				}
			}
		}
		if f.Metadata()["format"] != "pt" {
			t.Errorf("limit %d: metadata %v", c.Limit, f.Metadata())
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err := WriteSharded(dir, entries, nil, c.Limit); !errors.Is(err, fs.ErrExist) {
			t.Errorf("limit %d: written over a checkpoint: %v", c.Limit, err)
		}
	}
}

func TestOpenIndexErrors(t *testing.T) {
	x := func(names ...string) (e []Entry) {
		for _, n := range names {
			e = append(e, FromFloats(n, tensor.F32, []int{1}, []float32{1}))
		}
		return e
	}
	for _, c := range []struct{ index, want string }{
		{`{"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}}`, ""},
		{`{"weight_map":{"a":"1.safetensors","c":"2.safetensors"}}`, `tensor "b": is in 1.safetensors but not in the index`},
		{`{"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors","d":"2.safetensors"}}`, `tensor "d": not in 2.safetensors`},
		{`{"weight_map":{"a":"1.safetensors","b":"2.safetensors","c":"2.safetensors"}}`, `tensor "b": not in 2.safetensors`},
		{`{"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"3.safetensors"}}`, `3.safetensors`},
		{`{"weight_map":{"a":"1.safetensors","b":"1.safetensors","x":"twice.safetensors"}}`, `tensor "a": is in 1.safetensors too`},
		{`{"weight_map":{"a":"../1.safetensors"}}`, "plain name"},
		{`{"weight_map":{"a":"/etc/passwd"}}`, "plain name"},
		{`{"weight_map":{"a":"sub/1.safetensors"}}`, "plain name"},
		{`{"weight_map":{"a":"sub\\1.safetensors"}}`, "plain name"},
		{`{"weight_map":{"a":"C:1.safetensors"}}`, "plain name"},
		{`{"weight_map":{"a":".."}}`, "plain name"},
		{`{"weight_map":{"a":"."}}`, "plain name"},
		{`{"weight_map":{"a":""}}`, "plain name"},
		{`{"weight_map":{"a":"1.safetensors\u0000"}}`, "plain name"},
		{`{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}`, "given twice"},
		{`{"weight_map":{"a":1}}`, "want a string"},
		{`{"weight_map":{}}`, "names no tensor"},
		{`{"weight_map":null}`, "names no tensor"},
		{`{}`, "names no tensor"},
		{`[]`, "want a JSON object"},
		{`{"weight_map":{"a":"1.safetensors"`, "unexpected"},
		{``, "unexpected"},
	} {
		dir := t.TempDir()
		for name, entries := range map[string][]Entry{"1.safetensors": x("a", "b"), "2.safetensors": x("c"), "twice.safetensors": x("a", "x")} {
			if err := Write(filepath.Join(dir, name), entries, nil); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, IndexFile)
		if err := os.WriteFile(path, []byte(c.index), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := OpenDir(dir)
		if err == nil {
			f.Close()
		}
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir)) {
			t.Errorf("%s: error %v, want one with %q and the file", c.index, err, c.want)
		}
	}
}

// What was at the path stays, and nothing is left beside it.
func TestWriteErrors(t *testing.T) {
	write := func(chunks ...int) func(io.Writer) error {
		return func(w io.Writer) error {
			for _, n := range chunks {
				if _, err := w.Write(make([]byte, n)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	e := func(name string, dt tensor.DType, shape []int, data func(io.Writer) error) []Entry {
		return []Entry{{Name: name, DType: dt, Shape: shape, Data: data}}
	}
	boom := errors.New("boom")
	for _, c := range []struct {
		entries  []Entry
		metadata map[string]string
		want     string
	}{
		{e("t", tensor.F32, []int{2}, write(4)), nil, `tensor "t": 4 bytes of data, want 8`},
		{e("t", tensor.F32, []int{2}, write(4, 5)), nil, `tensor "t": 1 bytes of data too many`},
		{e("t", tensor.F32, []int{2}, func(io.Writer) error { return boom }), nil, `tensor "t": boom`},
		{e("t", tensor.F32, []int{-1}, write()), nil, `tensor "t": size of shape [-1] overflows`},
		{e("t", tensor.F32, []int{math.MaxInt, 3}, write()), nil, `tensor "t": size of shape`},
		{e("t", tensor.Q4_0, []int{32}, write(18)), nil, `tensor "t": dtype Q4_0`},
		{e("t", tensor.Invalid, []int{1}, write()), nil, `tensor "t": dtype`},
		{e("\xff", tensor.U8, []int{1}, write(1)), nil, "UTF-8"},
		{e("__metadata__", tensor.U8, []int{1}, write(1)), nil, "__metadata__"},
		{append(e("t", tensor.U8, []int{1}, write(1)), e("t", tensor.F32, []int{1}, write(4))...), nil, `tensor "t"`},
		{nil, map[string]string{"k": "\xff"}, `metadata "k"`},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.safetensors")
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := Write(path, c.entries, c.metadata)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("error %v, want one with the file and %q", err, c.want)
		}
		untouched(t, dir, path)
	}

	dir := t.TempDir()
	path := filepath.Join(dir, "x.safetensors")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = Write(path, e("t", tensor.U8, []int{1}, func(io.Writer) error { panic("boom") }), nil)
	}()
	untouched(t, dir, path)

	if err := Write(filepath.Join(dir, "absent", "x"), nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent folder: %v", err)
	}
}

func untouched(t *testing.T, dir, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if string(b) != "old" {
		t.Errorf("%s has %q, %v, want what it had", path, b, err)
	}
	files, err := os.ReadDir(dir)
	if len(files) != 1 {
		t.Errorf("left in the folder: %v, %v", files, err)
	}
}

func TestWriteEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	for _, m := range []map[string]string{nil, {"format": "pt"}} {
		if err := Write(path, nil, m); err != nil {
			t.Fatal(err)
		}
		if f := open(t, path); len(f.Names()) != 0 || !maps.Equal(f.Metadata(), m) {
			t.Errorf("names %q, metadata %v, want %v", f.Names(), f.Metadata(), m)
		}
	}
}

func FuzzParse(f *testing.F) {
	var golden struct{ Cases []struct{ File string } }
	readJSON(f, "cases.json", &golden)
	for _, c := range golden.Cases {
		b, err := hex.DecodeString(c.File)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if err := check(t, file); err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("error of more than one line: %q", err)
		}
	})
}
