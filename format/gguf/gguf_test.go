package gguf

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/tensor"
)

const goldens = "../../testdata/gguf"

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A description is what gguf-py reads from a file.
type description struct {
	Metadata []struct {
		Key   string
		Types []string
		Value any
	}
	Tensors []struct {
		Name, Type string
		Shape      []int
		SHA256     string
	}
	F32SHA256 string `json:"f32_sha256"`
}

func readDescription(t *testing.T, name string) (d description) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goldens, name))
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

// flatten appends the scalars of a value as gguf-py gives them, which flattens
// nested arrays. Floats are in their shortest hexadecimal form.
func flatten(to []string, v reflect.Value) []string {
	switch {
	case v.Kind() == reflect.Interface:
		return flatten(to, v.Elem())
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			to = flatten(to, v.Index(i))
		}
		return to
	case v.CanFloat():
		return append(to, strconv.FormatFloat(v.Float(), 'x', -1, 64))
	default:
		return append(to, fmt.Sprint(v.Interface()))
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// compare checks everything that a file offers against gguf-py's reading.
func compare(t *testing.T, f *File, d description) {
	t.Helper()
	var keys []string
	for _, m := range d.Metadata {
		keys = append(keys, m.Key)
		v, ok := f.Value(m.Key)
		if !ok {
			t.Errorf("no metadata %q", m.Key)
			continue
		}
		got := flatten(nil, reflect.ValueOf(v))
		switch want := m.Value.(type) {
		case map[string]any:
			all := strings.Join(got, "\n")
			if n := fmt.Sprint(want["len"]); strconv.Itoa(len(got)) != n || sum([]byte(all)) != want["sha256"] {
				t.Errorf("metadata %q: %d values that begin with %q, want %v", m.Key, len(got), got[:4], want)
			}
		default:
			expected := flatten(nil, reflect.ValueOf(want))
			if strings.HasPrefix(m.Types[len(m.Types)-1], "FLOAT") {
				for i, s := range expected {
					x, err := strconv.ParseFloat(s, 64)
					if err != nil {
						t.Fatal(err)
					}
					expected[i] = strconv.FormatFloat(x, 'x', -1, 64)
				}
			}
			if !slices.Equal(got, expected) {
				t.Errorf("metadata %q: %q, want %q", m.Key, got, expected)
			}
		}
		if kind := reflect.TypeOf(v).Kind(); (kind == reflect.Slice) != (m.Types[0] == "ARRAY") ||
			kind != reflect.Slice && strings.ToUpper(kind.String()) != m.Types[0] {
			t.Errorf("metadata %q: %T, want %v", m.Key, v, m.Types)
		}
	}
	if got := f.Keys(); !slices.Equal(got, keys) {
		t.Errorf("keys %q, want %q", got, keys)
	}
	tensors := f.Tensors()
	if len(tensors) != len(d.Tensors) {
		t.Fatalf("%d tensors, want %d", len(tensors), len(d.Tensors))
	}
	for i, want := range d.Tensors {
		got := tensors[i]
		if got.Name != want.Name || got.Type != want.Type || !slices.Equal(got.Shape, want.Shape) || sum(f.Bytes(got.Name)) != want.SHA256 {
			t.Errorf("tensor %d: %+v, want %+v", i, got, want)
		}
		if known := got.DType != tensor.Invalid; known && got.DType.String() != got.Type {
			t.Errorf("tensor %q: type %s, DType %s", got.Name, got.Type, got.DType)
		}
		if byName, ok := f.Tensor(want.Name); !ok || !reflect.DeepEqual(byName, got) {
			t.Errorf("tensor %q: by name %+v, in order %+v", want.Name, byName, got)
		}
		f.Release(want.Name)
	}
}

func TestEveryType(t *testing.T) {
	f := open(t, filepath.Join(goldens, "types.gguf"))
	if f.Version() != 3 {
		t.Errorf("version %d", f.Version())
	}
	compare(t, f, readDescription(t, "types.json"))

	// gguf-py flattens it
	if v, _ := f.Value("t.nested"); !cmp.Equal(v, []any{[]int32{1, 2}, []int32{3}}) {
		t.Errorf("t.nested: %#v", v)
	}
	for name, want := range map[string]tensor.DType{
		"t.F32": tensor.F32, "t.F64": tensor.F64, "t.I64": tensor.I64, "t.Q4_1": tensor.Q4_1, "t.Q5_1": tensor.Q5_1,
		"t.Q6_K": tensor.Q6_K, "t.IQ4_NL": tensor.IQ4_NL, "t.MXFP4": tensor.Invalid,
	} {
		if got, ok := f.Tensor(name); !ok || got.DType != want {
			t.Errorf("%s: %+v, want %s", name, got, want)
		}
	}
}

// Version 2 differs from 3 by nothing but its number.
func TestVersion2(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(goldens, "types.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	b[4] = 2
	f := open(t, write(t, b))
	if f.Version() != 2 {
		t.Errorf("version %d", f.Version())
	}
	compare(t, f, readDescription(t, "types.json"))
}

func TestSmolLM2(t *testing.T) {
	path := "../../testdata/models/SmolLM2-135M-Instruct.Q4_1.gguf"
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		t.Skip("no SmolLM2: testdata/fetch-smollm2.sh fetches it")
	}
	f := open(t, path)
	d := readDescription(t, "smollm2.json")
	compare(t, f, d)
	for _, tt := range f.Tensors() {
		if _, ok := HFName(tt.Name); !ok {
			t.Errorf("tensor %q has no Hugging Face name", tt.Name)
		}
	}
	if testing.Short() {
		return
	}
	h := sha256.New()
	var x []float32
	var b []byte
	for _, tt := range f.Tensors() {
		x = slices.Grow(x[:0], elements(tt))[:elements(tt)]
		if err := f.Decode(x, tt.Name); err != nil {
			t.Fatal(err)
		}
		b = slices.Grow(b[:0], 4*len(x))[:4*len(x)]
		for i, v := range x {
			binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
		}
		h.Write(b)
		f.Release(tt.Name)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != d.F32SHA256 {
		t.Errorf("sha256 of all dequantised tensors is %s, want %s", got, d.F32SHA256)
	}
}

func elements(t Tensor) int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

func TestGetters(t *testing.T) {
	f := open(t, filepath.Join(goldens, "types.gguf"))
	get := func(v any, err error) any {
		if err != nil {
			return err
		}
		return v
	}
	for _, c := range []struct {
		got, want any
	}{
		{get(f.String("t.string")), "naïve \U0001F600\n"},
		{get(f.String("t.string.zero")), "a\x00b"},
		{get(f.Bool("t.true")), true},
		{get(f.Bool("t.false")), false},
		{get(f.Uint("t.uint8")), 200},
		{get(f.Uint("t.uint32")), 4000000000},
		{get(f.Int("t.int8")), -100},
		{get(f.Int("t.int64")), -(1 << 62)},
		{get(f.Float("t.float32")), float64(float32(0.1))},
		{get(f.Float("t.float64")), 0.1},
		{get(f.Strings("t.strings")), []string{"", "a", "\u0120the"}},
		{get(f.Ints("t.int32s")), []int{-1, 0, 7}},
		{get(f.Ints("t.uint8s")), []int{1, 2, 255}},
		{get(f.Ints("t.int64s")), []int{1, -(1 << 40)}},
		{get(f.Floats("t.float32s")), []float32{0.5, -0.25}},
	} {
		if !cmp.Equal(c.got, c.want) {
			t.Errorf("%#v, want %#v", c.got, c.want)
		}
	}
	for _, c := range []struct {
		v    any
		want string
	}{
		{get(f.String("t.uint8")), `metadata "t.uint8": "200" (uint8), want a string`},
		{get(f.String("t.strings")), `metadata "t.strings": array of 3 ([]string), want a string`},
		{get(f.Bool("t.uint8")), "want a bool"},
		{get(f.Uint("t.int8")), `"-100" (int), want an integer from 0`},
		{get(f.Int("t.uint64")), `"9223372036854775808" (uint64), want an integer`},
		{get(f.Int("t.bool.s")), "no such metadata key"},
		{get(f.Int("t.true")), "want an integer"},
		{get(f.Int("t.float32")), "want an integer"},
		{get(f.Float("t.uint8")), "want a floating-point number"},
		{get(f.Strings("t.string")), "want an array of strings"},
		{get(f.Strings("t.int32s")), "want an array of strings"},
		{get(f.Ints("t.int32")), "want an array of integers"},
		{get(f.Ints("t.strings")), "want an array of integers"},
		{get(f.Floats("t.int32s")), "want an array of float32"},
		{get(f.Floats("t.float64s")), "want an array of float32"},
	} {
		err, ok := c.v.(error)
		if !ok || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "types.gguf") || errors.Is(err, ErrNoKey) != strings.Contains(c.want, "no such") {
			t.Errorf("%v, want an error with %q", c.v, c.want)
		}
	}
}

// readGolden reads a golden of F32 tensors (and U8 ones, as bytes), by hand:
// this package may not import format/safetensors.
func readGolden(t *testing.T, name string) map[string][]byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goldens, name))
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(b)
	var header map[string]json.RawMessage
	if err := json.Unmarshal(b[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	delete(header, "__metadata__")
	data := map[string][]byte{}
	for name, raw := range header {
		var info struct {
			Offsets [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &info); err != nil {
			t.Fatal(err)
		}
		data[name] = b[8+int(n)+info.Offsets[0] : 8+int(n)+info.Offsets[1]]
	}
	return data
}

// Every value is bit for bit what gguf-py gives; of a NaN only that it is one,
// since its sign and payload depend on the machine.
func TestDecode(t *testing.T) {
	tested := map[string]bool{}
	for name, n := range map[string]int{"blocks": 9, "kblocks": 16} {
		f := open(t, filepath.Join(goldens, name+".gguf"))
		want := readGolden(t, name+".safetensors")
		if len(want) != len(f.Tensors()) || len(want) != n {
			t.Errorf("%s: %d tensors, %d decoded, want %d", name, len(f.Tensors()), len(want), n)
		}
		for name, w := range want {
			compareDecoded(t, f, name, w)
			tt, _ := f.Tensor(name)
			tested[tt.Type] = true
		}
	}
	for _, name := range decodable() {
		if !tested[name] && name != "F64" { // which no model has
			t.Errorf("no golden of %s", name)
		}
	}
}

func compareDecoded(t *testing.T, f *File, name string, w []byte) {
	t.Helper()
	x := make([]float32, len(w)/4)
	if err := f.Decode(x, name); err != nil {
		t.Fatal(err)
	}
	nans, infs, wrong := 0, 0, 0
	for i, got := range x {
		bits := binary.LittleEndian.Uint32(w[4*i:])
		v := math.Float32frombits(bits)
		if v != v {
			nans++
		}
		if math.IsInf(float64(v), 0) {
			infs++
		}
		if math.Float32bits(got) != bits && (got == got || v == v) {
			if wrong++; wrong <= 5 {
				t.Errorf("%s[%d] = %g (%08x), want %g (%08x)", name, i, got, math.Float32bits(got), v, bits)
			}
		}
	}
	if random := !strings.HasPrefix(name, "normal."); random && name != "BF16" && (nans == 0 || infs == 0) {
		t.Errorf("%s: golden has %d NaN and %d Inf", name, nans, infs)
	}
	if wrong > 0 {
		t.Errorf("%s: %d of %d wrong", name, wrong, len(x))
	}
}

func TestDecodeErrors(t *testing.T) {
	path := filepath.Join(goldens, "types.gguf")
	f := open(t, path)
	for _, c := range []struct {
		name string
		n    int
		want string
	}{
		{"absent", 1, `no tensor "absent"`},
		{"t.MXFP4", 64, `tensor "t.MXFP4": type MXFP4 is not supported, want one of F32 F16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL F64 BF16`},
		{"t.Q6_K", 511, `tensor "t.Q6_K": shape [2 256], want 511 elements`},
		{"t.I32", 6, `tensor "t.I32": type I32 is not supported`},
		{"t.F32", 5, `tensor "t.F32": shape [2 3], want 5 elements`},
		{"t.Q4_0", 63, `tensor "t.Q4_0": shape [2 32], want 63 elements`},
	} {
		err := f.Decode(make([]float32, c.n), c.name)
		if err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with the file and %q", err, c.want)
		}
	}
	if f.Bytes("absent") != nil {
		t.Error("bytes of an absent tensor")
	}
}

// TestRewrite writes files again: as they are, and with a tensor in another type.
func TestRewrite(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(goldens, "*.gguf"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range paths {
		f := open(t, path)
		var first Tensor
		for _, tt := range f.Tensors() {
			if tt.DType.CanDecode() && len(tt.Shape) > 0 && tt.Shape[len(tt.Shape)-1]%32 == 0 {
				first = tt
				break
			}
		}
		for _, types := range []map[string]tensor.DType{nil, {first.Name: tensor.Q8_0}} {
			if types != nil && first.Name == "" {
				continue
			}
			out := filepath.Join(t.TempDir(), "out.gguf")
			want := bytes.Repeat([]byte{1, 2}, tensor.Q8_0.Bytes(elements(first))/2)
			err := f.Rewrite(out, tensor.Q8_0, types, func(string) ([]byte, error) { return want, nil })
			if err != nil {
				t.Fatal(path, err)
			}
			g := open(t, out)
			if !slices.Equal(g.Keys(), f.Keys()) {
				t.Errorf("%s: other keys", path)
			}
			for _, k := range f.Keys() {
				v, _ := f.Value(k)
				w, _ := g.Value(k)
				if k == "general.file_type" {
					v = uint32(7)
				}
				if !reflect.DeepEqual(v, w) {
					t.Errorf("%s: key %s is %v, want %v", path, k, w, v)
				}
			}
			for i, tt := range g.Tensors() {
				was := f.Tensors()[i]
				data := f.Bytes(was.Name)
				if types != nil && was.Name == first.Name {
					was.DType, was.Type, was.Bytes, data = tensor.Q8_0, "Q8_0", len(want), want
				}
				was.start, tt.start = 0, 0
				if !reflect.DeepEqual(tt, was) || !bytes.Equal(g.Bytes(tt.Name), data) {
					t.Errorf("%s: %+v, want %+v", path, tt, was)
				}
			}
			if err := f.Rewrite(out, tensor.Q8_0, nil, nil); !errors.Is(err, fs.ErrExist) {
				t.Errorf("over a file: %v", err)
			}
		}
		// What fails leaves nothing.
		out := filepath.Join(t.TempDir(), "out.gguf")
		if first.Name == "" {
			continue
		}
		if err := f.Rewrite(out, tensor.Q8_0, map[string]tensor.DType{first.Name: tensor.Q8_0}, func(string) ([]byte, error) { return nil, nil }); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("%s: too few bytes: %v", path, err)
		}
		if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: half a file is left: %v", path, err)
		}
	}
}

func TestUnpermuteRows(t *testing.T) {
	f := open(t, filepath.Join(goldens, "llama.gguf"))
	heads, err := f.Uint("llama.attention.head_count")
	if err != nil {
		t.Fatal(err)
	}
	kvHeads, err := f.Uint("llama.attention.head_count_kv")
	if err != nil {
		t.Fatal(err)
	}
	want := readGolden(t, "llama.safetensors")
	if len(want) != 6 || heads != 4 || kvHeads != 2 {
		t.Fatalf("%d tensors, %d and %d heads", len(want), heads, kvHeads)
	}
	for name, w := range want {
		tt, _ := f.Tensor(name)
		h := heads
		if strings.Contains(name, ".k.") {
			h = kvHeads
		}
		got := make([]byte, len(w))
		UnpermuteRows(got, f.Bytes(name), tt.Shape[0], tt.Bytes/tt.Shape[0], h)
		if !bytes.Equal(got, w) {
			t.Errorf("%s: rows are not in Hugging Face's order", name)
		}
		back := make([]byte, len(w))
		PermuteRows(back, got, tt.Shape[0], tt.Bytes/tt.Shape[0], h)
		if !bytes.Equal(back, f.Bytes(name)) {
			t.Errorf("%s: rows are not in llama.cpp's order again", name)
		}
		if bytes.Equal(f.Bytes(name), w) {
			t.Errorf("%s: golden is not permuted", name)
		}
	}
	for _, c := range [][5]int{{24, 24, 6, 4, 4}, {24, 24, 6, 4, 0}, {23, 24, 6, 4, 3}, {24, 23, 6, 4, 3}, {20, 20, 5, 4, 1}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("UnpermuteRows%v did not panic", c)
				}
			}()
			UnpermuteRows(make([]byte, c[0]), make([]byte, c[1]), c[2], c[3], c[4])
		}()
	}
}

func TestHFName(t *testing.T) {
	for name, want := range map[string]string{
		"token_embd.weight":          "model.embed_tokens.weight",
		"output_norm.weight":         "model.norm.weight",
		"output.weight":              "lm_head.weight",
		"rope_freqs.weight":          "rope_freqs.weight",
		"blk.0.attn_norm.weight":     "model.layers.0.input_layernorm.weight",
		"blk.12.ffn_norm.weight":     "model.layers.12.post_attention_layernorm.weight",
		"blk.3.attn_q.weight":        "model.layers.3.self_attn.q_proj.weight",
		"blk.3.attn_q.bias":          "model.layers.3.self_attn.q_proj.bias",
		"blk.3.attn_k.bias":          "model.layers.3.self_attn.k_proj.bias",
		"blk.3.attn_v.weight":        "model.layers.3.self_attn.v_proj.weight",
		"blk.3.attn_output.weight":   "model.layers.3.self_attn.o_proj.weight",
		"blk.3.attn_output.bias":     "model.layers.3.self_attn.o_proj.bias",
		"blk.3.ffn_gate.weight":      "model.layers.3.mlp.gate_proj.weight",
		"blk.3.ffn_up.weight":        "model.layers.3.mlp.up_proj.weight",
		"blk.3.ffn_down.weight":      "model.layers.3.mlp.down_proj.weight",
		"blk.3.ffn_down.bias":        "model.layers.3.mlp.down_proj.bias",
		"blk.3.attn_q_norm.weight":   "model.layers.3.self_attn.q_norm.weight",
		"blk.3.attn_k_norm.weight":   "model.layers.3.self_attn.k_norm.weight",
		"blk.3.attn_q_norm.bias":     "",
		"blk.3.attn_norm.bias":       "",
		"blk.03.attn_q.weight":       "",
		"blk.-3.attn_q.weight":       "",
		"blk.+3.attn_q.weight":       "",
		"blk.x.attn_q.weight":        "",
		"blk.3.attn_q":               "",
		"blk.3.attn_q.weight.x":      "",
		"blk.3.attn_q.scale":         "",
		"blk.3.ffn_gate_exps.weight": "",
		"output":                     "",
		"":                           "",
	} {
		if got, ok := HFName(name); got != want || ok != (want != "") {
			t.Errorf("HFName(%q) = %q, %v, want %q", name, got, ok, want)
		}
	}
}

// Names of whole models as gguf-py's tensor map has them.
func TestHFNameOfFamilies(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(goldens, "names.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Families []struct {
			Family, Architecture string
			Tensors              map[string]string // of a Hugging Face checkpoint → in GGUF
		}
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Families) != 6 {
		t.Errorf("%d families", len(golden.Families))
	}
	for _, f := range golden.Families {
		if len(f.Tensors) < 2*9+3 {
			t.Errorf("%s: %d tensors", f.Family, len(f.Tensors))
		}
		for hf, name := range f.Tensors {
			if got, ok := HFName(name); !ok || got != hf {
				t.Errorf("%s: HFName(%q) = %q, %v, want %q", f.Family, name, got, ok, hf)
			}
		}
		if yes, ok := Permuted(f.Architecture); !ok || yes != (f.Architecture == "llama") {
			t.Errorf("Permuted(%q) = %v, %v", f.Architecture, yes, ok)
		}
	}
	if _, ok := Permuted("gpt2"); ok {
		t.Error("Permuted knows gpt2")
	}
}

// write writes a file of these bytes and returns its path.
func write(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A builder writes pieces of a GGUF file, however wrong.
type builder struct{ b []byte }

func build(version uint32, tensors, pairs uint64) *builder {
	return (&builder{[]byte("GGUF")}).u32(version).u64(tensors, pairs)
}

func (b *builder) u32(x ...uint32) *builder {
	for _, x := range x {
		b.b = binary.LittleEndian.AppendUint32(b.b, x)
	}
	return b
}

func (b *builder) u64(x ...uint64) *builder {
	for _, x := range x {
		b.b = binary.LittleEndian.AppendUint64(b.b, x)
	}
	return b
}

func (b *builder) str(s string) *builder {
	b.u64(uint64(len(s)))
	b.b = append(b.b, s...)
	return b
}

func (b *builder) tensor(name string, typ uint32, off uint64, ne ...uint64) *builder {
	return b.str(name).u32(uint32(len(ne))).u64(ne...).u32(typ).u64(off)
}

func (b *builder) raw(x ...byte) *builder { b.b = append(b.b, x...); return b }

// data aligns to 32 and appends n bytes.
func (b *builder) data(n int) []byte {
	for len(b.b)%32 != 0 {
		b.b = append(b.b, 0)
	}
	return append(b.b, make([]byte, n)...)
}

func TestMalformed(t *testing.T) {
	const f32, q40, q6k = 0, 2, 14
	nested := build(3, 0, 1).str("k").u32(typeArray)
	for range maxNesting {
		nested.u32(typeArray).u64(1)
	}
	for _, c := range []struct {
		want string // "" for a good file
		file []byte
	}{
		{"", build(3, 0, 0).b},
		{"", build(2, 1, 0).tensor("t", f32, 0, 3).data(12)},
		{"", build(3, 1, 0).tensor("t", f32, 0).data(4)}, // a scalar
		{"", build(3, 1, 0).tensor("t", f32, 0, 0, 5).data(0)},
		{"", build(3, 2, 0).tensor("b", f32, 32, 3).tensor("a", f32, 0, 8).data(44)}, // out of order
		{"", build(3, 2, 0).tensor("a", f32, 0, 3).tensor("b", f32, 64, 1).data(68)}, // with a hole
		{"", build(3, 0, 1).str("k").u32(typeArray).u32(typeString).u64(0).b},
		{"", build(3, 0, 1).str("k").u32(typeString).str("\xff\xfe").b}, // values are bytes
		{`starts with "", want "GGUF"`, nil},
		{`starts with "GGU", want "GGUF"`, []byte("GGU")},
		{`starts with "ggjt", want "GGUF"`, []byte("ggjt\x03\x00\x00\x00")},
		{"version: 4 bytes at offset 4, but only 1 are left", []byte("GGUF\x03")},
		{"GGUF version 1, want 2 or 3", build(1, 0, 0).b},
		{"GGUF version 4, want 2 or 3", build(4, 0, 0).b},
		{"GGUF version 0, want 2 or 3", build(0, 0, 0).b},
		{"big-endian GGUF (version 3)", []byte("GGUF\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00")},
		{"9223372036854775808 tensors, but", build(3, 1<<63, 0).b},
		{"1099511627776 metadata pairs, but", build(3, 0, 1<<40).b},
		{"metadata pair 0: key: 99 bytes at offset 32, but only 8 are left", build(3, 0, 1).u64(99, 0).b},
		{`metadata pair 0: key: "", want UTF-8`, build(3, 0, 1).str("").u32(0).raw(0, 0, 0).b},
		{`metadata pair 0: key: "\xff", want UTF-8`, build(3, 0, 1).str("\xff").u32(0).raw(0).b},
		{`metadata "k": type 13 is not known`, build(3, 0, 1).str("k").u32(13).u64(0).b},
		{`metadata "k": type 13 is not known`, build(3, 0, 1).str("k").u32(typeArray).u32(13).u64(0).b},
		{`metadata "k": type 4294967295 is not known`, build(3, 0, 1).str("k").u32(typeArray).u32(math.MaxUint32).u64(1).b},
		{`metadata "k": given twice`, build(3, 0, 2).str("k").u32(typeUint8).raw(1).str("k").u32(typeUint8).raw(1).b},
		{`metadata "k": bool of byte 2`, build(3, 0, 1).str("k").u32(typeBool).raw(2).b},
		{`metadata "k": array of 9223372036854775808 elements`, build(3, 0, 1).str("k").u32(typeArray).u32(typeUint8).u64(1 << 63).b},
		{`metadata "k": array of 1099511627776 elements`, build(3, 0, 1).str("k").u32(typeArray).u32(typeArray).u64(1 << 40).b},
		{`metadata "k": array of 2 elements, but 15 bytes`, build(3, 0, 1).str("k").u32(typeArray).u32(typeUint64).u64(2).raw(make([]byte, 15)...).b},
		{`metadata "k": element 1: 9 bytes at`, build(3, 0, 1).str("k").u32(typeArray).u32(typeString).u64(2).str("").u64(9).b},
		{`metadata "k": 9223372036854775808 bytes at`, build(3, 0, 1).str("k").u32(typeString).u64(1 << 63).b},
		{`metadata "k": ` + strings.Repeat("element 0: ", maxNesting) + "arrays nested deeper than 16", nested.u32(typeUint8).u64(0).b},
		{`metadata "general.alignment": "0" (uint32)`, build(3, 0, 1).str("general.alignment").u32(typeUint32).u32(0).b},
		{`metadata "general.alignment": "48" (uint32)`, build(3, 0, 1).str("general.alignment").u32(typeUint32).u32(48).b},
		{`metadata "general.alignment": "32" (uint64)`, build(3, 0, 1).str("general.alignment").u32(typeUint64).u64(32).b},
		{"tensor \"t\": 4 bytes of data at 0, but the data part has 0", build(3, 1, 1).str("general.alignment").u32(typeUint32).u32(1<<31).tensor("t", f32, 0, 1).data(4)},
		{"tensor 0 of 1: name", build(3, 1, 0).u64(99, 0, 0, 0).b},
		{`tensor 0 of 1: name: "", want UTF-8`, build(3, 1, 0).tensor("", f32, 0, 1).data(4)},
		{`tensor "t": named twice`, build(3, 2, 0).tensor("t", f32, 0, 1).tensor("t", f32, 32, 1).data(36)},
		{`tensor "t": 5 dimensions, want at most 4`, build(3, 1, 0).tensor("t", f32, 0, 1, 1, 1, 1, 1).data(4)},
		{`tensor "t": 4294967295 dimensions`, build(3, 1, 0).str("t").u32(math.MaxUint32).u64(1, 1).data(4)},
		{`tensor "t": dimension 1 is 9223372036854775808`, build(3, 1, 0).tensor("t", f32, 0, 1, 1<<63).data(4)},
		{`tensor "t": size of shape [4294967296 4294967296] overflows`, build(3, 1, 0).tensor("t", f32, 0, 1<<32, 1<<32).data(4)},
		{`tensor "t": size of shape [4611686018427387904] overflows`, build(3, 1, 0).tensor("t", f32, 0, 1<<62).data(4)},
		{`tensor "t": 4398046511104 bytes of data at 0`, build(3, 1, 0).tensor("t", f32, 0, 1<<40).data(4)},
		{`tensor "t": type 4 is not known`, build(3, 1, 0).tensor("t", 4, 0, 1).data(4)},
		{`tensor "t": shape [1 33] with rows of 33, want a multiple of Q4_0's block of 32`, build(3, 1, 0).tensor("t", q40, 0, 33, 1).data(64)},
		{`tensor "t": shape [32 16] with rows of 16, want a multiple of Q4_0's block of 32`, build(3, 1, 0).tensor("t", q40, 0, 16, 32).data(999)},
		{`tensor "t": shape [2 33] with rows of 33, want a multiple of Q5_0's block of 32`, build(3, 1, 0).tensor("t", 6, 0, 33, 2).data(999)},
		{`tensor "t": shape [2 48] with rows of 48, want a multiple of Q5_1's block of 32`, build(3, 1, 0).tensor("t", 7, 0, 48, 2).data(999)},
		{`tensor "t": shape [8 32] with rows of 32, want a multiple of Q2_K's block of 256`, build(3, 1, 0).tensor("t", 10, 0, 32, 8).data(999)},
		{`tensor "t": shape [2 128] with rows of 128, want a multiple of Q3_K's block of 256`, build(3, 1, 0).tensor("t", 11, 0, 128, 2).data(999)},
		{`tensor "t": shape [256 1] with rows of 1, want a multiple of Q4_K's block of 256`, build(3, 1, 0).tensor("t", 12, 0, 1, 256).data(999)},
		{`tensor "t": shape [4 576] with rows of 576, want a multiple of Q5_K's block of 256`, build(3, 1, 0).tensor("t", 13, 0, 576, 4).data(9999)},
		{`tensor "t": shape [255] with rows of 255, want a multiple of Q6_K's block of 256`, build(3, 1, 0).tensor("t", 14, 0, 255).data(999)},
		{`tensor "t": shape [2 16] with rows of 16, want a multiple of IQ4_NL's block of 32`, build(3, 1, 0).tensor("t", 20, 0, 16, 2).data(999)},
		{`tensor "t": 144 bytes of data at 0, but the data part has 143`, build(3, 1, 0).tensor("t", 12, 0, 256).data(143)},
		{`tensor "t": shape [] with rows of 1, want a multiple of Q6_K's block of 256`, build(3, 1, 0).tensor("t", q6k, 0).data(999)},
		{`tensor "t": offset 16, want a multiple of the alignment 32`, build(3, 1, 0).tensor("t", f32, 16, 1).data(32)},
		{`tensor "t": offset 9223372036854775808 is beyond`, build(3, 1, 0).tensor("t", f32, 1<<63, 1).data(32)},
		{`tensor "t": 4 bytes of data at 9223372036854775776, but the data part has 32`, build(3, 1, 0).tensor("t", f32, 1<<63-32, 1).data(32)},
		{`tensor "t": 4 bytes of data at 32, but the data part has 32`, build(3, 1, 0).tensor("t", f32, 32, 1).data(32)},
		{`tensor "b": data overlaps that of tensor "a"`, build(3, 2, 0).tensor("a", f32, 0, 9).tensor("b", f32, 32, 1).data(64)},
		{`tensor "b": data overlaps that of tensor "a"`, build(3, 2, 0).tensor("a", f32, 0, 9).tensor("b", f32, 0, 9).data(64)},
	} {
		path := write(t, c.file)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := Open(path)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Errorf("%q: %d bytes allocated", c.file, n)
		}
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%q: %v", c.file, err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), path+": "+c.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%q: error %v, want one line with %q", c.file, err, c.want)
		}
		if err == nil {
			check(t, c.file)
			f.Close()
		}
	}
}

// check touches all that a parsed file offers.
func check(t testing.TB, file []byte) error {
	c, err := parse("f", file)
	if err != nil {
		return err
	}
	for _, tt := range c.tensors {
		if tt.start < 0 || tt.Bytes < 0 || tt.start+tt.Bytes > len(file) {
			t.Errorf("tensor %q: %d bytes at %d of %d", tt.Name, tt.Bytes, tt.start, len(file))
		}
		if tt.DType.CanDecode() {
			x := make([]float32, elements(tt))
			tt.DType.Decode(x, file[tt.start:tt.start+tt.Bytes])
		}
	}
	if len(c.keys) != len(c.values) {
		t.Errorf("%d keys, %d values", len(c.keys), len(c.values))
	}
	return nil
}

func TestTruncated(t *testing.T) {
	for _, name := range []string{"types.gguf", "llama.gguf", "kblocks.gguf"} {
		file, err := os.ReadFile(filepath.Join(goldens, name))
		if err != nil {
			t.Fatal(err)
		}
		c, err := parse("f", file)
		if err != nil {
			t.Fatal(err)
		}
		end := 0 // of the last tensor; padding may follow
		for _, tt := range c.tensors {
			end = max(end, tt.start+tt.Bytes)
		}
		for n := range end {
			if check(t, file[:n:n]) == nil {
				t.Errorf("%s cut off at %d of %d bytes: no error", name, n, len(file))
			}
		}
	}
}

func TestFlippedBytes(t *testing.T) {
	for _, name := range []string{"types.gguf", "kblocks.gguf"} {
		file, err := os.ReadFile(filepath.Join(goldens, name))
		if err != nil {
			t.Fatal(err)
		}
		c, err := parse("f", file)
		if err != nil {
			t.Fatal(err)
		}
		header := len(file)
		for _, tt := range c.tensors {
			header = min(header, tt.start)
		}
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
		// The rest changes a value, a letter of a name, or padding.
		if n := 9 * header; refused < n/4 || refused == n {
			t.Errorf("%s: %d of %d refused", name, refused, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"types.gguf", "llama.gguf", "kblocks.gguf"} {
		b, err := os.ReadFile(filepath.Join(goldens, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(build(2, 1, 0).tensor("t", 0, 0, 3).data(12))
	f.Add(build(3, 0, 1).str("k").u32(typeArray).u32(typeArray).u64(1).u32(typeString).u64(1).str("x").b)
	f.Add(build(3, 0, 1).str("k").u32(typeArray).u32(typeUint8).u64(1 << 63).b)
	f.Fuzz(func(t *testing.T, file []byte) {
		if err := check(t, file); err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("error of more than one line: %q", err)
		}
	})
}
