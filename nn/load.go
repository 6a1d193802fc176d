package nn

import (
	"errors"
	"fmt"
	"slices"
	"strings"

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
	// PathOf returns the file that a tensor is in, for messages.
	PathOf(name string) string
}

// Load fills a model's parameters from a source. Missing, unexpected and
// misshapen tensors are reported together, in one error, and then nothing has
// been loaded. ignore tells of tensors that the source may have in addition.
func Load(model any, src Source, dev tensor.Device, ignore func(name string) bool) error {
	var problems []string
	want := map[string]bool{}
	for name, p := range Params(model) {
		want[name] = true
		shape, ok := src.Shape(name)
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("tensor %q is missing", name))
		case !slices.Equal(shape, p.Shape()):
			problems = append(problems, fmt.Sprintf("tensor %q has shape %v, want %v", name, tensor.Shape(shape), p.Shape()))
		}
	}
	names := src.Names()
	for _, name := range names {
		if !want[name] && !ignore(name) {
			problems = append(problems, fmt.Sprintf("tensor %q is unexpected", name))
		}
	}
	if problems != nil {
		path := ""
		if len(names) > 0 {
			path = src.PathOf(names[0])
		}
		return fmt.Errorf("%s: %w", path, Problems(problems))
	}
	for name, p := range Params(model) {
		t, err := tensor.Make(dev, p.Shape(), func(dst []float32) error { return src.Decode(dst, name) })
		if err != nil {
			return err
		}
		p.T = t
	}
	return nil
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
