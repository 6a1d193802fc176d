package chat

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// toJSON is the tojson filter as transformers has it: Python's json.dumps with
// ensure_ascii false, and the options indent, separators and sort_keys. Keys
// are sorted in any case: Go's maps have no order to keep.
func toJSON(_ *exec.Evaluator, in *exec.Value, args *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	d := dumper{item: ", ", key: ": "}
	for name, v := range args.KwArgs {
		switch name {
		case "ensure_ascii":
			d.ascii = v.IsTrue()
		case "sort_keys":
		case "indent":
			if v.IsNil() {
				continue
			}
			n := v.Integer()
			if !v.IsInteger() || n < 0 || n > 64 {
				return exec.AsValue(errors.New("tojson: indent: want an integer from 0 to 64"))
			}
			d.indent, d.lines = strings.Repeat(" ", n), true
		case "separators":
			if v.IsNil() {
				continue
			}
			if v.Len() != 2 {
				return exec.AsValue(errors.New("tojson: separators: want two strings"))
			}
			d.item, d.key, d.separators = v.Index(0).String(), v.Index(1).String(), true
		default:
			return exec.AsValue(fmt.Errorf("tojson: no option %q", name))
		}
	}
	if d.lines && !d.separators {
		d.item = ","
	}
	if err := d.write(in.ToGoSimpleType(true), 0); err != nil {
		return exec.AsValue(err)
	}
	return exec.AsSafeValue(d.String())
}

// dumper writes JSON as Python's json module does.
type dumper struct {
	strings.Builder
	item, key  string // separators
	separators bool   // were given
	indent     string
	lines      bool // one item a line
	ascii      bool
}

func (d *dumper) write(v any, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("tojson: nested more than %d deep", maxNesting)
	}
	switch v := v.(type) {
	case nil:
		d.WriteString("null")
	case bool:
		d.WriteString(strconv.FormatBool(v))
	case string:
		d.quote(v)
	case int:
		d.WriteString(strconv.Itoa(v))
	case float64:
		d.float(v)
	case []any:
		return d.list("[", "]", len(v), depth, func(i int) error { return d.write(v[i], depth+1) })
	case map[any]any:
		named := make(map[string]any, len(v))
		for k, item := range v {
			name, ok := k.(string)
			if !ok {
				return fmt.Errorf("tojson: the key %v is no string", k)
			}
			named[name] = item
		}
		keys := slices.Sorted(maps.Keys(named))
		return d.list("{", "}", len(keys), depth, func(i int) error {
			d.quote(keys[i])
			d.WriteString(d.key)
			return d.write(named[keys[i]], depth+1)
		})
	case error:
		return v
	default:
		return fmt.Errorf("tojson: a %T is no JSON", v)
	}
	return nil
}

func (d *dumper) list(open, end string, n, depth int, item func(int) error) error {
	d.WriteString(open)
	for i := range n {
		if i > 0 {
			d.WriteString(d.item)
		}
		d.line(depth + 1)
		if err := item(i); err != nil {
			return err
		}
	}
	if n > 0 {
		d.line(depth)
	}
	d.WriteString(end)
	return nil
}

func (d *dumper) line(depth int) {
	if d.lines {
		d.WriteString("\n" + strings.Repeat(d.indent, depth))
	}
}

func (d *dumper) quote(s string) {
	d.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			d.WriteByte('\\')
			d.WriteRune(r)
		case r == '\n':
			d.WriteString(`\n`)
		case r == '\r':
			d.WriteString(`\r`)
		case r == '\t':
			d.WriteString(`\t`)
		case r == '\b':
			d.WriteString(`\b`)
		case r == '\f':
			d.WriteString(`\f`)
		case r < ' ' || d.ascii && r > '~' && r < 0x10000:
			fmt.Fprintf(d, `\u%04x`, r)
		case d.ascii && r > '~':
			fmt.Fprintf(d, `\u%04x\u%04x`, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
		default:
			d.WriteRune(r)
		}
	}
	d.WriteByte('"')
}

// float writes a number as Python's repr does; what encoding/json decoded from
// an integer is written as one.
func (d *dumper) float(f float64) {
	switch {
	case math.IsNaN(f):
		d.WriteString("NaN")
	case math.IsInf(f, 0):
		d.WriteString(strings.Replace(strconv.FormatFloat(f, 'g', -1, 64), "Inf", "Infinity", 1))
	case f == math.Trunc(f) && math.Abs(f) < 1<<53:
		d.WriteString(strconv.FormatFloat(f, 'f', 0, 64))
	case math.Abs(f) >= 1e16 || math.Abs(f) < 1e-4:
		d.WriteString(strconv.FormatFloat(f, 'e', -1, 64))
	default:
		d.WriteString(strconv.FormatFloat(f, 'f', -1, 64))
	}
}

// strftime formats a time by Python's directives that chat templates use.
func strftime(t time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		if layout, ok := directives[format[i]]; ok {
			b.WriteString(t.Format(layout))
			continue
		}
		switch format[i] {
		case '%':
			b.WriteByte('%')
		case 'j':
			fmt.Fprintf(&b, "%03d", t.YearDay())
		default:
			b.WriteString(format[i-1 : i+1])
		}
	}
	return b.String()
}

var directives = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'B': "January", 'b': "Jan", 'd': "02",
	'A': "Monday", 'a': "Mon", 'H': "15", 'I': "03", 'M': "04", 'S': "05",
	'p': "PM", 'Z': "MST", 'z': "-0700", 'F': "2006-01-02", 'T': "15:04:05",
}
