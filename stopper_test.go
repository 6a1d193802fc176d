package tenon

import (
	"strings"
	"testing"
)

func TestStopper(t *testing.T) {
	for _, c := range []struct {
		stop   []string
		pieces string
		want   string
	}{
		{nil, "a|b", "a|b|"},
		{[]string{"END"}, "x|E|N|y", "x|||ENy|"},
		{[]string{"END"}, "xE|ND|more", "x|||"},
		{[]string{"b", "abc"}, "a|b|c", "|a||"},
		{[]string{"aab"}, "a|a|a|b", "||a||"},
		{[]string{"\n\n"}, "x\n|\ny", "x||"},
	} {
		s := stopper{stop: c.stop}
		var out, all strings.Builder
		for p := range strings.SplitSeq(c.pieces, "|") {
			g := s.add(p)
			all.WriteString(g)
			out.WriteString(g + "|")
		}
		last := s.finish("")
		all.WriteString(last)
		if got, want := out.String()+last, c.want; got != want {
			t.Errorf("%q of %q: got %q, want %q", c.stop, c.pieces, got, want)
		}
		if s.text.String() != all.String() {
			t.Errorf("%q of %q: text %q, shown %q", c.stop, c.pieces, s.text.String(), all.String())
		}
	}
}
