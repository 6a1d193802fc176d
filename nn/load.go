package nn

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/tensor"
)

// Source is a set of named tensors, such as a checkpoint's files.
type Source interface {
	// Names returns the names of all tensors.
	Names() []string
	// Shape returns a tensor's shape.
	Shape(name string) (shape []int, ok bool)
	// Decode writes a tensor's elements to dst as F32.
	Decode(dst []float32, name string) error
	// PathOf returns the file that a tensor is in, or where it was looked for, for
	// messages.
	PathOf(name string) string
}

// Stored is a Source that can also give tensors as they are stored.
type Stored interface {
	Source
	// Stored returns a tensor of the type in which it is stored, owned by the caller,
	// or nil if it is to be decoded.
	Stored(dev tensor.Device, name string) (*tensor.Tensor, error)
}

// Load fills a model's parameters from a source. The matrices of linear layers and
// embeddings stay as a Stored source has them, which is no other computation: they
// are decoded where they are used. All else becomes F32. Missing, unexpected and
// misshapen tensors are reported together, in one error. With an error nothing is
// loaded. ignore tells of tensors that the source may have in addition.
func Load(model any, src Source, dev tensor.Device, ignore func(name string) bool) error {
	if err := Check(model, src, ignore); err != nil {
		return err
	}
	stored, _ := src.(Stored)
	matrix := matrices(model)
	for name, p := range Params(model) {
		var t *tensor.Tensor
		var err error
		if stored != nil && matrix[p] {
			t, err = stored.Stored(dev, name)
		}
		if t == nil && err == nil {
			t, err = tensor.Make(dev, p.Shape(), func(dst []float32) error { return src.Decode(dst, name) })
		}
		if err != nil {
			Release(model)
			return err
		}
		p.T = t
	}
	return nil
}

// Check reports what Load would about a source's names and shapes.
func Check(model any, src Source, ignore func(name string) bool) error {
	var problems []string
	path := ""
	bad := func(name, format string, a ...any) {
		if path == "" {
			path = src.PathOf(name)
		}
		problems = append(problems, fmt.Sprintf("tensor %q "+format, append([]any{name}, a...)...))
	}
	want := map[string]bool{}
	for name, p := range Params(model) {
		want[name] = true
		shape, ok := src.Shape(name)
		switch {
		case !ok:
			bad(name, "is missing")
		case !slices.Equal(shape, p.Shape()):
			bad(name, "has shape %v, want %v", tensor.Shape(shape), p.Shape())
		}
	}
	for _, name := range src.Names() {
		if !want[name] && !ignore(name) {
			bad(name, "is unexpected")
		}
	}
	if problems != nil {
		return fmt.Errorf("%s: %w", path, Problems(problems))
	}
	return nil
}

// matrices returns the parameters that may be of any type which can be decoded: those
// that are only multiplied by, or whose rows are looked up.
func matrices(model any) map[*autograd.Value]bool {
	out := map[*autograd.Value]bool{}
	for _, s := range Slots(model) {
		if l, ok := s.Layer().(*Linear); ok {
			out[l.Weight] = true
		} else if e, ok := s.Embedder().(*Embedding); ok {
			out[e.Weight] = true
		}
	}
	return out
}

// Problems joins what is wrong with a file into one error of one line.
func Problems(list []string) error { return errors.New(strings.Join(list, "; ")) }

// Release releases all of a model's parameters.
func Release(model any) {
	for _, p := range Params(model) {
		if p.T != nil && !p.T.IsMeta() {
			p.T.Release()
			p.T = tensor.Meta(p.T.DType(), p.Shape()...)
		}
	}
}
