package train

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/internal/golden"
	"github.com/tenon-ml/tenon/tensor"
)

// parameters returns some of these sizes, with values of deviation 0.1.
func parameters(t *testing.T, dev tensor.Device, sizes ...int) []Param {
	t.Helper()
	var all []Param
	for i, n := range sizes {
		x := tensor.New(dev, tensor.F32, n)
		tensor.NewRandom(1, string(rune('a'+i))).Normal(x.F32(), 0, 0.1)
		all = append(all, Param{Name: string(rune('a' + i)), Value: autograd.Param(x)})
	}
	return all
}

// gradients returns those of a step.
func gradients(dev tensor.Device, params []Param, step uint64) autograd.Grads {
	grads := autograd.Grads{}
	for _, p := range params {
		g := tensor.New(dev, tensor.F32, p.Value.Shape()...)
		tensor.NewRandom(step, "g "+p.Name).Normal(g.F32(), 0, 0.01)
		grads[p.Value] = g
	}
	return grads
}

// Moments in 8 bits beside those in F32, over 50 steps: within the bounds of
// bitsandbytes' own test, which gives F32 the other's parameters and moments after each
// step; and with each going its own way, which it does not test.
func TestAdamW8bit(t *testing.T) {
	for _, together := range []bool{true, false} {
		dev := tensor.NewCPU(2)
		defer dev.Close()
		const n, steps = 1<<15 + 77, 50
		params, exact, start := parameters(t, dev, n), parameters(t, dev, n), parameters(t, dev, n)
		o, err := NewAdamW8bit(params, 0.01)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Release()
		f := NewAdamW(exact, 0.01)
		defer f.Release()
		p, q := params[0].Value.T.F32(), exact[0].Value.T.F32()
		m8, m32 := o.moments[0].(*moments8), f.moments[0].(*momentsF32)
		var sum, relative, moved float64
		for step := range steps {
			for _, opt := range []*AdamW{o, f} {
				g := gradients(dev, opt.params, uint64(step))
				opt.Step(g, 1e-3)
				g.Release()
			}
			sum, relative, moved = 0, 0, 0
			for i, x := range p {
				d := math.Abs(float64(x - q[i]))
				sum += d / n
				relative += d / (math.Abs(float64(q[i])) + 1e-9) / n
				moved += math.Abs(float64(q[i]-start[0].Value.T.F32()[i])) / n
			}
			if together && (sum >= 6e-5 || relative >= 6e-4) {
				t.Errorf("step %d: parameters differ by %g in the mean, %g relative", step, sum, relative)
			}
			for _, s := range []struct {
				name  string
				eight tensor.Moment8
				exact *tensor.Tensor
			}{{"m", m8.m, m32.m}, {"v", m8.v, m32.v}} {
				far, values := 0, s.eight.F32s()
				for i, x := range values {
					if math.Abs(float64(x-s.exact.F32()[i])) > 3e-3 {
						far++
					}
				}
				if far >= 20 {
					t.Fatalf("step %d: %d elements of %s are more than 3e-3 away", step, far, s.name)
				}
				if together {
					copy(s.exact.F32(), values)
				}
			}
			if together {
				copy(q, p)
			}
		}
		t.Logf("together %v: after %d steps parameters differ by %.2g in the mean, having moved by %.2g", together, steps, sum, moved)
		if sum > moved/40 { // a code is a few percent wide
			t.Errorf("parameters that moved by %g differ by %g", moved, sum)
		}
	}
}

// optimizers makes each kind for parameters.
func optimizers(t *testing.T, kind string, params []Param, limit int64) *AdamW {
	t.Helper()
	o, err := NewAdamW(params, 0.1), error(nil)
	switch kind {
	case "adamw8bit":
		o.Release()
		o, err = NewAdamW8bit(params, 0.1)
	case "paged":
		o.Release()
		o, err = NewPagedAdamW(params, 0.1, t.TempDir(), limit)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func raw(params []Param) []byte {
	var all []byte
	for _, p := range params {
		all = append(all, p.Value.T.Raw()...)
	}
	return all
}

// Paged moments give what unpaged ones do, bit for bit, in a quarter of the memory; and
// what each kind computes does not depend on threads, nor on having been saved and
// loaded in between, paged or not.
func TestOptimizerKinds(t *testing.T) {
	sizes := []int{100_000, 5, 40_000, 4096, 4095}
	const steps = 6
	total := 0
	for _, n := range sizes {
		total += 8 * n
	}
	limit := int64(total / 4)
	run := func(kind string, threads, saveAt int, then string) []byte {
		dev := tensor.NewCPU(threads)
		params := parameters(t, dev, sizes...)
		o := optimizers(t, kind, params, limit)
		for step := range steps {
			if step == saveAt {
				path := filepath.Join(t.TempDir(), "o.safetensors")
				if err := o.Save(path); err != nil {
					t.Fatal(err)
				}
				o.Release()
				o = optimizers(t, then, params, limit)
				if err := o.Load(path); err != nil {
					t.Fatal(err)
				}
				if o.Steps() != step {
					t.Fatalf("step %d, want %d", o.Steps(), step)
				}
			}
			g := gradients(dev, params, uint64(step))
			if step == 3 {
				g[params[1].Value].Release()
				delete(g, params[1].Value)
			}
			o.Step(g, 1e-3)
			g.Release()
		}
		if o.file != nil {
			if most := o.file.Most(); most > limit || most == 0 {
				t.Errorf("%d bytes of moments were in memory at once, the limit is %d", most, limit)
			}
		}
		out := raw(params)
		o.Release()
		for _, p := range params {
			p.Value.T.Release()
		}
		if _, used, _ := dev.MemoryStats(); used != 0 {
			t.Errorf("%s: %d bytes are left in use", kind, used)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
		return out
	}
	plain := run("adamw", 1, -1, "")
	eight := run("adamw8bit", 1, -1, "")
	if bytes.Equal(plain, eight) {
		t.Error("8 bits change nothing")
	}
	for _, c := range []struct {
		kind    string
		threads int
		saveAt  int
		then    string
		want    []byte
	}{
		{"paged", 1, -1, "", plain}, {"paged", 3, 4, "paged", plain}, {"adamw", 2, 3, "paged", plain}, {"paged", 2, 2, "adamw", plain},
		{"adamw8bit", 3, -1, "", eight}, {"adamw8bit", 2, 4, "adamw8bit", eight},
	} {
		if !bytes.Equal(run(c.kind, c.threads, c.saveAt, c.then), c.want) {
			t.Errorf("%+v: another result", c.kind)
		}
	}
}

// The kernel gives what its definition gives, but for the rounding of the step itself.
func TestAdamW8bitDefinition(t *testing.T) {
	dev := tensor.NewCPU(1)
	defer dev.Close()
	const n = 5000
	params, by := parameters(t, dev, n), parameters(t, dev, n)
	a, err := NewAdamW8bit(params, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewAdamW8bit(by, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	h := tensor.AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1}
	for step := range 5 {
		h.Step = step + 1
		g := gradients(dev, params, uint64(step))
		x, y := a.moments[0].(*moments8), b.moments[0].(*moments8)
		x.step(params[0].Value.T, g[params[0].Value], h)
		adamW8bit(by[0].Value.T, g[params[0].Value], y.m, y.v, h)
		g.Release()
		other := 0
		for i, c := range x.m.Codes.Bytes() {
			if c != y.m.Codes.Bytes()[i] || x.v.Codes.Bytes()[i] != y.v.Codes.Bytes()[i] {
				other++
			}
		}
		if other > n/500 {
			t.Fatalf("step %d: %d of %d elements have other codes", step+1, other, n)
		}
		for i, v := range params[0].Value.T.F32() {
			if math.Abs(float64(v-by[0].Value.T.F32()[i])) > 1e-4 {
				t.Fatalf("step %d: element %d is %g, want %g", step+1, i, v, by[0].Value.T.F32()[i])
			}
		}
	}
}

func TestPagedErrors(t *testing.T) {
	dev := tensor.NewCPU(1)
	defer dev.Close()
	params := parameters(t, dev, 10)
	if _, err := NewPagedAdamW(params, 0, t.TempDir(), LeastPaged-1); err == nil || !strings.Contains(err.Error(), "want at least") {
		t.Error(err)
	}
	if _, err := NewPagedAdamW(params, 0, filepath.Join(t.TempDir(), "none"), 1<<20); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	// The file has no name as soon as it exists.
	dir := t.TempDir()
	o, err := NewPagedAdamW(params, 0, dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Release()
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Error(list, err)
	}
	// Other codes than this optimizer's are no state of it.
	e, err := NewAdamW8bit(parameters(t, dev, 5000), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Release()
	path := filepath.Join(dir, "o.safetensors")
	if err := e.Save(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := e.shared[0]
	var was bytes.Buffer
	if err := values.write(&was); err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, was.Bytes())
	data[at]++
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := e.Load(path); err == nil || !strings.Contains(err.Error(), "qmap1") {
		t.Error(err)
	}
}

// Steps of bitsandbytes' AdamW8bit (testdata/gen/adamw8bit.py), each from its state: the
// parameters are the same, and the codes but where its table misses the nearest.
func TestAdamW8bitGolden(t *testing.T) {
	g := golden.Open(t, "../testdata/optim/adamw8bit.safetensors")
	dev := tensor.NewCPU(1)
	defer dev.Close()
	floats := func(name string) []float32 {
		var x []float32
		for _, v := range g.Floats(name) {
			x = append(x, float32(v))
		}
		return x
	}
	const steps = 3
	for i := range steps {
		at := func(name string, i int) []float32 { return floats(fmt.Sprintf("%s.%d", name, i)) }
		before := at("p", i)
		p := tensor.FromF32(dev, before, len(before))
		grad := tensor.FromF32(dev, at("g", i), len(before))
		m, err := tensor.NewMoment8(dev, p.Shape(), true)
		if err != nil {
			t.Fatal(err)
		}
		v, err := tensor.NewMoment8(dev, p.Shape(), false)
		if err != nil {
			t.Fatal(err)
		}
		// Its moments as they are: where a block's largest has a sign, it is no code of this
		// scale again.
		mf, vf := tensor.FromF32(dev, at("m", i), len(before)), tensor.FromF32(dev, at("v", i), len(before))
		dev.Kernels().AdamW(p, grad, mf, vf, tensor.AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Step: i + 1})
		want := at("p", i+1)
		for j, x := range p.F32() {
			if d := math.Abs(float64(x - want[j])); d > 2e-6*math.Abs(float64(want[j]-before[j]))+2.4e-7*math.Abs(float64(want[j])) { // two roundings
				t.Fatalf("step %d: element %d is %g, want %g", i+1, j, x, want[j])
			}
		}
		m.Set(mf.F32())
		v.Set(vf.F32())
		for k, codes := range [][]byte{m.Codes.Bytes(), v.Codes.Bytes()} {
			other, far := 0, 0
			for j, c := range g.Ints(fmt.Sprintf("codes%d.%d", k+1, i+1)) {
				if d := int(c) - int(codes[j]); d != 0 {
					other++
					if d > 1 || d < -1 {
						far++
					}
				}
			}
			t.Logf("step %d: %.1f %% of the codes of moment %d are unlike bitsandbytes', %.1f %% by more than one", i+1,
				100*float64(other)/float64(len(codes)), k+1, 100*float64(far)/float64(len(codes)))
		}
		for _, x := range []*tensor.Tensor{p, grad, mf, vf} {
			x.Release()
		}
		m.Release()
		v.Release()
	}
}
