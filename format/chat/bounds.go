package chat

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// What expressions of one rendering may work on: a value, and all of them.
const (
	maxValue = 1 << 24 // bytes
	maxWork  = 1 << 27
	maxDepth = 1000 // of the syntax tree
)

// The engine evaluates what is written, however much memory that takes. So after
// parsing, the operands of its operators, the elements of its lists and mappings,
// and what it takes items of are given filters that return their input unchanged,
// but not if there is too much of it. These are their names, which no template can
// write.
const (
	boundFilter = " bound" // counts the value as work
	aliveFilter = " alive" // looks at the clock
	timesFilter = " times" // multiplies
	enterFilter = " enter" // begins something that may be inside itself
	leaveFilter = " leave" // ends it, and counts the value as work
)

// bound puts the filters into a parsed template.
func (t *Template) bound() error {
	root := reflect.ValueOf(t.template).Elem().FieldByName("root")
	if !root.IsValid() {
		return errors.New("the engine keeps its syntax tree elsewhere")
	}
	type item struct {
		v     reflect.Value
		depth int
	}
	seen := map[uintptr]bool{}
	list := []item{{root, 0}}
	for len(list) > 0 {
		it := list[len(list)-1]
		list = list[:len(list)-1]
		v := it.v
		push := func(v reflect.Value) { list = append(list, item{v, it.depth}) }
		switch v.Kind() {
		case reflect.Interface:
			if !v.IsNil() {
				push(v.Elem())
			}
		case reflect.Pointer:
			if v.IsNil() || seen[v.Pointer()] || v.Type().Elem().PkgPath() == tokensPackage {
				continue
			}
			seen[v.Pointer()] = true
			if it.depth++; it.depth > maxDepth {
				return fmt.Errorf("nests expressions and tags more than %d deep", maxDepth)
			}
			push(v.Elem())
			// Reflection reads fields that are not exported and does not hand them
			// out; what they point to may be changed all the same.
			p := v.UnsafePointer()
			switch v.Type() {
			case reflect.TypeFor[*nodes.BinaryExpression]():
				boundOperator((*nodes.BinaryExpression)(p))
			case reflect.TypeFor[*nodes.List]():
				wrapAll((*nodes.List)(p).Val)
			case reflect.TypeFor[*nodes.Tuple]():
				wrapAll((*nodes.Tuple)(p).Val)
			case reflect.TypeFor[*nodes.Pair]():
				n := (*nodes.Pair)(p)
				// A macro's default may call the macro: how deep, is counted.
				at := n.Value.Position()
				n.Value = &nodes.BinaryExpression{
					Left:     filtered(&nodes.Bool{Location: at, Val: true}, enterFilter),
					Operator: and(at),
					Right:    filtered(n.Value, leaveFilter),
				}
			case reflect.TypeFor[*nodes.GetItem]():
				n := (*nodes.GetItem)(p)
				if x, ok := n.Node.(nodes.Expression); ok {
					n.Node = filtered(x, aliveFilter)
				}
			case reflect.TypeFor[*nodes.GetSlice]():
				n := (*nodes.GetSlice)(p)
				if x, ok := n.Node.(nodes.Expression); ok {
					n.Node = filtered(x, boundFilter)
				}
			}
		case reflect.Struct:
			for i := range v.NumField() {
				push(v.Field(i))
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				push(v.Index(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				push(v.MapIndex(k))
			}
		}
	}
	return nil
}

var tokensPackage = reflect.TypeFor[tokens.Token]().PkgPath()

func filtered(x nodes.Expression, filter string, args ...nodes.Expression) nodes.Expression {
	return &nodes.FilteredExpression{Expression: x, Filters: []*nodes.FilterCall{{Token: x.Position(), Name: filter, Args: args}}}
}

func wrapAll(list []nodes.Expression) {
	for i, x := range list {
		list[i] = filtered(x, boundFilter)
	}
}

func and(at *tokens.Token) *nodes.BinOperator {
	return &nodes.BinOperator{Token: &tokens.Token{Type: tokens.And, Val: "and", Pos: at.Pos, Line: at.Line, Col: at.Col}}
}

func boundOperator(n *nodes.BinaryExpression) {
	switch n.Operator.Token.Type {
	case tokens.And, tokens.Or:
	case tokens.Multiply, tokens.Modulo:
		// true and (left | times(right)), which is the product.
		at := n.Operator.Token
		n.Right = filtered(n.Left, timesFilter, n.Right, &nodes.String{Location: at, Val: at.Val})
		n.Left = &nodes.Bool{Location: at, Val: true}
		n.Operator = and(at)
	default:
		n.Left, n.Right = filtered(n.Left, boundFilter), filtered(n.Right, boundFilter)
	}
}

// work counts bytes that an expression is about to go through or to make.
func (s *state) work(n int) error {
	switch {
	case s.err != nil:
	case time.Now().After(s.deadline):
		s.err = fmt.Errorf("runs longer than %v", maxTime)
	case n > maxValue:
		s.err = fmt.Errorf("makes a value of more than %d bytes", maxValue)
	case s.worked+n > maxWork:
		s.err = fmt.Errorf("makes values of more than %d bytes together", maxWork)
	default:
		s.worked += n
	}
	return s.err
}

// weight is about how many bytes a value takes when it is written, more than
// maxValue if it takes more.
func weight(v *exec.Value) int {
	n := 0
	if v != nil {
		weigh(v.Val, &n, 0)
	}
	return n
}

// weigh adds up the bytes of a value, whose lists may hold one another.
func weigh(v reflect.Value, n *int, depth int) {
	const deepest = 500
	if *n += 8; *n > maxValue {
		return
	}
	if depth > deepest {
		*n = maxValue + 1
		return
	}
	switch v.Kind() {
	case reflect.String:
		*n += v.Len()
	case reflect.Interface, reflect.Pointer:
		if !v.IsNil() && v.Type() != stateType {
			weigh(v.Elem(), n, depth+1)
		}
	case reflect.Slice, reflect.Array:
		if k := v.Type().Elem().Kind(); k <= reflect.Complex128 {
			*n += 8 * v.Len()
			return
		}
		for i := 0; i < v.Len() && *n <= maxValue; i++ {
			weigh(v.Index(i), n, depth+1)
		}
	case reflect.Map:
		for i := v.MapRange(); *n <= maxValue && i.Next(); {
			weigh(i.Key(), n, depth+1)
			weigh(i.Value(), n, depth+1)
		}
	case reflect.Struct:
		switch v.Type() {
		case valueType: // a value in a list
			weigh(v.FieldByName("Val"), n, depth+1)
		case reflectType:
			if v.CanInterface() {
				weigh(v.Interface().(reflect.Value), n, depth+1)
			}
		case dictType:
			weigh(v.FieldByName("Pairs"), n, depth+1)
		case pairType:
			weigh(v.FieldByName("Key"), n, depth+1)
			weigh(v.FieldByName("Value"), n, depth+1)
		}
	}
}

var (
	valueType   = reflect.TypeFor[exec.Value]()
	reflectType = reflect.TypeFor[reflect.Value]()
	dictType    = reflect.TypeFor[exec.Dict]()
	pairType    = reflect.TypeFor[exec.Pair]()
	stateType   = reflect.TypeFor[*state]()
)

// boundedFilters are the engine's filters, which count what they work on, and
// those that bound puts in.
func boundedFilters(own map[string]exec.FilterFunction) *exec.FilterSet {
	all := map[string]exec.FilterFunction{}
	for _, name := range filterNames {
		f, ok := own[name]
		if !ok {
			f, ok = builtins.Filters.Get(name)
		}
		if ok {
			all[name] = boundedFilter(name, f)
		}
	}
	all[boundFilter] = func(e *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
		return counted(e, in, weight(in))
	}
	all[aliveFilter] = func(e *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
		return counted(e, in, 0)
	}
	all[enterFilter] = func(e *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
		s, err := stateOf(e.Environment)
		if err == nil {
			if s.depth++; s.depth > maxNesting && s.err == nil {
				s.err = fmt.Errorf("nests loops and macros more than %d deep", maxNesting)
			}
			err = s.err
		}
		if err != nil {
			return exec.AsValue(err)
		}
		return in
	}
	all[leaveFilter] = func(e *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
		if s, err := stateOf(e.Environment); err == nil {
			s.depth--
		}
		return counted(e, in, weight(in))
	}
	all[timesFilter] = times
	return exec.NewFilterSet(all)
}

// filterNames are the filters that templates may use.
var filterNames = []string{
	"abs", "attr", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape", "filesizeformat", "first", "float", "forceescape",
	"format", "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "pprint", "random", "reject",
	"rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "slice", "sort", "string", "striptags", "sum", "title", "tojson",
	"trim", "truncate", "unique", "upper", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr",
}

// counted returns a value unless n more bytes of work are too many.
func counted(e *exec.Evaluator, v *exec.Value, n int) *exec.Value {
	s, err := stateOf(e.Environment)
	if err == nil {
		err = s.work(n)
	}
	if err != nil {
		return exec.AsValue(err)
	}
	return v
}

// times is left * right, or left % right by Go's rules, as the engine has it.
func times(e *exec.Evaluator, left *exec.Value, args *exec.VarArgs) *exec.Value {
	if left.IsError() {
		return left
	}
	right, op := args.Args[0], args.Args[1].String()
	switch {
	case op == "%" && right.Integer() == 0:
		return exec.AsValue(errors.New("division by zero"))
	case op == "%":
		return exec.AsValue(left.Integer() % right.Integer())
	case left.IsFloat() || right.IsFloat():
		return exec.AsValue(left.Float() * right.Float())
	case left.IsString():
		s, n := left.String(), max(0, right.Integer())
		size := maxValue + 1
		if len(s) == 0 || n <= maxValue/len(s) {
			size = len(s) * n
		}
		if v := counted(e, nil, size); v != nil {
			return v
		}
		return exec.AsValue(strings.Repeat(s, n))
	}
	return exec.AsValue(left.Integer() * right.Integer())
}

// growth bounds what a filter or a method of strings makes out of its input and
// its arguments.
func growth(name string, in *exec.Value, args *exec.VarArgs) int {
	n := weight(in)
	given := slices.Concat(args.Args, slices.Collect(maps.Values(args.KwArgs)))
	number, text := 1, 0
	for _, a := range given {
		n += weight(a)
		if a.IsString() {
			text = max(text, len(a.String()))
		}
		if a.IsInteger() {
			number = max(number, a.Integer(), -a.Integer())
		}
	}
	times := func(a, b int) {
		if a > 0 && b > maxValue/a {
			n = maxValue + 1
		} else {
			n += a * b
		}
	}
	switch name {
	case "replace": // at most once for each character, and at the end
		s := in.String()
		if old := firstText(args); old != "" {
			times(strings.Count(s, old), text)
		} else {
			times(len(s)+1, text)
		}
	case "join":
		times(in.Len(), text)
		for _, a := range given {
			if a.IsIterable() && !a.IsString() {
				times(a.Len(), len(in.String()))
			}
		}
	case "indent", "tojson", "pprint", "expandtabs":
		times(weight(in), number)
	case "center", "ljust", "rjust", "zfill", "batch", "slice", "round", "wordwrap", "truncate", "urlize":
		times(8, number)
	case "format", "format_map":
		s := in.String()
		times(strings.Count(s, "%")+strings.Count(s, "{"), max(number, largest(s)))
	}
	return n
}

// largest returns the largest number that is written in a text, up to maxValue.
func largest(s string) int {
	most, n := 0, 0
	for i := range len(s) {
		if c := s[i]; c >= '0' && c <= '9' {
			n = min(10*n+int(c-'0'), maxValue)
			most = max(most, n)
		} else {
			n = 0
		}
	}
	return most
}

func firstText(args *exec.VarArgs) string {
	if len(args.Args) > 0 {
		return args.Args[0].String()
	}
	if v, ok := args.KwArgs["old"]; ok {
		return v.String()
	}
	return ""
}

func boundedFilter(name string, f exec.FilterFunction) exec.FilterFunction {
	return func(e *exec.Evaluator, in *exec.Value, args *exec.VarArgs) *exec.Value {
		if in.IsError() {
			return f(e, in, args)
		}
		if v := counted(e, nil, growth(name, in, args)); v != nil {
			return v
		}
		return f(e, in, args)
	}
}

// boundedMethod is a method of strings that refuses to make too much. A rendering's
// work is counted where its result is used.
func boundedMethod(name string, m exec.Method[string]) exec.Method[string] {
	return func(self string, value *exec.Value, args *exec.VarArgs) (any, error) {
		if growth(name, exec.AsValue(self), args) > maxValue {
			return nil, exec.ErrInvalidCall(fmt.Errorf("%s makes a value of more than %d bytes", name, maxValue))
		}
		return m(self, value, args)
	}
}

// pureMethods leaves out the methods that change lists and mappings: transformers
// forbids them too (ImmutableSandboxedEnvironment), and a list that holds itself
// has no end.
func pureMethods[I any](from *exec.MethodSet[I], names ...string) *exec.MethodSet[I] {
	own := map[string]exec.Method[I]{}
	for _, name := range names {
		if m, ok := from.Get(name); ok {
			own[name] = m
		}
	}
	return exec.NewMethodSet(own)
}
