package bnb_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/format/bnb"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/tensor"
)

const testdata = "../../testdata/bnb/"

func open(t testing.TB, path string) *safetensors.File {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// What is written of a weight are the tensors that transformers wrote, byte for byte;
// but for what double quantisation makes of the scales, see tensor.Quantize.
func TestWriteAsTransformers(t *testing.T) {
	base := open(t, testdata+"f32/model.safetensors")
	dev := tensor.NewCPU(2)
	defer dev.Close()
	for name, o := range map[string]tensor.QuantOptions{
		"nf4": {DType: tensor.NF4, Block: 64}, "fp4": {DType: tensor.FP4, Block: 64}, "nf4-double": {DType: tensor.NF4, Block: 64, Double: true},
	} {
		theirs := open(t, testdata+name+"/model.safetensors")
		q, err := bnb.Find(theirs)
		if err != nil {
			t.Fatal(err)
		}
		if q.Len() != 14 {
			t.Errorf("%s: %d quantised weights, want 14", name, q.Len())
		}
		var entries []safetensors.Entry
		for weight, info := range base.All() {
			if q.Has(weight) {
				x := make([]float32, tensor.Shape(info.Shape).Elems())
				if err := base.Decode(x, weight); err != nil {
					t.Fatal(err)
				}
				entries = append(entries, bnb.Entries(weight, info.Shape, o, "float32", func() (*tensor.Tensor, error) {
					return tensor.Quantize(dev, x, info.Shape, o)
				})...)
			} else {
				entries = append(entries, safetensors.Entry{Name: weight, DType: info.DType, Shape: info.Shape, Data: func(w io.Writer) error {
					_, err := w.Write(base.Bytes(weight))
					return err
				}})
			}
		}
		path := filepath.Join(t.TempDir(), "model.safetensors")
		if err := safetensors.Write(path, entries, map[string]string{"format": "pt"}); err != nil {
			t.Fatal(err)
		}
		if _, used, _ := dev.MemoryStats(); used != 0 {
			t.Errorf("%s: %d bytes are still in use", name, used)
		}
		ours := open(t, path)
		if !slices.Equal(ours.Names(), theirs.Names()) {
			t.Errorf("%s: tensors %q, want %q", name, ours.Names(), theirs.Names())
		}
		for part, want := range theirs.All() {
			got, _ := ours.Info(part)
			state := strings.Contains(part, "quant_state")
			if got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) && !(state && o.Double) {
				t.Errorf("%s: %s is %s %v, want %s %v", name, part, got.DType, got.Shape, want.DType, want.Shape)
			}
			switch {
			case o.Double && state:
				var a, b map[string]any
				if json.Unmarshal(ours.Bytes(part), &a) != nil || json.Unmarshal(theirs.Bytes(part), &b) != nil {
					t.Fatalf("%s: %s: %s and %s", name, part, ours.Bytes(part), theirs.Bytes(part))
				}
				x, y := a["nested_offset"].(float64), b["nested_offset"].(float64)
				if math.Abs(x-y) > 1e-6*y {
					t.Errorf("%s: %s: offset %v, want %v", name, part, x, y)
				}
				delete(a, "nested_offset")
				delete(b, "nested_offset")
				if fmt.Sprint(a) != fmt.Sprint(b) {
					t.Errorf("%s: %s: %v, want %v", name, part, a, b)
				}
			case o.Double && (strings.HasSuffix(part, ".absmax") || strings.HasSuffix(part, ".nested_absmax")):
			case !bytes.Equal(ours.Bytes(part), theirs.Bytes(part)):
				t.Errorf("%s: %s: other bytes than transformers'", name, part)
			}
		}
		// And what was written is read.
		again, err := bnb.Find(ours)
		if err != nil {
			t.Fatal(err)
		}
		for _, weight := range again.Names() {
			if again.Has(weight) {
				w, err := again.Load(dev, weight)
				if err != nil {
					t.Fatal(err)
				}
				x := make([]float32, w.Elems())
				if err := again.Decode(x, weight); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(x, w.F32s()) {
					t.Errorf("%s: %s: decoded in two ways it differs", name, weight)
				}
				w.Release()
			}
		}
	}
}

// A checkpoint that was read and is written again has the same bytes.
func TestRoundTrip(t *testing.T) {
	dev := tensor.NewCPU(1)
	defer dev.Close()
	f := open(t, testdata+"nf4-double/model.safetensors")
	q, err := bnb.Find(f)
	if err != nil {
		t.Fatal(err)
	}
	const name = "model.layers.0.mlp.up_proj.weight"
	w, err := q.Load(dev, name)
	if err != nil {
		t.Fatal(err)
	}
	o := tensor.QuantOptions{DType: tensor.NF4, Block: 64, Double: true}
	for _, e := range bnb.Entries(name, w.Shape(), o, "float32", func() (*tensor.Tensor, error) { return w, nil }) {
		var b bytes.Buffer
		if err := e.Data(&b); err != nil {
			t.Fatal(err)
		}
		if got, want := bytes.TrimRight(b.Bytes(), " "), bytes.TrimRight(f.Bytes(e.Name), " "); !bytes.Equal(got, want) {
			t.Errorf("%s: %q, want %q", e.Name, got, want)
		}
	}
}

// entry is a tensor of the given bytes.
func entry(name string, dt tensor.DType, data []byte, shape ...int) safetensors.Entry {
	return safetensors.Entry{Name: name, DType: dt, Shape: shape, Data: func(w io.Writer) error { _, err := w.Write(data); return err }}
}

func floats(n int, v float32) []byte {
	b := make([]byte, 4*n)
	x := make([]float32, n)
	for i := range x {
		x[i] = v
	}
	tensor.F32.Encode(b, x)
	return b
}

const goodState = `{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [3, 50], "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.25}`

// fourBit are the tensors of a weight of 150 elements, of which alter may make others.
func fourBit(state string, alter func(name string, e safetensors.Entry) []safetensors.Entry) (all []safetensors.Entry) {
	for _, e := range []safetensors.Entry{
		entry("w", tensor.U8, make([]byte, 75), 75, 1), entry("w.absmax", tensor.U8, make([]byte, 3), 3),
		entry("w.quant_map", tensor.F32, floats(16, 0.5), 16), entry("w.nested_absmax", tensor.F32, floats(1, 1), 1),
		entry("w.nested_quant_map", tensor.F32, floats(256, 0.5), 256),
		entry("w.quant_state.bitsandbytes__nf4", tensor.U8, []byte(state), len(state)),
	} {
		all = append(all, alter(e.Name, e)...)
	}
	return all
}

// Every way in which a file can be wrong is an error that names the file, the tensor
// and what was expected.
func TestErrors(t *testing.T) {
	same := func(_ string, e safetensors.Entry) []safetensors.Entry { return []safetensors.Entry{e} }
	without := func(name string) func(string, safetensors.Entry) []safetensors.Entry {
		return func(n string, e safetensors.Entry) []safetensors.Entry {
			if n == name {
				return nil
			}
			return []safetensors.Entry{e}
		}
	}
	instead := func(other safetensors.Entry) func(string, safetensors.Entry) []safetensors.Entry {
		return func(n string, e safetensors.Entry) []safetensors.Entry {
			if n == other.Name {
				return []safetensors.Entry{other}
			}
			return []safetensors.Entry{e}
		}
	}
	with := func(old, new string) string {
		s := strings.Replace(goodState, old, new, 1)
		if s == goodState {
			panic(old)
		}
		return s
	}
	nan := float32(math.NaN())
	int8s := func(extra ...safetensors.Entry) []safetensors.Entry {
		return append(extra, entry("l.weight", tensor.I8, make([]byte, 6), 2, 3))
	}
	for name, c := range map[string]struct {
		entries []safetensors.Entry
		want    []string // what the error says
	}{
		"good":                {fourBit(goodState, same), nil},
		"no JSON":             {fourBit("{", same), []string{`"w.quant_state.bitsandbytes__nf4"`, "JSON"}},
		"two JSONs":           {fourBit(goodState+"{}", same), []string{"more than one JSON value"}},
		"type":                {fourBit(with("nf4", "fp4"), same), []string{`quant_type "fp4"`, `want "nf4"`}},
		"block":               {fourBit(with("64", "48"), same), []string{"blocksize 48", "32 to 4096"}},
		"no block":            {fourBit(with(`"blocksize": 64, `, ""), same), []string{"blocksize 0"}},
		"shape":               {fourBit(with("3, 50", "3, 60"), same), []string{`"w"`, "75 bytes of codes, want 90", "[3, 60]"}},
		"negative":            {fourBit(with("3, 50", "-3, -50"), same), []string{"shape [-3, -50]"}},
		"zero":                {fourBit(with("3, 50", "0, 50"), same), []string{"shape [0, 50]"}},
		"huge":                {fourBit(with("3, 50", "4611686018427387904, 4"), same), []string{"want positive extents"}},
		"no shape":            {fourBit(with(`"shape": [3, 50], `, ""), same), []string{`"w"`, "codes"}},
		"nested block":        {fourBit(with("256", "128"), same), []string{"nested_blocksize 128"}},
		"nested dtype":        {fourBit(with(`"nested_dtype": "float32"`, `"nested_dtype": "float16"`), same), []string{`"float16"`}},
		"no offset":           {fourBit(with(`, "nested_offset": 0.25`, ""), same), []string{"nested_offset"}},
		"large offset":        {fourBit(with("0.25", "1e300"), same), []string{"nested_offset 1e+300"}},
		"no codes":            {fourBit(goodState, without("w")), []string{`no tensor "w"`}},
		"no absmax":           {fourBit(goodState, without("w.absmax")), []string{`"w.absmax"`, "missing"}},
		"no map":              {fourBit(goodState, without("w.quant_map")), []string{`"w.quant_map"`, "missing"}},
		"no nested absmax":    {fourBit(goodState, without("w.nested_absmax")), []string{`"w.nested_absmax"`, "missing"}},
		"no nested map":       {fourBit(goodState, without("w.nested_quant_map")), []string{`"w.nested_quant_map"`, "missing"}},
		"absmax of F32":       {fourBit(goodState, instead(entry("w.absmax", tensor.F32, floats(3, 1), 3))), []string{`"w.absmax"`, "want U8 of 3 elements"}},
		"long absmax":         {fourBit(goodState, instead(entry("w.absmax", tensor.U8, make([]byte, 4), 4))), []string{`"w.absmax"`, "want U8 of 3 elements"}},
		"short map":           {fourBit(goodState, instead(entry("w.quant_map", tensor.F32, floats(15, 0), 15))), []string{`"w.quant_map"`, "16 elements"}},
		"NaN in the map":      {fourBit(goodState, instead(entry("w.quant_map", tensor.F32, floats(16, nan), 16))), []string{`"w.quant_map"`, "NaN"}},
		"NaN in nested":       {fourBit(goodState, instead(entry("w.nested_absmax", tensor.F32, floats(1, nan), 1))), []string{`"w.nested_absmax"`, "NaN"}},
		"NaN in nested map":   {fourBit(goodState, instead(entry("w.nested_quant_map", tensor.F32, floats(256, nan), 256))), []string{`"w.nested_quant_map"`, "NaN"}},
		"another type":        {append(fourBit(goodState, same), entry("w.quant_state.bitsandbytes__int3", tensor.U8, []byte("{}"), 2)), []string{"int3", "nf4 or fp4"}},
		"two states":          {append(fourBit(goodState, same), entry("w.quant_state.bitsandbytes__fp4", tensor.U8, []byte(with("nf4", "fp4")), len(goodState))), []string{`"w" has two`}},
		"good int8":           {int8s(entry("l.SCB", tensor.F32, floats(2, 1), 2), entry("l.weight_format", tensor.U8, []byte{0})), nil},
		"old int8":            {int8s(entry("l.SCB", tensor.F32, floats(2, 1), 2)), nil},
		"int8 format":         {int8s(entry("l.SCB", tensor.F32, floats(2, 1), 2), entry("l.weight_format", tensor.U8, []byte{2})), []string{`"l.weight_format"`, "want 0"}},
		"int8 scales":         {int8s(entry("l.SCB", tensor.F32, floats(3, 1), 3)), []string{`"l.SCB"`, "2 elements"}},
		"int8 NaN":            {int8s(entry("l.SCB", tensor.F32, floats(2, nan), 2)), []string{`"l.SCB"`, "NaN"}},
		"int8 without weight": {[]safetensors.Entry{entry("l.SCB", tensor.F32, floats(2, 1), 2)}, []string{`no tensor "l.weight"`}},
		"int8 of F32":         {[]safetensors.Entry{entry("l.SCB", tensor.F32, floats(2, 1), 2), entry("l.weight", tensor.F32, floats(2, 1), 2, 1)}, []string{`"l.weight"`, "want an I8 matrix"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.safetensors")
			if err := safetensors.Write(path, c.entries, nil); err != nil {
				t.Fatal(err)
			}
			err := read(open(t, path))
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("several lines: %q", err)
			}
			for _, want := range append(c.want, path) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q, want it to say %q", err, want)
				}
			}
		})
	}
}

// read reads all that a file holds, in both ways.
func read(f *safetensors.File) error {
	q, err := bnb.Find(f)
	if err != nil {
		return err
	}
	dev := tensor.NewCPU(1)
	defer dev.Close()
	for _, name := range q.Names() {
		if !q.Has(name) {
			continue
		}
		shape, _ := q.Shape(name)
		if err := q.Decode(make([]float32, tensor.Shape(shape).Elems()), name); err != nil {
			return err
		}
		t, err := q.Load(dev, name)
		if err != nil {
			return err
		}
		if t != nil {
			t.Release()
		}
	}
	if _, used, _ := dev.MemoryStats(); used != 0 {
		return fmt.Errorf("%d bytes are still in use", used)
	}
	return nil
}

// encode returns a file of the tensors. Unlike safetensors.Write it waits for no disk.
func encode(t testing.TB, entries []safetensors.Entry) []byte {
	header, data := map[string]any{}, bytes.Buffer{}
	for _, e := range entries {
		from := data.Len()
		if err := e.Data(&data); err != nil {
			t.Fatal(err)
		}
		header[e.Name] = map[string]any{"dtype": e.DType.String(), "shape": e.Shape, "data_offsets": []int{from, data.Len()}}
	}
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(h))), h, data.Bytes())
}

// FuzzRead reads whole files, and files with the given text as the JSON of a state.
func FuzzRead(f *testing.F) {
	same := func(_ string, e safetensors.Entry) []safetensors.Entry { return []safetensors.Entry{e} }
	f.Add([]byte(goodState))
	f.Add([]byte(`{"quant_type": "nf4", "blocksize": 32, "dtype": "bfloat16", "shape": [150]}`))
	f.Add([]byte(`{"quant_type": "nf4", "blocksize": 4096, "shape": [1, 149]}`))
	f.Add(encode(f, fourBit(goodState, same)))
	f.Add(encode(f, []safetensors.Entry{
		entry("l.weight", tensor.I8, make([]byte, 6), 2, 3), entry("l.SCB", tensor.F32, floats(2, 1), 2), entry("l.weight_format", tensor.U8, []byte{0}),
	}))
	path := filepath.Join(f.TempDir(), "f.safetensors")
	f.Fuzz(func(t *testing.T, data []byte) {
		if !bytes.Contains(data, []byte("data_offsets")) {
			data = encode(t, fourBit(string(data), same))
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		file, err := safetensors.Open(path)
		if err != nil {
			return
		}
		defer file.Close()
		if err := read(file); err != nil && (strings.Contains(err.Error(), "still in use") || strings.Contains(err.Error(), "\n")) {
			t.Error(err)
		}
	})
}
