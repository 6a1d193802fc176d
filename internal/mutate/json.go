package mutate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
)

// A value is a JSON value as a tree of texts, which need not be JSON.
type value struct {
	text    string // of what is neither an object nor an array
	open    byte   // '{' or '[', 0 otherwise
	keys    []string
	members []*value
}

// parseJSON returns the tree of a good document, its keys in their order.
func parseJSON(doc []byte) *value {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	v, err := readValue(d)
	if err != nil {
		panic(fmt.Sprintf("mutate: %v", err)) // the test's own document is no JSON
	}
	return v
}

func readValue(d *json.Decoder) (*value, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		text, err := json.Marshal(t)
		return &value{text: string(text)}, err
	}
	v := &value{open: byte(delim)}
	for d.More() {
		if v.open == '{' {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			text, err := json.Marshal(key)
			if err != nil {
				return nil, err
			}
			v.keys = append(v.keys, string(text))
		}
		m, err := readValue(d)
		if err != nil {
			return nil, err
		}
		v.members = append(v.members, m)
	}
	_, err = d.Token()
	return v, err
}

func (v *value) clone() *value {
	c := *v
	c.keys, c.members = slices.Clone(v.keys), make([]*value, len(v.members))
	for i, m := range v.members {
		c.members[i] = m.clone()
	}
	return &c
}

func (v *value) write(b *bytes.Buffer) {
	if v.open == 0 {
		b.WriteString(v.text)
		return
	}
	b.WriteByte(v.open)
	for i, m := range v.members {
		if i > 0 {
			b.WriteByte(',')
		}
		if v.open == '{' {
			b.WriteString(v.keys[i] + ":")
		}
		m.write(b)
	}
	b.WriteByte(v.open + 2) // the closing one
}

func (v *value) bytes() []byte {
	var b bytes.Buffer
	v.write(&b)
	return b.Bytes()
}

// A place is a member of an object or an array.
type place struct {
	in   *value
	at   int
	path string
}

// maxPlaces is how many members of an array, or of an object of more than maxKeys
// (a vocabulary), are looked at: the first and the last ones.
const maxPlaces, maxKeys = 6, 100

func (v *value) places(path string, out []place) []place {
	for i, m := range v.members {
		if i >= maxPlaces && i < len(v.members)-maxPlaces && (v.open == '[' || len(v.members) > maxKeys) {
			continue
		}
		p := fmt.Sprintf("%s[%d]", path, i)
		if v.open == '{' {
			p = path + "." + short(v.keys[i])
		}
		out = append(out, place{v, i, p})
		out = m.places(p, out)
	}
	return out
}

func short(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

// hostile are the texts that take the place of a value.
var hostile = []string{
	`null`, `true`, `false`, `0`, `-0`, `1`, `-1`, `2`, `3`, `7`, `1.5`, `-1e308`, `1e308`, `1e999`, `1e-320`, `0.1`, `1e400`, `10000000000000000000000`,
	`65536`, `65537`, `2147483647`, `2147483648`, `-2147483648`, `-2147483649`, `4294967296`, `4611686018427387904`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775808`, `18446744073709551615`, `18446744073709551616`,
	`NaN`, `Infinity`, `-Infinity`, `0x10`, `01`, `1_000`, `'a'`, `undefined`, ``,
	`""`, `" "`, `"NaN"`, `"0"`, `"null"`, `"a.b"`, `"\ud800"`, `"\udc00x"`, `"\u0000"`, "\"\xff\xfe\"", `"\n\r\u001b[31m\u202e"`, `"..\/..\/etc\/passwd"`, `"/etc/passwd"`, `"*"`, `"(((("`, `"(a|a)*$"`, `"[^.]*.*.*.*.*.*.*.*"`, `"\\"`, `"all-linear"`,
	`[]`, `[[]]`, `[null]`, `[-1]`, `[0,0]`, `["a","a"]`, `[1e9]`, `{}`, `{"":{}}`, `{"a":null}`, `{"type":null}`, `{"type":"x"}`,
	strings.Repeat("[", 300) + strings.Repeat("]", 300),
	strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000),
	strings.Repeat("[", 1<<17),
	strings.Repeat(`{"type":"Sequence","normalizers":[`, 2000) + strings.Repeat("]}", 2000),
	`"` + strings.Repeat("a", 1<<18) + `"`,
	`"` + strings.Repeat("(", 5000) + `"`,
	`"` + strings.Repeat(`\u0000`, 1<<14) + `"`,
	`[` + strings.Repeat("0,", 1<<16) + `0]`,
	strings.Repeat("9", 1<<16),
}

// change changes one place of a tree and says what it did. It returns nil if the
// change does not apply.
func change(r *rand.Rand, root *value, tokens []string) string {
	all := root.places("", nil)
	if len(all) == 0 {
		root.open, root.text = 0, tokens[r.IntN(len(tokens))]
		return "the whole is " + short(root.text)
	}
	p := all[r.IntN(len(all))]
	v := p.in.members[p.at]
	switch r.IntN(10) {
	case 0:
		p.in.members = slices.Delete(p.in.members, p.at, p.at+1)
		if p.in.keys != nil {
			p.in.keys = slices.Delete(p.in.keys, p.at, p.at+1)
		}
		return p.path + " left out"
	case 1:
		other := all[r.IntN(len(all))]
		p.in.members = append(p.in.members, other.in.members[other.at].clone())
		if p.in.keys != nil {
			p.in.keys = append(p.in.keys, p.in.keys[p.at])
		}
		return fmt.Sprintf("%s again, as %s", p.path, other.path)
	case 2:
		if p.in.keys == nil {
			break
		}
		keys := []string{`""`, strings.ToUpper(p.in.keys[p.at]), `"\u0000"`, "\"\xff\"", `"` + strings.Repeat("k", 1<<17) + `"`, `"__metadata__"`, `"../x"`, "1", ""}
		p.in.keys[p.at] = keys[r.IntN(len(keys))]
		return fmt.Sprintf("%s is called %s", p.path, short(p.in.keys[p.at]))
	case 3:
		other := all[r.IntN(len(all))]
		p.in.members[p.at] = other.in.members[other.at].clone()
		return fmt.Sprintf("%s is %s", p.path, other.path)
	case 4:
		if v.open == 0 {
			break
		}
		for range 5 { // a tree grows in itself
			c := v.clone()
			v.members = append(v.members, c)
			if v.open == '{' {
				v.keys = append(v.keys, `"type"`)
			}
			if len(v.members) > 1000 {
				break
			}
		}
		return p.path + " contains itself"
	case 5:
		if v.open == 0 {
			v.text = map[bool]string{true: "-" + v.text, false: v.text + v.text}[r.IntN(2) == 0]
			return fmt.Sprintf("%s is %s", p.path, short(v.text))
		}
		r.Shuffle(len(v.members), func(i, j int) { v.members[i], v.members[j] = v.members[j], v.members[i] })
		return p.path + " shuffled"
	}
	text := tokens[r.IntN(len(tokens))]
	p.in.members[p.at] = &value{text: text}
	return fmt.Sprintf("%s is %s", p.path, short(text))
}

// JSON yields n mutants of a JSON document: other encodings; each member replaced
// by what is of another type, too large, negative, nested or no JSON; members left
// out, given twice, renamed and exchanged; and several of these at once. Extra
// are texts beside the usual ones that take the place of values.
func JSON(seed uint64, n int, doc []byte, extra ...string) iter.Seq[Mutant] {
	r := newRand(seed, "json")
	tokens := slices.Concat(extra, hostile)
	good := parseJSON(doc)
	list := encodings(doc)
	// Each member with some of the texts, all of the extra ones.
	places := good.places("", nil)
	each := r.Perm(len(places) * len(tokens))
	for _, k := range each[:min(len(each), max(0, n*2/3-len(list)))] {
		p, text := places[k/len(tokens)], tokens[k%len(tokens)]
		was := p.in.members[p.at]
		p.in.members[p.at] = &value{text: text}
		list = append(list, Mutant{fmt.Sprintf("%s is %s", p.path, short(text)), good.bytes()})
		p.in.members[p.at] = was
	}
	return seq(list, n, func() Mutant {
		if r.IntN(6) == 0 {
			return bytesOf(r, doc)
		}
		c := good.clone()
		var about []string
		for range 1 + r.IntN(3) {
			about = append(about, change(r, c, tokens))
		}
		return Mutant{strings.Join(about, "; "), c.bytes()}
	})
}

// Lines yields n mutants of a file of one JSON document a line.
func Lines(seed uint64, n int, file []byte) iter.Seq[Mutant] {
	r := newRand(seed, "lines")
	lines := bytes.Split(bytes.TrimSpace(file), []byte("\n"))
	list := encodings(file)
	return seq(list, n, func() Mutant {
		if r.IntN(6) == 0 {
			return bytesOf(r, file)
		}
		all := slices.Clone(lines)
		i := r.IntN(len(all))
		c := parseJSON(all[i])
		about := change(r, c, hostile)
		all[i] = c.bytes()
		return Mutant{fmt.Sprintf("line %d: %s", i+1, about), bytes.Join(all, []byte("\n"))}
	})
}
