package mutate

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Templates are chat templates that loop, recur, grow, read files or reach for
// what is not theirs.
var Templates = []string{
	"{% for i in range(1000000000) %}x{% endfor %}",
	"{% for i in range(4000) %}{% for j in range(4000) %}{% for k in range(4000) %}{% endfor %}{% endfor %}{% endfor %}",
	"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
	"{% macro f(n) %}{{ f(n+1) }}{{ f(n+1) }}{% endmacro %}{{ f(0) }}",
	"{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
	"{{ 'a' * 1000000000 }}",
	"{{ 'a' * 9223372036854775807 }}",
	"{{ ['a'] * 1000000000 }}",
	"{{ 'aaaaaaaaaa' * 100000 * 100000 }}",
	"{% set x = 'a' * 1000000 %}{% for i in range(4000) %}{{ x }}{% endfor %}",
	"{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
	"{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
	"{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}",
	"{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x|replace('a','aa') %}{% endfor %}{{ ns.x }}",
	"{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x]|join %}{% endfor %}{{ ns.x }}",
	"{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
	"{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
	"{% set l = [] %}{% set _ = l.append(l) %}{{ l }}",
	"{% set l = [] %}{% set _ = l.append(l) %}{{ l|tojson }}",
	"{% set d = {} %}{% set _ = d.update({'a': d}) %}{{ d }}",
	"{{ 2 ** 1000000000 }}",
	"{{ 9 ** 9 ** 9 ** 9 }}",
	"{{ 1 / 0 }}", "{{ 1 // 0 }}", "{{ 1 % 0 }}", "{{ -9223372036854775808 // -1 }}", "{{ 9223372036854775807 + 1 }}",
	"{{ '%1000000000d' | format(1) }}", "{{ '%1000000000s' % 'x' }}", "{{ '{:>1000000000}'.format('x') }}",
	"{{ 'x' | center(1000000000) }}", "{{ 'x'.center(1000000000) }}", "{{ 'x'.ljust(1000000000) }}", "{{ 'x'.zfill(1000000000) }}", "{{ 'x' | indent(1000000000) }}",
	"{{ 'a\\na\\na' | indent(100000000) }}", "{{ 'x' | wordwrap(0) }}", "{{ 'x y' | wordwrap(-1) }}", "{{ 'x' | truncate(-5) }}",
	"{{ [1] | batch(0) }}", "{{ [1] | batch(-1) | list }}", "{{ [1] | batch(1000000000) | list }}", "{{ [1] | slice(0) | list }}", "{{ [1] | slice(1000000000) | list }}", "{{ [1,2]|batch(9223372036854775807, 'x')|list }}",
	"{{ lipsum(n=1000000) }}", "{{ lipsum(100000, false, 100000, 100001) }}", "{{ 'x' | filesizeformat }}", "{{ 1.5|round(1000000000) }}", "{{ 'aaa'|urlize(-1) }}",
	"{% include '/etc/passwd' %}", "{% include 'config.json' %}", "{% import '/etc/passwd' as x %}", "{% from '/etc/passwd' import x %}", "{% extends '/etc/passwd' %}", "{% include '/template' %}", "{% extends '/template' %}", "{% block a %}{{ self.a() }}{% endblock %}",
	"{{ messages.__class__.__mro__ }}", "{{ ''.__class__.__base__.__subclasses__() }}", "{{ cycler.__init__.__globals__.os.popen('id').read() }}", "{{ self.__init__.__globals__ }}", "{{ request.application }}",
	"{{ fileset('/etc/*') }}", "{{ file('/etc/passwd') }}", "{{ open('/etc/passwd').read() }}", "{{ '/etc/passwd' | file }}", "{{ 'x' | fileset }}", "{{ env('HOME') }}", "{{ 'HOME' | env }}", "{{ exec('id') }}",
	strings.Repeat("{% if true %}", 20000), strings.Repeat("{% for i in [1] %}", 20000) + strings.Repeat("{% endfor %}", 20000), strings.Repeat("{% if true %}", 3000) + strings.Repeat("{% endif %}", 3000),
	"{{ " + strings.Repeat("(", 20000), "{{ " + strings.Repeat("not ", 50000) + "x }}", "{{ " + strings.Repeat("-", 100000) + "1 }}", "{{ 1" + strings.Repeat("+1", 100000) + " }}", "{{ 'a'" + strings.Repeat("~'a'", 50000) + " }}", "{{ a" + strings.Repeat(".a", 100000) + " }}", "{{ a" + strings.Repeat("|trim", 50000) + " }}", "{{ a" + strings.Repeat("[0]", 100000) + " }}", "{{ x" + strings.Repeat(" if x else x", 30000) + " }}", "{{ 1" + strings.Repeat(" ** 1", 30000) + " }}", "{{ 1" + strings.Repeat(" == 1", 30000) + " }}", "{{ 1" + strings.Repeat(" and 1", 30000) + " }}", "{% if x %}" + strings.Repeat("{% elif x %}", 30000) + "{% endif %}",
	"{{", "{%", "{#", "{{ }}", "{% %}", "{% endfor %}", "{% for %}", "{% for i %}{% endfor %}", "{% set %}", "{% set x %}", "{% macro %}{% endmacro %}", "{% if %}{% endif %}", "{% raw %}", "{{ 'a }}", "{{ \"\\", "{{ a.b.c.d }}", "{{ a() }}", "{{ a[::0] }}", "{{ 'abc'[5:1] }}", "{{ 'abc'[-100:100] }}", "{{ 'abc'[::-1] }}", "{{ [1,2,3][9223372036854775807] }}", "{{ [1,2,3][-9223372036854775808] }}", "{{ messages[-1][-1][-1] }}", "{{ messages[100] }}", "{{ messages.x.y }}", "{{ none.x }}", "{{ {}['a']['b'] }}",
	"{% for a, b, c in messages %}{% endfor %}", "{% for a in 5 %}{% endfor %}", "{% for a in none %}{% endfor %}", "{% for k in messages recursive %}{{ loop(messages) }}{% endfor %}", "{% for x in messages %}{{ loop.cycle() }}{% endfor %}", "{% set x.y.z = 1 %}", "{% set messages[0] = 1 %}", "{% set a, b = 1 %}", "{% call f() %}{% endcall %}", "{% filter nope %}x{% endfilter %}", "{{ x is nope }}", "{{ x | nope }}", "{% nope %}", "{% break %}", "{% continue %}", "{% generation %}", "{% generation %}{% generation %}a{% endgeneration %}{% endgeneration %}",
	"{% macro f(a=f()) %}{% endmacro %}{{ f() }}", "{% with %}{% endwith %}", "{% do messages.append(messages) %}{{ messages }}", "{% do messages.append(messages) %}{{ messages | tojson }}", "{{ messages | map('nope') | list }}", "{{ messages | sort(attribute='nope') }}", "{{ messages | sum }}", "{{ messages | groupby('role') }}", "{{ messages | selectattr('role', 'nope') | list }}", "{{ [3,'a',none] | sort }}", "{{ [1,'a'] | max }}", "{{ [] | first }}", "{{ [] | random }}", "{{ 'x' | int(base=1) }}", "{{ 'x' | int(base=100) }}", "{{ 'abc' | batch('x') }}", "{{ {'a':1} | dictsort(by='nope') }}", "{{ 'x' | attr('y') }}", "{{ raise_exception() }}", "{{ raise_exception('a\\nb') }}", "{{ strftime_now('%' * 100000) }}", "{{ strftime_now('%Q%') }}", "{{ namespace(namespace) }}", "{{ joiner()() }}", "{{ cycler()() }}", "{{ dict(dict) }}", "{{ range(0, 10, 0) }}", "{{ range('a') }}", "{{ range(-9223372036854775808, 9223372036854775807, 9223372036854775807) }}",
	"\xff\xfe{{ 1 }}", "{{ '\xff' }}", "\x00", "{{ '\\ud800' }}", "{{ '\\x' }}", "{{ '\\u12' }}", "{{ 1e999 }}", "{{ 0x10 }}", "{{ 99999999999999999999999 }}", "{{ 1__0 }}",
}

// Template yields n hostile chat templates: Templates, and good with parts left
// out, repeated and exchanged.
func Template(seed uint64, n int, good string) iter.Seq[Mutant] {
	r := newRand(seed, "template")
	var list []Mutant
	for _, t := range Templates {
		list = append(list, Mutant{fmt.Sprintf("%.80q", t), []byte(t)})
	}
	parts := strings.FieldsFunc(good, func(c rune) bool { return c == ' ' || c == '\n' })
	words := []string{"{%", "%}", "{{", "}}", "{%-", "-%}", "for", "endfor", "if", "endif", "set", "messages", "loop", "[", "]", "(", ")", "|", "'", "\"", "~", "not", "in", "is", "range(4000)", "namespace()", "{", "}", ",", ".", "macro", "endmacro", "0", "-1", "%", "**"}
	return seq(list, n, func() Mutant {
		p := slices.Clone(parts)
		for range 1 + r.IntN(5) {
			i := r.IntN(len(p))
			switch r.IntN(4) {
			case 0:
				p = slices.Delete(p, i, i+1)
			case 1:
				p = slices.Insert(p, i, words[r.IntN(len(words))])
			case 2:
				p[i] = words[r.IntN(len(words))]
			default:
				j := r.IntN(len(p))
				p[i], p[j] = p[j], p[i]
			}
			if len(p) == 0 {
				break
			}
		}
		return Mutant{"words changed", []byte(strings.Join(p, " "))}
	})
}
