package tensor

import (
	"fmt"
	"slices"
	"strings"
)

// Shape is the extent of each axis, outermost first; the last axis is
// contiguous in memory.
type Shape []int

// Elems returns the number of elements, 1 for a scalar (no axes).
func (s Shape) Elems() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// fits reports whether the number of elements is one that memory can have.
func (s Shape) fits() bool {
	n := 1
	for _, d := range s {
		if d < 0 || d > 0 && int64(n) > 1<<46/int64(d) {
			return false
		}
		n *= d
	}
	return true
}

// Equal reports whether both shapes are the same.
func (s Shape) Equal(t Shape) bool { return slices.Equal(s, t) }

func (s Shape) String() string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = fmt.Sprint(d)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// strides returns the distance in elements between neighbours on each axis.
func (s Shape) strides() []int {
	st := make([]int, len(s))
	n := 1
	for i := len(s) - 1; i >= 0; i-- {
		st[i] = n
		n *= s[i]
	}
	return st
}

// ShapeError is the panic value of an operation whose operands do not fit
// together: a mistake in model code, not in data.
type ShapeError struct {
	Op     string
	Shapes []Shape
	Want   string
}

func (e *ShapeError) Error() string {
	parts := make([]string, len(e.Shapes))
	for i, s := range e.Shapes {
		parts[i] = s.String()
	}
	return fmt.Sprintf("tensor: %s of %s: want %s", e.Op, strings.Join(parts, " and "), e.Want)
}

// Bad panics with a ShapeError about the given tensors.
func Bad(op, want string, ts ...*Tensor) {
	e := &ShapeError{Op: op, Want: want}
	for _, t := range ts {
		if t != nil {
			e.Shapes = append(e.Shapes, t.Shape())
		}
	}
	panic(e)
}

// broadcast returns the shape to which x and y are broadcast by numpy's rule:
// axes are matched from the last one, an axis of extent 1 (or a missing one)
// is repeated.
func broadcast(op string, x, y *Tensor) Shape {
	a, b := x.shape, y.shape
	if len(a) < len(b) {
		a, b = b, a
	}
	out := a // a copy only where it changes
	for i := range b {
		j := len(a) - len(b) + i
		switch {
		case b[i] == a[j]:
		case a[j] == 1:
			if &out[0] == &a[0] {
				out = slices.Clone(a)
			}
			out[j] = b[i]
		case b[i] != 1:
			Bad(op, "shapes that broadcast", x, y)
		}
	}
	return out
}
