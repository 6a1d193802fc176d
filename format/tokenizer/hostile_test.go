package tokenizer

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A ModelProto, written field by field.
func field(number, wire int, data []byte) []byte {
	return append(binary.AppendUvarint(nil, uint64(number)<<3|uint64(wire)), data...)
}

func message(number int, data ...[]byte) []byte {
	all := slices.Concat(data...)
	return field(number, 2, append(binary.AppendUvarint(nil, uint64(len(all))), all...))
}

func protoPiece(text string, score float32, kind uint64) []byte {
	return message(1, message(1, []byte(text)), field(2, 5, binary.LittleEndian.AppendUint32(nil, math.Float32bits(score))), protoInt(3, kind))
}

func protoInt(number int, v uint64) []byte { return field(number, 0, binary.AppendUvarint(nil, v)) }

// tinyModel is a SentencePiece model; what is appended comes after its pieces.
func tinyModel(more ...[]byte) []byte {
	return slices.Concat(append([][]byte{
		protoPiece("<unk>", 0, pieceUnknown), protoPiece("<s>", 0, pieceControl), protoPiece("</s>", 0, pieceControl),
		protoPiece("▁", -1, pieceNormal), protoPiece("a", -2, pieceNormal), protoPiece("b", -3, pieceNormal),
		protoPiece("ab", -4, pieceNormal), protoPiece("▁ab", -5, pieceNormal), message(2, protoInt(3, 2)),
	}, more...)...)
}

func TestTinyModel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.model")
	if err := os.WriteFile(path, tinyModel(), 0o666); err != nil {
		t.Fatal(err)
	}
	tok, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("ab abc", true); !slices.Equal(got, []int32{1, 7, 7, 0}) {
		t.Errorf("Encode = %v, want [1 7 7 0]", got)
	}
	if got, want := tok.Decode([]int32{1, 7, 7, 0}, true), "ab ab ⁇ "; got != want {
		t.Errorf("Decode = %q, want %q", got, want)
	}
	if tok.bos != 1 || tok.eos != 2 || tok.unk != 0 || tok.pad != -1 {
		t.Errorf("BOS %d, EOS %d, unknown %d, padding %d", tok.bos, tok.eos, tok.unk, tok.pad)
	}
}

func TestModelErrors(t *testing.T) {
	charsMap := func(b ...byte) []byte { return tinyModel(message(3, message(2, b))) }
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":        {nil, "trainer_spec.model_type"},
		"unigram":      {tinyModel(message(2, protoInt(3, 1))), "type 1 (unigram)"},
		"char":         {tinyModel(message(2, protoInt(3, 4))), "type 4 (char)"},
		"no pieces":    {message(2, protoInt(3, 2)), "0 pieces"},
		"no unknown":   {slices.Concat(protoPiece("a", 0, 1), message(2, protoInt(3, 2))), "no piece is the unknown one"},
		"two unknown":  {tinyModel(protoPiece("x", 0, pieceUnknown)), "both the unknown"},
		"twice":        {tinyModel(protoPiece("ab", 0, pieceNormal)), `piece "ab" is 6 and 8`},
		"empty piece":  {tinyModel(protoPiece("", 0, pieceNormal)), "piece 8"},
		"not UTF-8":    {tinyModel(protoPiece("\xff", 0, pieceNormal)), "piece 8"},
		"type":         {tinyModel(protoPiece("x", 0, 7)), "type 7"},
		"byte":         {tinyModel(protoPiece("<0xZZ>", 0, pieceByte)), "<0xZZ>"},
		"score":        {tinyModel(protoPiece("x", float32(math.NaN()), pieceNormal)), "not a number"},
		"suffix":       {tinyModel(message(2, protoInt(24, 1))), "treat_whitespace_as_suffix"},
		"length":       {tinyModel(field(1, 2, binary.AppendUvarint(nil, math.MaxUint64))), "cut short"},
		"group":        {tinyModel(field(9, 3, nil)), "cut short"},
		"field 0":      {tinyModel(field(0, 0, []byte{1})), "cut short"},
		"wire":         {tinyModel(protoInt(1, 5)), "cut short"},
		"varint":       {tinyModel([]byte(strings.Repeat("\xff", 20))), "cut short"},
		"user defined": {tinyModel(protoPiece(strings.Repeat("x", 2<<20), 0, pieceUser)), "user-defined"},
		"charsmap":     {charsMap(1, 2, 3), "precompiled_charsmap: 3 bytes"},
		"trie":         {charsMap(255, 255, 255, 255, 0, 0, 0, 0, 0), "trie of 4294967295 bytes"},
		"odd trie":     {charsMap(3, 0, 0, 0, 0, 0, 0, 0, 0), "trie of 3"},
		"replacement":  {charsMap(append([]byte{4, 0, 0, 0, 0, 0, 0, 0}, strings.Repeat("x", 1000)...)...), "replacement of 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tokenizer.model")
			if err := os.WriteFile(path, c.data, 0o666); err != nil {
				t.Fatal(err)
			}
			_, err := Load(path)
			if err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line that names the file and %q", err, c.want)
			}
		})
	}
}

// Every beginning of a model that ends inside a field is an error.
func TestTruncatedModel(t *testing.T) {
	data := gunzip(t, "sp-llama.model.gz")
	whole := 0
	for n := range 3000 {
		if _, err := parseSPM(data[:n], spmOptions{}); err == nil {
			t.Fatalf("no error for the first %d bytes", n)
		}
		if protoFields(data[:n], func(protoField) error { return nil }) == nil {
			whole++
		}
	}
	if whole == 0 || whole > 500 {
		t.Errorf("%d of 3000 beginnings end with a field", whole)
	}
}

// The files of a folder: tokenizer.json goes before tokenizer.model, and what
// tokenizer_config.json says of the latter.
func TestModelFolder(t *testing.T) {
	for name, c := range map[string]struct {
		config object
		text   string
		want   []int32
	}{
		"nothing":      {object{}, "ab", []int32{1, 7}},
		"flags":        {object{"add_bos_token": false, "add_eos_token": true}, "ab", []int32{7, 2}},
		"names":        {object{"bos_token": "</s>", "eos_token": "<s>", "add_eos_token": true}, "ab", []int32{2, 7, 1}},
		"space":        {object{}, " ab", []int32{1, 7}}, // spaces at the ends go away
		"no prefix":    {object{"add_prefix_space": false}, "ab", []int32{1, 6}},
		"first":        {object{}, "ab</s>ab", []int32{1, 7, 2, 6}},
		"legacy":       {object{"legacy": true}, "ab</s>ab", []int32{1, 7, 2, 7}},
		"unk":          {object{"unk_token": "<unk>"}, "ab<unk>", []int32{1, 7, 0}},
		"added":        {object{"added_tokens_decoder": object{"9": object{"content": "[b]"}, "8": object{"content": "[a]", "lstrip": true, "special": true}}}, "ab [a][b]", []int32{1, 7, 8, 9}},
		"added inside": {object{"added_tokens_decoder": object{"6": object{"content": "ab"}}}, "aab", []int32{1, 3, 4, 6}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "tokenizer.model"), tinyModel(), 0o666); err != nil {
				t.Fatal(err)
			}
			writeJSON(t, filepath.Join(dir, "tokenizer_config.json"), c.config)
			tok, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			if got := tok.Encode(c.text, true); !slices.Equal(got, c.want) {
				t.Errorf("Encode(%q) = %v, want %v", c.text, got, c.want)
			}
			writeJSON(t, filepath.Join(dir, "tokenizer.json"), tiny())
			writeJSON(t, filepath.Join(dir, "tokenizer_config.json"), object{})
			if tok, err = Load(dir); err != nil || tok.VocabSize() != 8 || tok.AddsBOS() {
				t.Errorf("tokenizer.json is not the one that is read: %v", err)
			}
		})
	}
	for want, config := range map[string]object{
		"tokenizer_config.json: added_tokens_decoder: \"x\"":   {"added_tokens_decoder": object{"x": object{"content": "y"}}},
		"tokenizer.model: added_tokens: token \"y\": id 12":    {"added_tokens_decoder": object{"12": object{"content": "y"}}},
		"tokenizer_config.json: bos_token: \"y\" is not in":    {"bos_token": "y"},
		"tokenizer_config.json: json: cannot unmarshal string": {"add_bos_token": "yes"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tokenizer.model"), tinyModel(), 0o666); err != nil {
			t.Fatal(err)
		}
		writeJSON(t, filepath.Join(dir, "tokenizer_config.json"), config)
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "tokenizer.json") || !strings.Contains(err.Error(), "tokenizer.model") {
		t.Errorf("error %v for an empty folder", err)
	}
}

// Texts of up to a million bytes take n·log n steps in every model and pattern:
// minutes if it were their square.
func TestLongTexts(t *testing.T) {
	toks := map[string]*Tokenizer{}
	for _, name := range []string{"llama-legacy", "metaspace", "tekken"} {
		toks[name] = trained(t, name)
	}
	for _, name := range []string{"sp-llama", "sp-nfkc"} {
		tok, err := parseSPM(gunzip(t, name+".model.gz"), spmOptions{})
		if err != nil {
			t.Fatal(err)
		}
		toks[name] = tok
	}
	toks["gguf"] = mustGGUF(t, ggufOfModel(t, "sp-llama"))
	for name, tok := range toks {
		for _, part := range []string{"a", " ", "th", "A", "\u0301", "\U0001F600", "[", "<s>", "x\n"} {
			size := 1 << 18
			if part == "a" || part == " " {
				size = 1 << 20
			}
			text := strings.Repeat(part, size/len(part))
			start := time.Now()
			ids := tok.Encode(text, false)
			back := tok.Decode(ids, false)
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("%s: %d bytes of %q took %v", name, size, part, d)
			}
			if name != "sp-nfkc" && name != "metaspace" && !strings.HasSuffix(back, part) {
				t.Errorf("%s: %q does not come back: %.20q", name, part, back)
			}
		}
	}
}

// Steps that wait for the end of a run of bytes take no more than that.
func TestLongByteRun(t *testing.T) {
	tok := trained(t, "llama-legacy")
	id, ok := tok.TokenToID("<0xFF>")
	if !ok {
		t.Fatal("no byte token")
	}
	start := time.Now()
	got := streamAll(tok, slices.Repeat([]int32{id}, 1<<20), false)
	if d := time.Since(start); d > 20*time.Second || len(got) != 3<<20 {
		t.Errorf("%d bytes after %v", len(got), d)
	}
}

func FuzzModel(f *testing.F) {
	f.Add(tinyModel())
	f.Add(tinyModel(protoPiece("xx", 0, pieceUser), protoPiece("a▁", 3, pieceUnused), message(2, protoInt(35, 1)), message(3, protoInt(4, 0), protoInt(3, 0))))
	f.Add(tinyModel(message(3, message(2, []byte{8, 0, 0, 0, 0, 4, 0, 0, 'a', 1, 0, 0, 'x', 0}))))
	f.Add(gunzip(f, "sp-llama.model.gz")[:4000])
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := parseSPM(data, spmOptions{addBOS: true, specials: []string{"<s>"}})
		if err != nil {
			return
		}
		exercise(t, tok)
	})
}

// exercise encodes and decodes with a tokenizer from anywhere.
func exercise(t *testing.T, tok *Tokenizer) {
	for _, text := range []string{"", "ab a <s>ab</s>  \n1 é\u0301", "\xff'S ab ▁▁aa", "a▁b\x00ﬁ"} {
		ids := tok.Encode(text, true)
		for i, id := range ids {
			if _, ok := tok.IDToToken(id); !ok {
				t.Errorf("Encode(%q)[%d] = %d, which is no token", text, i, id)
			}
		}
		for _, skip := range []bool{false, true} {
			if got, want := streamAll(tok, ids, skip), tok.Decode(ids, skip); got != want {
				t.Errorf("streamed %q, decoded %q", got, want)
			}
		}
	}
	var all []int32
	for id := range int32(min(tok.VocabSize(), 300)) {
		all = append(all, id)
	}
	if got, want := streamAll(tok, all, false), tok.Decode(all, false); got != want {
		t.Errorf("streamed %q, decoded %q", got, want)
	}
}

// FuzzGGUF reads a vocabulary from lines: score, type and token.
func FuzzGGUF(f *testing.F) {
	f.Add("<unk>\n<s>\n</s>\n<0x0A>\n▁\na\nb\nab\n▁ab\n", []byte{2, 3, 3, 6, 1, 1, 1, 1, 1}, []byte{0, 0, 0, 0, 1, 2, 3, 4, 5}, true)
	f.Add("a\naa\naaa\n\n<0x61>", []byte{1, 5, 4}, []byte{200, 100}, false)
	f.Fuzz(func(t *testing.T, lines string, kinds, marks []byte, prefix bool) {
		tokens := strings.Split(lines, "\n")
		types, scores := make([]int32, len(tokens)), make([]float32, len(tokens))
		for i := range tokens {
			if i < len(kinds) {
				types[i] = int32(kinds[i])
			}
			if i < len(marks) {
				scores[i] = -float32(marks[i])
			}
		}
		m := metadata{
			"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.scores": scores,
			"tokenizer.ggml.token_type": types, "tokenizer.ggml.add_space_prefix": prefix,
		}
		tok, err := FromGGUF(m)
		if err != nil {
			return
		}
		exercise(t, tok)
		dir := t.TempDir()
		if tok.Save(dir, "") != nil {
			return
		}
		if _, err := Load(dir); err != nil {
			t.Errorf("what was saved is not read: %v", err)
		}
	})
}
