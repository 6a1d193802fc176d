package chat

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/mutate"
)

// Templates that loop, recur, grow, read files or are damaged: each is refused in
// one line that names it, or renders to a bounded text.
func TestHostileTemplates(t *testing.T) {
	const good = `{%- set ns = namespace(a=none) -%} {% for m in messages if m.role != 'x' %} {{ '<|' + m['role'] ~ '|>' }} {% if loop.first and not m.content is none %} {{ m.content | trim | replace('a', 'b') }} {% elif m.content[0:1] == 'x' %} {% set ns.a = [m.content, {'k': loop.index0 * 2}] %} {% endif %} {% endfor %} {{ ns.a | tojson }} {% macro f(x, y=1) %} {{ x | join(', ') }} {% endmacro %} {{ f(['a', 'b']) }} {% if add_generation_prompt %} {{ '<|assistant|>' }} {% endif %}`
	messages := []Message{{Role: "user", Content: "Hällo"}, {Role: "assistant", Content: "x"}}
	parsed, refused := 0, 0
	n := max(len(mutate.Templates), mutate.Rounds(t, 600))
	for m := range mutate.Template(1, n, good) {
		ok := mutate.Guard(t, m.About, func() error {
			p, err := Parse(string(m.Data), "/models/x/chat_template.jinja")
			if err != nil {
				return err
			}
			parsed++
			text, err := p.Render(messages, true, nil)
			if len(text) > maxOutput {
				return fmt.Errorf("%d bytes of output\n", len(text))
			}
			if strings.Contains(text, "root:") {
				return errors.New("it read /etc/passwd\n")
			}
			return err
		}, "/models/x/chat_template.jinja")
		if !ok {
			refused++
		}
	}
	t.Logf("%d parsed, %d refused", parsed, refused)
	if parsed < 50 || refused < 50 {
		t.Errorf("%d parsed, %d refused: the mutations do not bite", parsed, refused)
	}
}
