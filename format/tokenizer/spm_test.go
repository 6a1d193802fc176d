package tokenizer

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hashed is a golden of testdata/gen/tokenizer_spm.py.
type hashed struct {
	Encode  string               `json:"encode"` // 4 bytes a string
	Decode  [][3]json.RawMessage `json:"decode"` // ids, text, text without special tokens
	Decoded string               `json:"decoded"`
}

func readHashed(t *testing.T, name string) hashed {
	t.Helper()
	var g hashed
	if err := json.Unmarshal(gunzip(t, name), &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// encode compares the ids of all test strings and returns them.
func (g hashed) encode(t *testing.T, tok *Tokenizer, special bool) [][]int32 {
	t.Helper()
	texts := testStrings(t)
	want, err := base64.StdEncoding.DecodeString(g.Encode)
	if err != nil {
		t.Fatal(err)
	}
	if len(texts) < 5000 || len(want) != 4*len(texts) {
		t.Fatalf("%d strings, %d encoded, want the same number and at least 5000", len(texts), len(want)/4)
	}
	differ := 0
	all := make([][]int32, len(texts))
	for i, text := range texts {
		ids := tok.Encode(text, special)
		all[i] = ids
		var b []byte
		for _, id := range ids {
			b = binary.LittleEndian.AppendUint32(b, uint32(id))
		}
		sum := sha256.Sum256(b)
		if string(sum[:4]) != string(want[4*i:4*i+4]) {
			if differ++; differ <= 5 {
				t.Errorf("encode %.200q: got %v %.300q", text, ids[:min(len(ids), 40)], tokensOf(tok, ids))
			}
		}
	}
	if differ > 0 {
		t.Errorf("%d differences in %d strings", differ, len(texts))
	}
	return all
}

// decodedHash is the hash of the texts of all ids; what a stream gives out is
// compared with it.
func decodedHash(t *testing.T, tok *Tokenizer, all [][]int32, skips ...bool) string {
	t.Helper()
	hash := sha256.New()
	for _, ids := range all {
		for _, skip := range skips {
			text := tok.Decode(ids, skip)
			io.WriteString(hash, text+"\xff")
			if got := streamAll(tok, ids, skip); got != text {
				t.Errorf("streamed %.200q, decoded %.200q", got, text)
			}
		}
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// The forms that a tokenizer.json of a SentencePiece model takes, against the
// Rust library.
func TestGoldenSPMForms(t *testing.T) {
	for _, name := range []string{"llama-legacy", "llama-normalized", "mistral", "metaspace", "metaspace-never", "tekken"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tok := trained(t, name)
			g := readHashed(t, name+".golden.json.gz")
			all := g.encode(t, tok, true)
			if got := decodedHash(t, tok, all, false, true); got != g.Decoded {
				t.Errorf("decoding what was encoded: hash %s, want %s", got, g.Decoded)
			}
			if len(g.Decode) < 200 {
				t.Errorf("%d lists to decode", len(g.Decode))
			}
			for _, d := range g.Decode {
				var ids []int32
				mustUnmarshal(t, d[0], &ids)
				for i, skip := range []bool{false, true} {
					var want string
					mustUnmarshal(t, d[1+i], &want)
					if got := tok.Decode(ids, skip); got != want {
						t.Errorf("decode %v %q, skip %v: got %q, want %q", ids, tokensOf(tok, ids), skip, got, want)
					}
					if got := streamAll(tok, ids, skip); got != want {
						t.Errorf("stream %v: got %q, want %q", ids, got, want)
					}
				}
			}
		})
	}
}

func mustUnmarshal(t *testing.T, raw json.RawMessage, v any) {
	t.Helper()
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
}

// spmFolder is a folder with a tokenizer.model and a tokenizer_config.json.
func spmFolder(tb testing.TB, name string, config object) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.model"), gunzip(tb, name+".model.gz"), 0o666); err != nil {
		tb.Fatal(err)
	}
	writeJSON(tb, filepath.Join(dir, "tokenizer_config.json"), config)
	return dir
}

// A tokenizer.model, against the SentencePiece library.
func TestGoldenSPM(t *testing.T) {
	for _, name := range []string{"sp-llama", "sp-nodummy", "sp-nfkc"} {
		for _, legacy := range []bool{false, true} {
			suffix := ""
			if legacy {
				suffix = "-legacy"
			}
			t.Run(name+suffix, func(t *testing.T) {
				t.Parallel()
				tok, err := Load(spmFolder(t, name, object{"legacy": legacy}))
				if err != nil {
					t.Fatal(err)
				}
				g := readHashed(t, name+suffix+".spm.json.gz")
				all := g.encode(t, tok, false)
				if got := decodedHash(t, tok, all, true); got != g.Decoded {
					t.Errorf("decoding what was encoded: hash %s, want %s", got, g.Decoded)
				}
				for _, d := range g.Decode {
					var ids []int32
					var want string
					mustUnmarshal(t, d[0], &ids)
					mustUnmarshal(t, d[1], &want)
					if got := tok.Decode(ids, true); got != want {
						t.Errorf("decode %v %q: got %q, want %q", ids, tokensOf(tok, ids), got, want)
					}
					if got := streamAll(tok, ids, true); got != want {
						t.Errorf("stream %v: got %q, want %q", ids, got, want)
					}
				}
			})
		}
	}
}

// ggufOfModel is a SentencePiece model as a GGUF file has it.
func ggufOfModel(tb testing.TB, name string) metadata {
	tb.Helper()
	f, err := parseSPMFile(gunzip(tb, name+".model.gz"))
	if err != nil {
		tb.Fatal(err)
	}
	var tokens []string
	var scores []float32
	var types []int32
	for _, p := range f.pieces {
		tokens, scores, types = append(tokens, p.text), append(scores, p.score), append(types, p.kind)
	}
	return metadata{
		"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.scores": scores, "tokenizer.ggml.token_type": types,
		"tokenizer.ggml.add_space_prefix": f.dummyPrefix,
	}
}

// A GGUF file of model "llama", against llama.cpp.
func TestGoldenLlamaCPP(t *testing.T) {
	for _, name := range []string{"sp-llama", "sp-nodummy", "sp-equal"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := ggufOfModel(t, strings.Replace(name, "sp-equal", "sp-llama", 1))
			if name == "sp-equal" { // eight pieces each have the same score
				scores := m["tokenizer.ggml.scores"].([]float32)
				for i := range scores {
					scores[i] = float32(math.Trunc(float64(scores[i]) / 8))
				}
			}
			tok, err := FromGGUF(m)
			if err != nil {
				t.Fatal(err)
			}
			if !tok.AddsBOS() || tok.AddsEOS() {
				t.Errorf("adds BOS %v, EOS %v, want true, false", tok.AddsBOS(), tok.AddsEOS())
			}
			g := readHashed(t, name+".llamacpp.json.gz")
			all := g.encode(t, tok, true)
			for i := range all {
				all[i] = all[i][1:]
			}
			if got := decodedHash(t, tok, all, false); got != g.Decoded {
				t.Errorf("decoding what was encoded: hash %s, want %s", got, g.Decoded)
			}
		})
	}
}
