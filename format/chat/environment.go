package chat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// state is what one rendering has used up. Templates reach it through a
// variable whose name is no identifier.
type state struct {
	out      output
	spans    [][2]int
	ticks    int
	depth    int
	worked   int // bytes
	deadline time.Time
	refused  *string // by raise_exception
	err      error   // a bound that was passed
}

const stateKey = " state"

func stateOf(e *exec.Environment) (*state, error) {
	v, _ := e.Context.Get(stateKey)
	s, ok := v.(*state)
	if !ok {
		return nil, errors.New("the template hides its own state")
	}
	return s, nil
}

// output collects the rendering, up to maxOutput bytes.
type output struct{ strings.Builder }

func (o *output) Write(b []byte) (int, error) { return o.WriteString(string(b)) }
func (o *output) WriteString(s string) (int, error) {
	if o.Len()+len(s) > maxOutput {
		return 0, fmt.Errorf("writes more than %d bytes", maxOutput)
	}
	return o.Builder.WriteString(s)
}

// environment is Jinja as transformers configures it: the functions and tags
// that chat templates have, and nothing that reads files.
func (t *Template) environment() *exec.Environment {
	globals := exec.EmptyContext().Update(builtins.GlobalVariables).Update(builtins.GlobalFunctions)
	globals.Set("range", rangeList)
	globals.Set("lipsum", nil) // makes as much text as one asks for
	globals.Set("raise_exception", raiseException)
	globals.Set("strftime_now", func(e *exec.Evaluator, args *exec.VarArgs) *exec.Value {
		if len(args.Args) != 1 {
			return exec.AsValue(errors.New("strftime_now: want one argument"))
		}
		return exec.AsValue(strftime(t.now(), args.Args[0].String()))
	})
	filters := boundedFilters(map[string]exec.FilterFunction{"tojson": toJSON, "trim": trim})
	methods := builtins.Methods
	methods.Str = strMethods()
	methods.List = pureMethods(methods.List, "copy", "count", "index")
	methods.Dict = pureMethods(methods.Dict, "keys", "values", "items", "get", "copy")
	tags := map[string]parser.ControlStructureParser{"generation": t.parseGeneration}
	for _, name := range []string{"if", "set", "raw", "with", "do", "filter", "call", "break", "continue"} {
		tags[name], _ = builtins.ControlStructures.Get(name)
	}
	tags["for"] = guarded("for")
	tags["macro"] = guarded("macro")
	return &exec.Environment{
		Context:           globals,
		Filters:           filters,
		Tests:             builtins.Tests,
		ControlStructures: exec.NewControlStructureSet(tags),
		Methods:           methods,
	}
}

// raiseException stops the rendering with a message.
func raiseException(e *exec.Evaluator, args *exec.VarArgs) *exec.Value {
	message := ""
	if len(args.Args) > 0 {
		message = args.Args[0].String()
	}
	if s, err := stateOf(e.Environment); err == nil {
		s.refused = &message
	}
	return exec.AsValue(errors.New(message))
}

// rangeList is Python's range, up to maxRange numbers, as a list: the engine's
// own leaves a goroutine behind when a loop over it is left early.
func rangeList(e *exec.Evaluator, args *exec.VarArgs) *exec.Value {
	bounds := [3]int{0, 0, 1}
	n := len(args.Args)
	for i, a := range args.Args {
		if !a.IsInteger() || n > 3 {
			return exec.AsValue(errors.New("range: want one to three integers"))
		}
		bounds[i] = a.Integer()
	}
	start, stop, step := bounds[0], bounds[1], bounds[2]
	switch {
	case n == 0:
		return exec.AsValue(errors.New("range: want one to three integers"))
	case n == 1:
		start, stop = 0, start
	case step == 0:
		return exec.AsValue(errors.New("range: the step is 0"))
	}
	list := []int{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(list) == maxRange {
			return exec.AsValue(fmt.Errorf("range: more than %d numbers", maxRange))
		}
		list = append(list, i)
	}
	return exec.AsValue(list)
}

// guarded is the engine's tag with a guard around the body that it repeats.
func guarded(name string) parser.ControlStructureParser {
	parse, _ := builtins.ControlStructures.Get(name)
	return func(p, args *parser.Parser) (nodes.ControlStructure, error) {
		c, err := parse(p, args)
		if err != nil {
			return nil, err
		}
		switch c := c.(type) {
		case *controlStructures.ForControlStructure:
			guardBody(c.BodyWrapper)
		case *controlStructures.MacroControlStructure:
			guardBody(c.Wrapper)
		default:
			return nil, fmt.Errorf("tag %q: no body to guard in a %T", name, c)
		}
		return c, nil
	}
}

// guardBody makes everything in a body one node that counts its executions.
func guardBody(w *nodes.Wrapper) {
	inner := *w
	g := &guard{body: &inner}
	w.Nodes = []nodes.Node{&nodes.ControlStructureBlock{Location: w.Location, Name: "guard", ControlStructure: g}}
}

// guard executes a body unless the rendering has gone on for too long.
type guard struct{ body *nodes.Wrapper }

func (g *guard) Position() *tokens.Token { return g.body.Position() }
func (g *guard) String() string          { return "body" }

// Execute implements exec.ControlStructure.
func (g *guard) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	s, err := stateOf(r.Environment)
	if err != nil {
		return err
	}
	s.ticks++
	s.depth++
	defer func() { s.depth-- }()
	switch {
	case s.err != nil:
	case s.ticks > maxTicks:
		s.err = fmt.Errorf("goes through more than %d turns of loops and calls of macros", maxTicks)
	case s.depth > maxNesting:
		s.err = fmt.Errorf("nests loops and macros more than %d deep", maxNesting)
	case time.Now().After(s.deadline):
		s.err = fmt.Errorf("runs longer than %v", maxTime)
	}
	if s.err != nil {
		return s.err
	}
	return nodes.Walk(r, g.body)
}

// generation is transformers' {% generation %} block: what the assistant says.
type generation struct{ body *nodes.Wrapper }

func (t *Template) parseGeneration(p, args *parser.Parser) (nodes.ControlStructure, error) {
	if !args.End() {
		return nil, args.Error("generation takes no arguments", args.Current())
	}
	body, end, err := p.WrapUntil("endgeneration")
	if err != nil {
		return nil, err
	}
	if !end.End() {
		return nil, end.Error("endgeneration takes no arguments", end.Current())
	}
	t.marks = true
	return &generation{body}, nil
}

func (g *generation) Position() *tokens.Token { return g.body.Position() }
func (g *generation) String() string          { return "generation" }

// Execute implements exec.ControlStructure.
func (g *generation) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	s, err := stateOf(r.Environment)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	sub := r.Inherit()
	sub.Output = &b
	if err := sub.ExecuteWrapper(g.body); err != nil {
		return err
	}
	start := s.out.Len()
	s.spans = append(s.spans, [2]int{start, start + b.Len()})
	_, err = io.WriteString(r.Output, b.String())
	return err
}
