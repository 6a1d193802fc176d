package nn

import (
	"fmt"
	"iter"
	"reflect"
	"strconv"

	"github.com/tenon-ml/tenon/autograd"
)

// A model is a struct. The fields that hold its parts carry the names that the
// checkpoint has for them:
//
//	Q    Layer           `nn:"q_proj"`      // a slot: it can be replaced
//	Norm *RMSNorm        `nn:"q_norm"`      // walked, not replaced
//	W    *autograd.Value `nn:"weight"`      // a parameter
//	L    []*Block        `nn:"model.layers"` // "model.layers.0", "model.layers.1", …
//	Base Layer           `nn:"."`           // what a wrapper wraps: it has the wrapper's name
//
// This file is all the reflection there is.

// Slot is a place of a model that holds a Layer or an Embedder and can hold
// another.
type Slot struct {
	Path  string // dotted, as in the checkpoint: "model.layers.0.self_attn.q_proj"
	field reflect.Value
}

// Layer returns the layer that the slot holds, nil if it holds an Embedder.
func (s Slot) Layer() Layer {
	l, _ := s.field.Interface().(Layer)
	return l
}

// Embedder returns the Embedder that the slot holds, nil if it holds a layer.
func (s Slot) Embedder() Embedder {
	e, _ := s.field.Interface().(Embedder)
	return e
}

// Set puts a Layer, or an Embedder, into the slot.
func (s Slot) Set(l any) { s.field.Set(reflect.ValueOf(l)) }

// Params yields the parameters of a model with their checkpoint names, in the
// order of the fields. A parameter that occurs twice, such as a tied output
// matrix, is yielded once, under its first name.
func Params(model any) iter.Seq2[string, *autograd.Value] {
	return func(yield func(string, *autograd.Value) bool) {
		seen := map[*autograd.Value]bool{}
		walk("", reflect.ValueOf(model), func(path string, v reflect.Value) bool {
			p, ok := v.Interface().(*autograd.Value)
			if !ok || p == nil || seen[p] {
				return true
			}
			seen[p] = true
			return yield(path, p)
		})
	}
}

// Slots returns all slots of a model. The list is finished before the caller
// replaces anything, so that a wrapper is not itself wrapped. What a wrapper
// wraps is no slot; the slots inside it are.
func Slots(model any) []Slot {
	var slots []Slot
	last := ""
	walk("", reflect.ValueOf(model), func(path string, v reflect.Value) bool {
		if isSlot(v) && !v.IsNil() && path != last {
			slots = append(slots, Slot{path, v})
			last = path
		}
		return true
	})
	return slots
}

var (
	layerType    = reflect.TypeFor[Layer]()
	embedderType = reflect.TypeFor[Embedder]()
	valueType    = reflect.TypeFor[*autograd.Value]()
)

func isSlot(v reflect.Value) bool { return v.Type() == layerType || v.Type() == embedderType }

// walk calls f for each slot and each parameter below v, until f returns false.
func walk(path string, v reflect.Value, f func(path string, v reflect.Value) bool) bool {
	switch {
	case v.Type() == valueType:
		return f(path, v)
	case v.Kind() == reflect.Interface:
		if v.IsNil() {
			return true
		}
		if isSlot(v) && !f(path, v) {
			return false
		}
		return walk(path, v.Elem(), f)
	case v.Kind() == reflect.Pointer:
		return v.IsNil() || walk(path, v.Elem(), f)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			if !walk(join(path, strconv.Itoa(i)), v.Index(i), f) {
				return false
			}
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			tag, ok := v.Type().Field(i).Tag.Lookup("nn")
			if !ok {
				continue
			}
			if !v.Type().Field(i).IsExported() {
				panic(fmt.Sprintf("nn: field %s of %v has a name but is not exported", v.Type().Field(i).Name, v.Type()))
			}
			if !walk(join(path, tag), v.Field(i), f) {
				return false
			}
		}
	}
	return true
}

func join(path, name string) string {
	switch {
	case name == ".":
		return path
	case path == "":
		return name
	}
	return path + "." + name
}
