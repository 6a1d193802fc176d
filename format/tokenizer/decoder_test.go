package tokenizer

import (
	"encoding/json"
	"slices"
	"testing"
)

// Values from the crate's decoders.
func TestDecoders(t *testing.T) {
	strip := `{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":" ","start":0,"stop":1}]}`
	for _, c := range []struct {
		decoder string
		tokens  []string
		want    string
	}{
		{`{"type":"ByteFallback"}`, []string{"<0x+F>", "<0x4a>"}, "\x0fJ"},
		{`{"type":"Metaspace","replacement":"▁","prepend_scheme":"never"}`, []string{"▁a", "▁b"}, " a b"},
		{`{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"}`, []string{"▁a▁c", "▁b"}, "ac b"},
		{strip, []string{"a ", "b ", " "}, "a b "},
		{`{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Replace","pattern":{"String":"ab"},"content":"c"},{"type":"ByteFallback"}]}`, []string{"a", "b"}, "c"},
	} {
		d, _, err := parseDecoder(json.RawMessage(c.decoder))
		if err != nil {
			t.Fatal(err)
		}
		seq := d()
		var got []byte
		for _, token := range c.tokens {
			got = seq.next(got, 0, token)
		}
		if got = seq.end(got); string(got) != c.want {
			t.Errorf("%s of %q: got %q, want %q", c.decoder, c.tokens, got, c.want)
		}
	}
}

// A user-defined piece joins no neighbour and is not rewritten.
func TestUserDefined(t *testing.T) {
	tok, err := parseSPM(tinyModel(protoPiece("c", 0, pieceUser), protoPiece("ac", -1, pieceNormal)), spmOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("ac", false); !slices.Equal(got, []int32{3, 4, 8}) {
		t.Errorf("Encode = %v, want [3 4 8]", got)
	}
	f, err := parseSPMFile(gunzip(t, "sp-nfkc.model.gz"))
	if err != nil {
		t.Fatal(err)
	}
	z := spmNormalizer{user: &matcher{}}
	if z.rules, err = parseCharsMap(f.charsMap); err != nil {
		t.Fatal(err)
	}
	if got := z.normalize("ﬁ", false); got != "fi" {
		t.Errorf("got %q, want fi", got)
	}
	z.user.add(&addedToken{pattern: "ﬁ"}, 1)
	if got := z.normalize("ﬁ", false); got != "ﬁ" {
		t.Errorf("got %q, want ﬁ", got)
	}
}
