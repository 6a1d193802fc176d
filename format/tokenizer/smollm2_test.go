package tokenizer_test

import (
	"os"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/format/gguf"
	"github.com/tenon-ml/tenon/format/tokenizer"
)

// smolLM2 opens the real model's tokenizer, or skips.
func smolLM2(tb testing.TB) *tokenizer.Tokenizer {
	tb.Helper()
	path := os.Getenv("TENON_SMOLLM2")
	if path == "" {
		path = "../../testdata/models/SmolLM2-135M-Instruct.Q4_1.gguf"
	}
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("%v: run testdata/fetch-smollm2.sh, or set TENON_SMOLLM2 to the file", err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	t, err := tokenizer.FromGGUF(f)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func TestSmolLM2(t *testing.T) {
	tok := smolLM2(t)
	tokenizer.CompareGolden(t, tok, "smollm2")
	if bos, _ := tok.BOS(); bos != 1 || tok.AddsBOS() || tok.AddsEOS() {
		t.Errorf("BOS %d, adds BOS %v, EOS %v, want 1, false, false", bos, tok.AddsBOS(), tok.AddsEOS())
	}
	if stops := tok.Stops(); len(stops) != 1 || stops[0] != 2 {
		t.Errorf("Stops() = %v, want [2]", stops)
	}
	if tok.VocabSize() != 49152 {
		t.Errorf("VocabSize() = %d, want 49152", tok.VocabSize())
	}
}

func BenchmarkSmolLM2(b *testing.B) {
	tok := smolLM2(b)
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. It's 12:30, isn't it?\nfor (int i = 0; i < n; ++i) { x[i] += 1.5; }\n", 1000)
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			tok.Encode(text, false)
		}
	})
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			smolLM2(b)
		}
	})
}
