package tokenizer

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/mutate"
)

// use encodes and decodes with a tokenizer that was accepted: what it makes must be
// ids that it knows, and texts.
func use(t *Tokenizer) error {
	for _, text := range []string{
		"", "Hello, wörld! 123", "<s> a</s><|endoftext|>", "  \n\t\u00a0 x", "\xff\xfea\x80", "ｆｕｌｌ Å é 한국어 العربية 🏳️‍🌈",
		strings.Repeat("a", 3000), strings.Repeat(" ", 3000), strings.Repeat("aé ", 1000),
	} {
		for _, special := range []bool{false, true} {
			ids := t.Encode(text, special)
			for _, id := range ids {
				if _, ok := t.IDToToken(id); !ok {
					return fmt.Errorf("Encode(%.20q) gives\nid %d, which is no token", text, id)
				}
			}
			if len(ids) > 100*(len(text)+10) {
				return fmt.Errorf("Encode(%.20q) gives\n%d ids", text, len(ids))
			}
			t.Decode(ids, special)
			s := t.Stream(special)
			for _, id := range ids {
				s.Next(id)
			}
			s.Flush()
		}
	}
	t.Decode([]int32{-1, 0, 1, 1 << 30, 2147483647}, false)
	return nil
}

// Tokenizer files of each kind, damaged: refused in one line that names the file,
// or good for encoding and decoding.
func TestHostileFiles(t *testing.T) {
	files, err := filepath.Glob("../../testdata/tokenizer/*.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	models, err := filepath.Glob("../../testdata/tokenizer/*.model.gz")
	if err != nil {
		t.Fatal(err)
	}
	const biggest = 2 << 20 // longer ones take their time and have the same parts
	tried := 0
	for _, name := range append(files, models...) {
		base := filepath.Base(name)
		if strings.Contains(base, ".golden.") || strings.Contains(base, ".spm.") || strings.Contains(base, ".llamacpp.") || base == "strings.json.gz" {
			continue
		}
		t.Run(base, func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err == nil {
				data, err = io.ReadAll(z)
			}
			if err != nil {
				t.Fatal(err)
			}
			file := "tokenizer.model"
			all := mutate.Protobuf
			if !strings.HasSuffix(name, ".model.gz") {
				file = "tokenizer.json"
				all = func(seed uint64, n int, doc []byte) iter.Seq[mutate.Mutant] {
					return mutate.JSON(seed, n, doc, `"BPE"`, `"Unigram"`, `"ByteLevel"`, `{"type":"ByteLevel"}`, `{"type":"Sequence","normalizers":[]}`, `[["a","b"],["ab","ab"]]`, `["a b","ab ab"]`, `{"Regex":"(a|a)*"}`, `{"Regex":"[^]"}`, `{"Regex":"(?<=x)"}`, `{"String":""}`, `{"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaaaaaaaaaaaa"}`, `{"type":"Prepend","prepend":"▁"}`)
				}
			}
			if len(data) > biggest {
				t.Skipf("%d bytes", len(data))
			}
			tried++
			dir := t.TempDir()
			path := filepath.Join(dir, file)
			accepted, refused := 0, 0
			for m := range all(7, mutate.Rounds(t, 200), data) {
				if err := os.WriteFile(path, m.Data, 0o600); err != nil {
					t.Fatal(err)
				}
				if mutate.Guard(t, m.About, func() error {
					tok, err := Load(dir)
					if err != nil {
						return err
					}
					return use(tok)
				}, dir) {
					accepted++
				} else {
					refused++
				}
			}
			t.Logf("%d accepted, %d refused", accepted, refused)
			if refused == 0 {
				t.Error("nothing was refused: the mutations do not bite")
			}
		})
	}
	if tried == 0 {
		t.Error(errors.New("no files"))
	}
}
