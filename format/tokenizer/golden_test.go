package tokenizer

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const testdata = "../../testdata/tokenizer"

// gunzip returns the content of a compressed file of testdata.
func gunzip(tb testing.TB, name string) []byte {
	tb.Helper()
	f, err := os.Open(filepath.Join(testdata, name))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func testStrings(tb testing.TB) []string {
	tb.Helper()
	var s []string
	if err := json.Unmarshal(gunzip(tb, "strings.json.gz"), &s); err != nil {
		tb.Fatal(err)
	}
	return s
}

// trained loads a tokenizer that testdata/gen/tokenizer.py trained.
func trained(tb testing.TB, name string) *Tokenizer {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name+".json")
	if err := os.WriteFile(path, gunzip(tb, name+".json.gz"), 0o666); err != nil {
		tb.Fatal(err)
	}
	t, err := Load(path)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// golden is what the Rust library made of the test strings.
type golden struct {
	Encode     []string             `json:"encode"`
	Codepoints [][2]json.RawMessage `json:"codepoints"`
	Decode     [][3]json.RawMessage `json:"decode"`
	Decoded    string               `json:"decoded"`
	Prefix     []int32              `json:"prefix"`
	Suffix     []int32              `json:"suffix"`
}

func uvarints(tb testing.TB, s string) []int32 {
	tb.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	ids := []int32{}
	for len(b) > 0 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			tb.Fatalf("bad varint in %q", s)
		}
		ids, b = append(ids, int32(v)), b[n:]
	}
	return ids
}

func TestGolden(t *testing.T) {
	names := []string{"gpt2", "prefix", "llama3", "smollm", "qwen2", "behaviors", "unk"}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			CompareGolden(t, trained(t, name), name)
		})
	}
}

// CompareGolden compares a tokenizer with a golden in every respect.
func CompareGolden(t *testing.T, tok *Tokenizer, name string) {
	var g golden
	if err := json.Unmarshal(gunzip(t, name+".golden.json.gz"), &g); err != nil {
		t.Fatal(err)
	}
	texts := testStrings(t)
	if len(texts) < 5000 || len(g.Encode) != len(texts) {
		t.Fatalf("%d strings, %d encoded, want the same number and at least 5000", len(texts), len(g.Encode))
	}
	differ := 0
	report := func(what string, in, got, want any) {
		if differ++; differ <= 5 {
			t.Errorf("%s %.300q:\n got %.300q\nwant %.300q", what, in, got, want)
		}
	}
	hash := sha256.New()
	for i, text := range texts {
		want := uvarints(t, g.Encode[i])
		got := tok.Encode(text, true)
		if !slices.Equal(got, want) {
			report("encode", text, tokensOf(tok, got), tokensOf(tok, want))
		}
		plain := want[len(g.Prefix) : len(want)-len(g.Suffix)]
		if got := tok.Encode(text, false); !slices.Equal(got, plain) {
			report("encode without special tokens", text, tokensOf(tok, got), tokensOf(tok, plain))
		}
		for _, skip := range []bool{false, true} {
			text := tok.Decode(want, skip)
			io.WriteString(hash, text+"\xff")
			if streamed := streamAll(tok, want, skip); streamed != text {
				report("stream", want, streamed, text)
			}
		}
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != g.Decoded {
		t.Errorf("decoding what was encoded: hash %s, want %s", got, g.Decoded)
	}
	for _, d := range g.Decode {
		var ids []int32
		var want [2]string
		for i, to := range []any{&ids, &want[0], &want[1]} {
			if err := json.Unmarshal(d[i], to); err != nil {
				t.Fatal(err)
			}
		}
		for i, skip := range []bool{false, true} {
			if got := tok.Decode(ids, skip); got != want[i] {
				report("decode", ids, got, want[i])
			}
			if got := streamAll(tok, ids, skip); got != want[i] {
				report("stream", ids, got, want[i])
			}
		}
	}
	for _, block := range g.Codepoints {
		var at rune
		var want string
		if err := errors.Join(json.Unmarshal(block[0], &at), json.Unmarshal(block[1], &want)); err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for c := at; c < at+4096; c++ {
			if c < 0xD800 || c > 0xDFFF {
				fmt.Fprintf(&text, "%cx %c1 '%c%c\n", c, c, c, c)
			}
		}
		var ids bytes.Buffer
		binary.Write(&ids, binary.LittleEndian, tok.Encode(text.String(), true))
		sum := sha256.Sum256(ids.Bytes())
		if got := hex.EncodeToString(sum[:8]); got != want {
			report("encode code points from", fmt.Sprintf("%U", at), got, want)
		}
	}
	if differ > 0 {
		t.Errorf("%d differences", differ)
	}
}

func tokensOf(t *Tokenizer, ids []int32) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i], _ = t.IDToToken(id)
	}
	return out
}

func streamAll(t *Tokenizer, ids []int32, skip bool) string {
	var b strings.Builder
	s := t.Stream(skip)
	for _, id := range ids {
		b.WriteString(s.Next(id))
	}
	b.WriteString(s.Flush())
	return b.String()
}
