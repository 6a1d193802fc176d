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

// Values from the sentencepiece library: with remove_extra_whitespaces every
// piece loses its ▁ until there is text, otherwise only the first.
func TestLeadingSpaces(t *testing.T) {
	for stripAll, want := range map[bool]string{true: "a", false: " a"} {
		s := &spmSequence{kinds: []int32{pieceNormal, pieceNormal}, strip: true, stripAll: stripAll, first: true}
		got := s.end(s.next(s.next(nil, 0, "▁"), 1, "▁a"))
		if string(got) != want {
			t.Errorf("removing extra spaces %v: got %q, want %q", stripAll, got, want)
		}
	}
}

func TestMatchTekken(t *testing.T) {
	for text, want := range map[string]string{"!!\n/x": "!!\n/", "AʰB": "Aʰ", "ABc": "ABc", "abC": "ab", "AB1": "AB", " Ab": " Ab", "12": "1"} {
		if got := text[:matchTekken(text)]; got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// The unknown token is found inside the text, as llama.cpp finds it.
func TestGGUFUnknown(t *testing.T) {
	tok := mustGGUF(t, ggufOfModel(t, "sp-llama"))
	if got := tok.Encode("<unk>", false); !slices.Equal(got, []int32{0}) {
		t.Errorf("Encode = %v, want [0]", got)
	}
}
