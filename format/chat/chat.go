// Package chat renders conversations by the chat template that comes with a
// model, a Jinja template, as the apply_chat_template of transformers does, and
// says which tokens of a rendered conversation are the assistant's.
//
// Templates are untrusted input. They cannot read files: include, import and
// extends are not known here, nor are methods that change lists or mappings, which
// transformers forbids too. Their loops, recursion, running time, output and the
// size of their values are bounded.
//
// Known differences from Jinja2: mappings have their keys in alphabetical order
// (seen by tojson and items), ** always gives a float, and the remainder of a
// negative number is Go's.
package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// Message is one turn of a conversation.
type Message struct {
	Role    string
	Content string
	// Extra has further fields that a template may look at (name, tool_calls,
	// reasoning_content, …), as encoding/json decodes them. A field named role
	// or content takes the place of the one above.
	Extra map[string]any
}

// UnmarshalJSON reads a message object: a role, a content, which is a string
// unless it is null or absent beside other fields, and any others.
func (m *Message) UnmarshalJSON(data []byte) error {
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	role, ok := all["role"].(string)
	if !ok {
		return errors.New(`message: "role" is not a string`)
	}
	*m = Message{Role: role}
	delete(all, "role")
	switch c := all["content"].(type) {
	case string:
		m.Content = c
		delete(all, "content")
	case nil:
		if len(all) == 0 {
			return errors.New(`message: no "content"`)
		}
		all["content"] = nil
	default: // a list of parts, for templates that know them
	}
	if len(all) > 0 {
		m.Extra = all
	}
	return nil
}

// fields is the message as templates see it.
func (m Message) fields() map[string]any {
	f := map[string]any{"role": m.Role, "content": m.Content}
	maps.Copy(f, m.Extra)
	return f
}

// Template is a parsed chat template. It is immutable and safe for concurrent
// use.
type Template struct {
	name     string
	template *exec.Template
	vars     map[string]any // bos_token and the like, where the file names them
	marks    bool           // has {% generation %} blocks
	now      func() time.Time
}

// Bounds on what an untrusted template may do.
const (
	maxSource  = 1 << 18         // bytes of a template
	maxNesting = 200             // brackets in brackets, loops and macros in each other
	maxTicks   = 1 << 17         // turns of loops and calls of macros, of one rendering
	maxRange   = 1 << 12         // numbers in a range
	maxOutput  = 1 << 25         // bytes of a rendering
	maxTime    = 4 * time.Second // of a rendering
)

// Parse parses a template; name is what errors call it, usually the file.
func Parse(source, name string) (t *Template, err error) {
	if len(source) > maxSource {
		return nil, fmt.Errorf("%s: chat template: %d bytes, want at most %d", name, len(source), maxSource)
	}
	if d := nesting(source); d > maxNesting {
		return nil, fmt.Errorf("%s: chat template: brackets nested %d deep, want at most %d", name, d, maxNesting)
	}
	if d := tagNesting(source); d > maxNesting {
		return nil, fmt.Errorf("%s: chat template: tags nested %d deep, want at most %d", name, d, maxNesting)
	}
	defer func() {
		if r := recover(); r != nil {
			t, err = nil, fmt.Errorf("%s: chat template: %w", name, oneLine{fmt.Errorf("%v", r)})
		}
	}()
	c := config.New()
	c.TrimBlocks, c.LeftStripBlocks = true, true
	const root = "/template"
	loader, err := loaders.NewMemoryLoader(map[string]string{root: fixIndices(source)})
	if err != nil {
		return nil, fmt.Errorf("%s: chat template: %w", name, err)
	}
	t = &Template{name: name, now: time.Now}
	t.template, err = exec.NewTemplate(root, c, loader, t.environment())
	if err != nil {
		return nil, fmt.Errorf("%s: chat template: %w", name, lastOf(err))
	}
	if err := t.bound(); err != nil {
		return nil, fmt.Errorf("%s: chat template: %w", name, err)
	}
	return t, nil
}

// nesting returns how deep brackets are nested, counting those in text too.
func nesting(source string) int {
	depth, deepest := 0, 0
	for i := range len(source) {
		switch source[i] {
		case '(', '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ')', ']', '}':
			depth = max(0, depth-1)
		}
	}
	return deepest
}

var blockTag = regexp.MustCompile(`\{%[-+]?\s*(end)?(if|for|macro|call|filter|with|generation)\b`)

// tagNesting returns how deep tags with a body are nested, counting those in text
// too.
func tagNesting(source string) int {
	depth, deepest := 0, 0
	for _, m := range blockTag.FindAllStringSubmatchIndex(source, -1) {
		if m[2] < 0 {
			depth++
			deepest = max(deepest, depth)
		} else {
			depth = max(0, depth-1)
		}
	}
	return deepest
}

// lastOf returns the innermost error: the engine's outer ones quote the whole
// template.
func lastOf(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return oneLine{err}
		}
		err = next
	}
}

// oneLine is an error whose text has no line break.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }

// Render writes messages as the template does. With generationPrompt, the
// header of the assistant's turn follows, for it to be continued. Vars are
// further variables (bos_token, eos_token, tools, …); they take the place of
// those that came with the template's files.
//
// An error of the template's own raise_exception, when it does not take the
// messages as they are, is a *Refusal.
func (t *Template) Render(messages []Message, generationPrompt bool, vars map[string]any) (string, error) {
	r, err := t.render(messages, generationPrompt, vars)
	return r.text, err
}

// Refusal is the message that a template gave to raise_exception.
type Refusal struct {
	Template string // its name
	Message  string
}

func (e *Refusal) Error() string {
	return fmt.Sprintf("%s: the chat template does not accept the messages: %s", e.Template, oneLine{errors.New(e.Message)})
}

// rendering is a rendered conversation with the spans, in bytes, that
// {% generation %} blocks wrote.
type rendering struct {
	text  string
	spans [][2]int
}

func (t *Template) render(messages []Message, generationPrompt bool, vars map[string]any) (r rendering, err error) {
	s := &state{deadline: time.Now().Add(maxTime)}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: chat template: %w", t.name, oneLine{fmt.Errorf("%v", p)})
		}
		if err != nil {
			r = rendering{}
		}
	}()
	list := make([]any, len(messages))
	for i, m := range messages {
		list[i] = m.fields()
	}
	data := map[string]any{}
	maps.Copy(data, t.vars)
	maps.Copy(data, vars)
	data["messages"] = list
	data["add_generation_prompt"] = generationPrompt
	for _, name := range []string{"tools", "documents"} { // defined, if only as none
		if _, ok := data[name]; !ok {
			data[name] = nil
		}
	}
	data[stateKey] = s
	err = t.template.Execute(&s.out, exec.NewContext(data))
	switch {
	case s.refused != nil:
		return r, &Refusal{t.name, *s.refused}
	case s.err != nil:
		return r, fmt.Errorf("%s: chat template: %w", t.name, s.err)
	case err != nil:
		return r, fmt.Errorf("%s: chat template: %w", t.name, lastOf(err))
	}
	return rendering{s.out.String(), s.spans}, nil
}
