package tensor_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/asm"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/tensor"
)

// stream is testdata/gen/nf4.py's.
func stream(seed uint64, n int) []float32 {
	mix := func(i int) uint64 {
		z := seed + uint64(i+1)*0x9E3779B97F4A7C15
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		return z ^ z>>31
	}
	x := make([]float32, n)
	for i := range x {
		a, b := mix(2*i), mix(2*i+1)
		s := int(a&0xffff) + int(a>>16&0xffff) + int(a>>32&0xffff) + int(a>>48) - 131070
		f := 1 + float32(float32(b>>41)*(1.0/(1<<23)))
		x[i] = float32(s) * (1.0 / (1 << 15)) * f
	}
	return x
}

func f32Bytes(x []float32) (b []byte) {
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func sha(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func kind(name string) tensor.DType {
	if name == "fp4" {
		return tensor.FP4
	}
	return tensor.NF4
}

func quantize(t *testing.T, dev tensor.Device, x []float32, o tensor.QuantOptions) *tensor.Tensor {
	t.Helper()
	q, err := tensor.Quantize(dev, x, tensor.Shape{len(x)}, o)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// Codes, scales and decoded values of two million numbers are bitsandbytes'.
func TestNF4Streams(t *testing.T) {
	t.Logf("tier %s", asm.Tier())
	data, err := os.ReadFile("../testdata/nf4/streams.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Streams []struct {
			Type                              string
			Block, N                          int
			Seed                              uint64
			In, Codes, Absmax, F32, BF16, F16 string
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	dev := tensor.NewCPU(2)
	defer dev.Close()
	n := 0
	for _, g := range golden.Streams {
		if testing.Short() && g.Block != 64 {
			continue
		}
		x := stream(g.Seed, g.N)
		n += g.N
		q := quantize(t, dev, x, tensor.QuantOptions{DType: kind(g.Type), Block: g.Block})
		out := q.F32s()
		half := make([]byte, 2*g.N)
		encoded := func(dt tensor.DType) []byte { dt.Encode(half, out); return half }
		for _, c := range []struct {
			what string
			got  []byte
			want string
		}{
			{"numbers", f32Bytes(x), g.In}, {"codes", q.Raw(), g.Codes}, {"absmax", q.Quant().Absmax.Raw(), g.Absmax},
			{"values", f32Bytes(out), g.F32}, {"values in BF16", slices.Clone(encoded(tensor.BF16)), g.BF16}, {"values in F16", encoded(tensor.F16), g.F16},
		} {
			if got := sha(c.got); got != c.want {
				t.Errorf("%s, blocks of %d: %s: SHA-256 %s, want %s", g.Type, g.Block, c.what, got, c.want)
			}
		}
		q.Release()
	}
	if n < 1e6 && !testing.Short() {
		t.Errorf("%d numbers were compared", n)
	}
}

// decoded returns a golden's tensor.
func decoded(t *testing.T, f *safetensors.File, name string) []float32 {
	t.Helper()
	info, _ := f.Info(name)
	x := make([]float32, tensor.Shape(info.Shape).Elems())
	if err := f.Decode(x, name); err != nil {
		t.Fatal(err)
	}
	return x
}

// Special cases, in full: what is 0, what lies on a threshold or beside it, subnormal,
// the largest, partial blocks, an odd number.
func TestNF4Cases(t *testing.T) {
	f, err := safetensors.Open("../testdata/nf4/cases.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dev := tensor.NewCPU(1)
	defer dev.Close()
	floats := func(name string) []float32 { return decoded(t, f, name) }
	cases := 0
	for _, name := range f.Names() {
		name, ok := strings.CutSuffix(name, ".in")
		if !ok {
			continue
		}
		cases++
		parts := strings.Split(name, ".")
		block, err := strconv.Atoi(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		x := floats(name + ".in")
		q := quantize(t, dev, x, tensor.QuantOptions{DType: kind(parts[0]), Block: block})
		codes, want := q.Raw(), f.Bytes(name+".codes")
		for i := range x {
			shift := 4 - i%2*4
			if got, want := codes[i/2]>>shift&15, want[i/2]>>shift&15; got != want {
				t.Errorf("%s: element %d, %v, has code %d, want %d", name, i, x[i], got, want)
			}
		}
		if !slices.Equal(codes, want) {
			t.Errorf("%s: codes %x, want %x", name, codes, want)
		}
		if got, want := q.Quant().Absmax.Raw(), f.Bytes(name+".absmax"); !slices.Equal(got, want) {
			t.Errorf("%s: absmax %x, want %x", name, got, want)
		}
		if got, want := f32Bytes(q.F32s()), f.Bytes(name+".out"); !slices.Equal(got, want) {
			t.Errorf("%s: decoded %x, want %x", name, got, want)
		}
		q.Release()
	}
	if cases < 50 {
		t.Errorf("%d cases", cases)
	}
}

// Double quantisation: what bitsandbytes wrote is decoded to its bits; what is written
// here has the nearest codes, which are not always bitsandbytes'.
func TestNF4Double(t *testing.T) {
	f, err := safetensors.Open("../testdata/nf4/double.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dev := tensor.NewCPU(2)
	defer dev.Close()
	floats := func(name string) []float32 { return decoded(t, f, name) }
	for _, key := range []string{"nf4.64", "fp4.128", "nf4.32"} {
		typ, b, _ := strings.Cut(key, ".")
		block, _ := strconv.Atoi(b)
		const n = 131072 + 65
		meta := f.Metadata()[key]
		want := meta[strings.LastIndex(meta, " ")+1:]
		x := stream(uint64(100+block), n)
		o := tensor.QuantOptions{DType: kind(typ), Block: block}
		single := quantize(t, dev, x, o)
		o.Double = true
		ours := quantize(t, dev, x, o)
		table := floats(key + ".map")
		codes := f.Bytes(key + ".absmax")
		nested := floats(key + ".nested")
		q, err := tensor.NewQuant(dev, o.DType, tensor.Shape{n}, single.Raw(), tensor.Quant{
			Block: block, Table: single.Quant().Table, Map: (*[256]float32)(table), Offset: floats(key + ".offset")[0],
			Absmax: tensor.FromBytes(dev, tensor.U8, codes, len(codes)), Nested: tensor.FromF32(dev, nested, len(nested)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := sha(f32Bytes(q.F32s())); got != want {
			t.Errorf("%s: bitsandbytes' tensor is decoded to SHA-256 %s, want %s", key, got, want)
		}

		// Ours: the map, the nested scales and the offset within rounding; each code is the nearest.
		o2 := ours.Quant()
		if !slices.Equal(o2.Map[:], table) {
			t.Errorf("%s: the map is not bitsandbytes'", key)
		}
		if d := math.Abs(float64(o2.Offset - floats(key + ".offset")[0])); d > 1e-6*float64(o2.Offset) {
			t.Errorf("%s: offset %v, bitsandbytes' %v", key, o2.Offset, floats(key + ".offset")[0])
		}
		absmax := single.Quant().Absmax.F32s()
		scales, unlike := o2.Nested.F32s(), 0
		for i, code := range o2.Absmax.Raw() {
			v, s := float64(absmax[i]-o2.Offset), float64(scales[i/256])
			d := math.Abs(v - s*float64(o2.Map[code]))
			for _, m := range o2.Map {
				if math.Abs(v-s*float64(m)) < d {
					t.Fatalf("%s: scale %d, %v of %v, has code %d (%v), nearer is %v", key, i, v, s, code, o2.Map[code], m)
				}
			}
			if code != codes[i] {
				unlike++
			}
		}
		t.Logf("%s: %d of %d nested codes (%.2f %%) are unlike bitsandbytes'", key, unlike, len(codes), 100*float64(unlike)/float64(len(codes)))
		if unlike > len(codes)/20 {
			t.Errorf("%s: %d of %d nested codes are unlike bitsandbytes'", key, unlike, len(codes))
		}
		for _, x := range []*tensor.Tensor{single, ours, q} {
			x.Release()
		}
	}
}

// Of a normal distribution the mean errors are the published ones.
func TestNF4Error(t *testing.T) {
	dev := tensor.NewCPU(2)
	defer dev.Close()
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, 1<<20)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	errors := func(o tensor.QuantOptions) (mean, rel, rms float64) {
		q := quantize(t, dev, x, o)
		defer q.Release()
		for i, v := range q.F32s() {
			d := math.Abs(float64(x[i]) - float64(v))
			mean, rel, rms = mean+d, rel+d/(math.Abs(float64(x[i]))+1e-8), rms+d*d
		}
		n := float64(len(x))
		return mean / n, rel / n, math.Sqrt(rms / n)
	}
	for _, c := range []struct {
		o         tensor.QuantOptions
		mean, rel float64
	}{
		{tensor.QuantOptions{DType: tensor.NF4, Block: 64}, 0.0728, 0.2033},
		{tensor.QuantOptions{DType: tensor.NF4, Block: 64, Double: true}, 0.0728, 0.2033},
		{tensor.QuantOptions{DType: tensor.FP4, Block: 64}, 0.0965, 0.260},
	} {
		mean, rel, rms := errors(c.o)
		search := c.o
		search.SearchAbsmax = true
		_, _, less := errors(search)
		t.Logf("%+v: mean error %.5f, relative %.4f, RMS %.5f; with scales chosen by error %.5f (%.2f %% less)", c.o, mean, rel, rms, less, 100*(1-less/rms))
		if math.Abs(mean-c.mean) > 0.0005 || math.Abs(rel-c.rel) > 0.003 {
			t.Errorf("%+v: mean error %.5f, relative %.4f, want %.4f and %.4f", c.o, mean, rel, c.mean, c.rel)
		}
		if less >= rms {
			t.Errorf("%+v: RMS error %.5f with scales chosen by error, %.5f without", c.o, less, rms)
		}
	}
}

// Q8_0 is llama.cpp's, bit for bit.
func TestQuantizeQ8_0(t *testing.T) {
	data, err := os.ReadFile("../testdata/nf4/streams.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Q8_0 struct {
			Seed   uint64
			N      int
			SHA256 string
		} `json:"q8_0"`
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	x := stream(golden.Q8_0.Seed, golden.Q8_0.N)
	for i := range 32 {
		x[32+i] *= 1e4
		x[64+i] *= 1e-6
		x[96+i] = 0
	}
	dev := tensor.NewCPU(2)
	defer dev.Close()
	q, err := tensor.Quantize(dev, x, tensor.Shape{len(x) / 64, 64}, tensor.QuantOptions{DType: tensor.Q8_0})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Release()
	if got := sha(q.Raw()); got != golden.Q8_0.SHA256 {
		t.Errorf("SHA-256 %s, want %s", got, golden.Q8_0.SHA256)
	}
	x[500] = 1e8 // its scale is Inf in F16
	for _, bad := range []struct {
		x     []float32
		shape tensor.Shape
	}{{x, tensor.Shape{len(x)}}, {x[:100], tensor.Shape{100}}, {[]float32{0}, nil}} {
		if _, err := tensor.Quantize(dev, bad.x, bad.shape, tensor.QuantOptions{DType: tensor.Q8_0}); err == nil {
			t.Errorf("shape %v is taken", bad.shape)
		}
	}
}

func TestQuantizeRefuses(t *testing.T) {
	dev := tensor.NewCPU(1)
	defer dev.Close()
	x := make([]float32, 128)
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		for _, at := range []int{0, 63, 64, 127} {
			y := slices.Clone(x)
			y[at] = bad
			for _, o := range []tensor.QuantOptions{{DType: tensor.NF4, Block: 64}, {DType: tensor.FP4, Block: 32, Double: true, SearchAbsmax: true}} {
				if _, err := tensor.Quantize(dev, y, tensor.Shape{len(y)}, o); err == nil {
					t.Errorf("%v at %d is taken", bad, at)
				}
			}
		}
	}
	for _, o := range []tensor.QuantOptions{{DType: tensor.NF4}, {DType: tensor.NF4, Block: 16}, {DType: tensor.NF4, Block: 96}, {DType: tensor.NF4, Block: 8192}, {DType: tensor.Q4_0, Block: 64}} {
		if _, err := tensor.Quantize(dev, x, tensor.Shape{len(x)}, o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	if _, used, _ := dev.MemoryStats(); used != 0 {
		t.Errorf("%d bytes are still in use", used)
	}
}
