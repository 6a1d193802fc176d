// Package bnb reads and writes quantised weights as bitsandbytes and transformers
// store them in safetensors checkpoints: 4-bit (NF4, FP4), with and without double
// quantisation, and LLM.int8, which is read alone.
//
// A 4-bit weight P of shape [N, K] is these tensors:
//
//	P                                   U8 [⌈N·K/2⌉, 1] codes; F16, BF16 or F32 of as many bytes
//	P.absmax                            F32 [blocks] scales, or their U8 codes
//	P.quant_map                         F32 [16] values of the codes
//	P.nested_absmax, P.nested_quant_map F32 [⌈blocks/256⌉] and [256], with double quantisation
//	P.quant_state.bitsandbytes__nf4     U8: JSON, see state; or …__fp4
//
// and an LLM.int8 weight P.weight is
//
//	P.weight I8 [N, K], P.SCB F32 [N], P.weight_format U8 []
//	value = weight · SCB · (1/127), each product rounded to F32
package bnb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/tensor"
)

// state is the JSON of a 4-bit weight's quant_state.
type state struct {
	QuantType       string   `json:"quant_type"`
	BlockSize       int      `json:"blocksize"`
	DType           string   `json:"dtype"`
	Shape           []int    `json:"shape"`
	NestedBlockSize int      `json:"nested_blocksize,omitempty"`
	NestedDType     string   `json:"nested_dtype,omitempty"`
	NestedOffset    *float64 `json:"nested_offset,omitempty"`
}

// statePrefix comes before the type in the name of a quant_state.
const statePrefix = ".quant_state.bitsandbytes__"

// maxState bounds the length of a quant_state's JSON.
const maxState = 1 << 16

// types are the 4-bit types by the name that bitsandbytes has for them.
var types = map[string]tensor.DType{"nf4": tensor.NF4, "fp4": tensor.FP4}

// Weights are the quantised weights of a checkpoint.
type Weights struct {
	file    *safetensors.File
	weights map[string]weight
	parts   map[string]bool // tensors that belong to a weight
}

// weight is a quantised weight: 4-bit if dt is a 4-bit type, else LLM.int8.
type weight struct {
	dt     tensor.DType
	shape  []int
	block  int
	nested bool
	offset float32
}

// Find returns the quantised weights of a checkpoint, whose descriptions it
// checks; there may be none. Their data is checked when they are loaded.
func Find(f *safetensors.File) (*Weights, error) {
	w := &Weights{file: f, weights: map[string]weight{}, parts: map[string]bool{}}
	for name := range f.All() {
		var err error
		if base, kind, ok := strings.Cut(name, statePrefix); ok {
			err = w.fourBit(base, kind, name)
		} else if base, ok := strings.CutSuffix(name, ".SCB"); ok {
			err = w.int8(base)
		}
		if err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Len returns the number of quantised weights.
func (w *Weights) Len() int { return len(w.weights) }

// Type returns what the 4-bit weights are, nf4 or fp4, and whether their scales are
// quantised too; "" without such weights. Of a checkpoint with several it is the type of
// one.
func (w *Weights) Type() (kind string, block int, double bool) {
	for _, name := range slices.Sorted(maps.Keys(w.weights)) {
		if q := w.weights[name]; q.dt.Quantized() {
			return typeName(q.dt), q.block, q.nested
		}
	}
	return "", 0, false
}

// Has reports whether a tensor is a quantised weight.
func (w *Weights) Has(name string) bool { _, ok := w.weights[name]; return ok }

// Stored returns the type of a quantised weight (NF4, FP4 or I8) and the bytes of all its
// tensors.
func (w *Weights) Stored(name string) (dt tensor.DType, size int) {
	info, _ := w.file.Info(name)
	size = info.Bytes
	module := strings.TrimSuffix(name, "weight") // of LLM.int8
	for part := range w.parts {
		if strings.HasPrefix(part, name+".") || part == module+"SCB" || part == module+"weight_format" {
			info, _ := w.file.Info(part)
			size += info.Bytes
		}
	}
	return w.weights[name].dt, size
}

// Names returns the names of the checkpoint's tensors, sorted, without those that belong to
// a quantised weight.
func (w *Weights) Names() []string {
	return slices.DeleteFunc(w.file.Names(), func(name string) bool { return w.parts[name] })
}

// Shape returns a tensor's shape, a quantised weight's that which it stands for.
func (w *Weights) Shape(name string) (shape []int, ok bool) {
	if q, ok := w.weights[name]; ok {
		return q.shape, true
	}
	return w.file.Shape(name)
}

func (w *Weights) fail(name, format string, a ...any) error {
	path := w.file.PathOf(name)
	if path == "" {
		path = w.file.Path()
	}
	return fmt.Errorf("%s: tensor %q: %w", path, name, fmt.Errorf(format, a...))
}

// part notes that a tensor belongs to a weight and checks it.
func (w *Weights) part(name string, dt tensor.DType, elems int) error {
	info, ok := w.file.Info(name)
	if !ok {
		return w.fail(name, "is missing, want %s of %d elements", dt, elems)
	}
	if info.DType != dt || tensor.Shape(info.Shape).Elems() != elems {
		return w.fail(name, "%s of shape %v, want %s of %d elements", info.DType, tensor.Shape(info.Shape), dt, elems)
	}
	w.parts[name] = true
	return nil
}

// fourBit adds the weight whose quant_state is in the tensor at.
func (w *Weights) fourBit(name, kind, at string) error {
	if w.Has(name) {
		return w.fail(at, "%q has two", name)
	}
	dt, ok := types[kind]
	if !ok {
		return w.fail(at, "4-bit type %q, want nf4 or fp4", kind)
	}
	info, _ := w.file.Info(at)
	if info.DType != tensor.U8 || info.Bytes > maxState {
		return w.fail(at, "%s of %d bytes, want U8 of at most %d", info.DType, info.Bytes, maxState)
	}
	w.parts[at] = true
	var s state
	err := w.file.View(at, func(data []byte) error {
		d := json.NewDecoder(bytes.NewReader(data))
		err := d.Decode(&s)
		if err == nil {
			if _, more := d.Token(); more != io.EOF {
				err = errors.New("more than one JSON value")
			}
		}
		return err
	})
	if err != nil {
		return w.fail(at, "%v, want the JSON of a quant_state", err)
	}
	if s.QuantType != kind {
		return w.fail(at, "quant_type %q, want %q", s.QuantType, kind)
	}
	if b := s.BlockSize; b < 32 || b > 4096 || b&(b-1) != 0 {
		return w.fail(at, "blocksize %d, want a power of two from 32 to 4096", b)
	}
	elems := 1
	for _, d := range s.Shape {
		if d < 1 || int64(d) > 1<<46/int64(elems) {
			return w.fail(at, "shape %v, want positive extents that fit memory", tensor.Shape(s.Shape))
		}
		elems *= d
	}
	codes, ok := w.file.Info(name)
	if !ok {
		return w.fail(at, "there is no tensor %q", name)
	}
	if want := dt.Bytes(elems); len(s.Shape) == 0 || codes.Bytes != want {
		return w.fail(name, "%d bytes of codes, want %d for shape %v", codes.Bytes, want, tensor.Shape(s.Shape))
	}
	q := weight{dt: dt, shape: s.Shape, block: s.BlockSize}
	blocks := (elems + s.BlockSize - 1) / s.BlockSize
	scales := tensor.F32
	if s.NestedOffset != nil || s.NestedBlockSize != 0 || s.NestedDType != "" {
		if s.NestedOffset == nil || s.NestedBlockSize != 256 || s.NestedDType != "float32" {
			return w.fail(at, "nested_blocksize %d, nested_dtype %q, nested_offset present: %v, want 256, float32 and one", s.NestedBlockSize, s.NestedDType, s.NestedOffset != nil)
		}
		q.nested, q.offset, scales = true, float32(*s.NestedOffset), tensor.U8
		if math.IsInf(float64(q.offset), 0) {
			return w.fail(at, "nested_offset %g, want a number of F32", *s.NestedOffset)
		}
		err = firstOf(w.part(name+".nested_absmax", tensor.F32, (blocks+255)/256), w.part(name+".nested_quant_map", tensor.F32, 256))
	}
	if err := firstOf(err, w.part(name+".absmax", scales, blocks), w.part(name+".quant_map", tensor.F32, 16)); err != nil {
		return err
	}
	w.weights[name] = q
	return nil
}

// firstOf returns the first error: messages are of one line.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// int8 adds the LLM.int8 weight of the module base.
func (w *Weights) int8(base string) error {
	name := base + ".weight"
	info, ok := w.file.Info(name)
	if !ok {
		return w.fail(base+".SCB", "there is no tensor %q", name)
	}
	if info.DType != tensor.I8 || len(info.Shape) != 2 {
		return w.fail(name, "%s of shape %v, want an I8 matrix beside its SCB", info.DType, tensor.Shape(info.Shape))
	}
	if err := w.part(base+".SCB", tensor.F32, info.Shape[0]); err != nil {
		return err
	}
	// Files of old versions have no weight_format; 0 is the order of rows.
	if format := base + ".weight_format"; w.has(format) {
		if err := w.part(format, tensor.U8, 1); err != nil {
			return err
		}
		err := w.file.View(format, func(data []byte) error {
			if data[0] != 0 {
				return w.fail(format, "%d, want 0, rows in order", data[0])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	w.weights[name] = weight{dt: tensor.I8, shape: info.Shape}
	return nil
}

func (w *Weights) has(name string) bool { _, ok := w.file.Info(name); return ok }

// floats reads an F32 tensor of finite numbers.
func (w *Weights) floats(name string) ([]float32, error) {
	info, _ := w.file.Info(name)
	x := make([]float32, tensor.Shape(info.Shape).Elems())
	if err := w.file.Decode(x, name); err != nil {
		return nil, err
	}
	if !tensor.Finite(x) {
		return nil, w.fail(name, "holds NaN or Inf")
	}
	return x, nil
}

// Load returns a 4-bit weight as it is stored, owned by the caller, and nil for other
// tensors.
func (w *Weights) Load(dev tensor.Device, name string) (*tensor.Tensor, error) {
	q, ok := w.weights[name]
	if !ok || !q.dt.Quantized() {
		return nil, nil
	}
	defer w.file.Release(name)
	table, err := w.floats(name + ".quant_map")
	if err != nil {
		return nil, err
	}
	quant := tensor.Quant{Block: q.block, Table: [16]float32(table), Offset: q.offset}
	var scales, nested []float32
	if q.nested {
		var values []float32
		nested, err = w.floats(name + ".nested_absmax")
		if err == nil {
			values, err = w.floats(name + ".nested_quant_map")
		}
		if err != nil {
			return nil, err
		}
		quant.Map = (*[256]float32)(values)
	} else if scales, err = w.floats(name + ".absmax"); err != nil {
		return nil, err
	}
	var t *tensor.Tensor
	err = tensor.Try(func() (err error) {
		if q.nested {
			err = w.file.View(name+".absmax", func(data []byte) error {
				quant.Absmax = tensor.FromBytes(dev, tensor.U8, data, len(data))
				return nil
			})
			if err != nil {
				return err
			}
			quant.Nested = tensor.FromF32(dev, nested, len(nested))
		} else {
			quant.Absmax = tensor.FromF32(dev, scales, len(scales))
		}
		return w.file.View(name, func(data []byte) (err error) {
			t, err = tensor.NewQuant(dev, q.dt, q.shape, data, quant)
			return err
		})
	})
	if err != nil {
		for _, t := range []*tensor.Tensor{quant.Absmax, quant.Nested} {
			if t != nil {
				t.Release()
			}
		}
		return nil, err
	}
	return t, nil
}

// Decode writes a quantised weight's values to dst as F32.
func (w *Weights) Decode(dst []float32, name string) error {
	q, ok := w.weights[name]
	if !ok {
		return w.fail(name, "is no quantised weight")
	}
	if want := tensor.Shape(q.shape).Elems(); len(dst) != want {
		return w.fail(name, "shape %v, want %d elements", tensor.Shape(q.shape), len(dst))
	}
	if q.dt.Quantized() {
		dev := tensor.NewCPU(1)
		t, err := w.Load(dev, name)
		if err == nil {
			t.CopyTo(dst)
			t.Release()
		}
		return firstOf(err, dev.Close())
	}
	defer w.file.Release(name)
	scales, err := w.floats(strings.TrimSuffix(name, "weight") + "SCB")
	if err != nil {
		return err
	}
	return w.file.View(name, func(data []byte) error {
		cols := q.shape[1]
		for i, scale := range scales {
			row := dst[i*cols:][:cols]
			for j, v := range data[i*cols:][:cols] {
				row[j] = float32(float32(int8(v))*scale) * 7.874015718698502e-3 // 1/127, as the library has it
			}
		}
		return nil
	})
}
