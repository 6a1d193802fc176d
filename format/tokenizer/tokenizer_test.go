package tokenizer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// tiny is the smallest tokenizer.json that has all of the parts; the tests
// change one of them.
func tiny() map[string]any {
	return map[string]any{
		"version": "1.0",
		"added_tokens": []any{
			map[string]any{"id": 6, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
			map[string]any{"id": 7, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
		},
		"normalizer":     nil,
		"pre_tokenizer":  map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
		"post_processor": nil,
		"decoder":        map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"model": map[string]any{
			"type": "BPE", "vocab": map[string]any{"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4, "<unk>": 5},
			"merges": []any{"a b", "Ġ ab"},
		},
	}
}

func writeJSON(tb testing.TB, path string, v any) {
	tb.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o666); err != nil {
		tb.Fatal(err)
	}
}

// with returns tiny with the value at a path of keys changed.
func with(value any, keys ...string) map[string]any {
	t := tiny()
	m := t
	for _, k := range keys[:len(keys)-1] {
		m = m[k].(map[string]any)
	}
	m[keys[len(keys)-1]] = value
	return t
}

type object = map[string]any

func TestLoadErrors(t *testing.T) {
	deep := func(key, list string, leaf any) any {
		for range 30 {
			leaf = object{"type": "Sequence", list: []any{leaf}}
		}
		return with(leaf, key)
	}
	byteLevel := tiny()["pre_tokenizer"]
	for name, c := range map[string]struct {
		file any
		want string
	}{
		"model type":     {with("Unigram", "model", "type"), `model: type "Unigram"`},
		"model":          {with(nil, "model"), "model"},
		"no vocab":       {with(nil, "model", "vocab"), "no vocab"},
		"dropout":        {with(0.5, "model", "dropout"), "dropout"},
		"prefix":         {with("##", "model", "continuing_subword_prefix"), "continuing_subword_prefix"},
		"suffix":         {with("</w>", "model", "end_of_word_suffix"), "end_of_word_suffix"},
		"unk":            {with("[UNK]", "model", "unk_token"), "[UNK]"},
		"negative id":    {with(object{"a": -1}, "model", "vocab"), "-1"},
		"huge id":        {with(object{"a": 1 << 30}, "model", "vocab"), "1073741824"},
		"huger id":       {with(object{"a": 1 << 40}, "model", "vocab"), "vocab"},
		"sparse ids":     {with(object{"a": 0, "b": 1, "ab": 4_000_000, "Ġ": 2, "Ġab": 3, "<unk>": 5}, "model", "vocab"), "4000000"},
		"fractional id":  {with(object{"a": 1.5}, "model", "vocab"), "vocab"},
		"merge of three": {with([]any{"a b c"}, "model", "merges"), "a b c"},
		"merge pair":     {with([]any{[]any{"a"}}, "model", "merges"), "merge 0"},
		"merge unknown":  {with([]any{[]any{"b", "a"}}, "model", "merges"), `"b" and "a"`},
		"merges":         {with(3, "model", "merges"), "merges"},
		"normalizer":     {with(object{"type": "BertNormalizer"}, "normalizer"), `normalizer: type "BertNormalizer"`},
		"replace regex":  {with(object{"type": "Replace", "pattern": object{"Regex": "x+"}, "content": ""}, "normalizer"), "Replace"},
		"deep norm":      {deep("normalizer", "normalizers", object{"type": "NFC"}), "nested"},
		"pre-tokenizer":  {with(object{"type": "Whitespace"}, "pre_tokenizer"), `pre_tokenizer: type "Whitespace"`},
		"no type":        {with(object{}, "pre_tokenizer"), "pre_tokenizer: no type"},
		"nested":         {with(object{"type": "Sequence", "pretokenizers": []any{byteLevel, object{"type": "BertPreTokenizer"}}}, "pre_tokenizer"), "BertPreTokenizer"},
		"deep pre":       {deep("pre_tokenizer", "pretokenizers", byteLevel), "nested"},
		"regex":          {with(object{"type": "Split", "pattern": object{"Regex": `\w+|x`}, "behavior": "Isolated", "invert": false}, "pre_tokenizer"), `"\\w+|x"`},
		"no pattern":     {with(object{"type": "Split", "pattern": object{}, "behavior": "Isolated"}, "pre_tokenizer"), "no pattern"},
		"behavior":       {with(object{"type": "Split", "pattern": object{"String": "x"}, "behavior": "Shredded"}, "pre_tokenizer"), "Shredded"},
		"post-processor": {with(object{"type": "Foo"}, "post_processor"), `post_processor: type "Foo"`},
		"deep post":      {deep("post_processor", "processors", byteLevel), "nested"},
		"template":       {with(object{"type": "TemplateProcessing", "single": []any{object{"SpecialToken": object{"id": "<s>"}}}, "special_tokens": object{}}, "post_processor"), "<s>"},
		"template twice": {with(object{"type": "TemplateProcessing", "single": []any{object{"Sequence": object{"id": "A"}}, object{"Sequence": object{"id": "A"}}}}, "post_processor"), "2 times"},
		"template id":    {with(object{"type": "TemplateProcessing", "single": []any{object{"SpecialToken": object{"id": "<s>"}}, object{"Sequence": object{"id": "A"}}}, "special_tokens": object{"<s>": object{"ids": []any{99}}}}, "post_processor"), "99"},
		"roberta":        {with(object{"type": "RobertaProcessing", "cls": []any{"<s>"}}, "post_processor"), "cls"},
		"decoder":        {with(object{"type": "WordPiece"}, "decoder"), `decoder: type "WordPiece"`},
		"added id":       {with([]any{object{"id": 9, "content": "<s>"}}, "added_tokens"), `"<s>": id 9, want 6`},
		"doubling":       {with(object{"type": "Sequence", "normalizers": slices.Repeat([]any{object{"type": "Replace", "pattern": object{"String": "a"}, "content": "aa"}}, 60)}, "normalizer"), "times as long"},
		"byte levels":    {with(object{"type": "Sequence", "pretokenizers": slices.Repeat([]any{byteLevel}, 60)}, "pre_tokenizer"), "times as long"},
		"many steps":     {with(object{"type": "Sequence", "pretokenizers": slices.Repeat([]any{object{"type": "Digits", "individual_digits": true}}, 1000)}, "pre_tokenizer"), "steps"},
		"long prepend":   {with(object{"type": "Prepend", "prepend": strings.Repeat("x", 1<<13)}, "normalizer"), "Prepend"},
		"long added":     {with([]any{object{"id": 6, "content": strings.Repeat("x", 1<<21)}}, "added_tokens"), "added_tokens"},
		"many affixes":   {with(object{"type": "TemplateProcessing", "single": append(slices.Repeat([]any{object{"SpecialToken": object{"id": "<s>"}}}, 2000), object{"Sequence": object{"id": "A"}}), "special_tokens": object{"<s>": object{"ids": []any{6}}}}, "post_processor"), "adds more"},
		"version":        {with("2.0", "version"), "2.0"},
		"no JSON":        {"x", "json"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tokenizer.json")
			writeJSON(t, path, c.file)
			_, err := Load(path)
			if err == nil {
				t.Fatal("no error")
			}
			if s := err.Error(); !strings.HasPrefix(s, path+": ") || !strings.Contains(s, c.want) || strings.Contains(s, "\n") {
				t.Errorf("error %q, want one line that names the file and %q", s, c.want)
			}
		})
	}
	same := with(object{"type": "Lowercase"}, "normalizer")
	same["added_tokens"] = []any{object{"id": 6, "content": "X", "normalized": true}, object{"id": 7, "content": "x", "normalized": true}}
	data, err := json.Marshal(same)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(data, nil); err == nil || !strings.Contains(err.Error(), "the same when normalised") {
		t.Errorf("error %v for two tokens that are the same when normalised", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "missing.json")); err == nil {
		t.Error("no error for a missing file")
	}
}

// Every beginning of a file is an error, and none panics.
func TestTruncated(t *testing.T) {
	data, err := json.Marshal(tiny())
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if _, err := parse(data[:n], nil); err == nil {
			t.Fatalf("no error for %q", data[:n])
		}
	}
	if _, err := parse(data, nil); err != nil {
		t.Fatal(err)
	}
}

func TestFolder(t *testing.T) {
	for name, c := range map[string]struct {
		files    object
		bos, eos int32
		stops    []int32
		err      string
	}{
		"nothing":     {nil, -1, -1, nil, ""},
		"config":      {object{"tokenizer_config.json": object{"bos_token": "<s>", "eos_token": object{"content": "</s>"}, "pad_token": nil, "add_bos_token": true}}, 6, 7, []int32{7}, ""},
		"map":         {object{"tokenizer_config.json": object{"bos_token": "<s>"}, "special_tokens_map.json": object{"bos_token": "a", "eos_token": "</s>"}}, 6, 7, []int32{7}, ""},
		"stops":       {object{"tokenizer_config.json": object{"eos_token": "</s>"}, "generation_config.json": object{"eos_token_id": []any{7, 3}}, "config.json": object{"eos_token_id": 1}}, -1, 7, []int32{7, 3}, ""},
		"stop":        {object{"config.json": object{"eos_token_id": 3}}, -1, -1, []int32{3}, ""},
		"null stop":   {object{"config.json": object{"eos_token_id": nil}}, -1, -1, nil, ""},
		"unknown eos": {object{"tokenizer_config.json": object{"eos_token": "<|x|>"}}, 0, 0, nil, "tokenizer_config.json: eos_token"},
		"unknown pad": {object{"tokenizer_config.json": object{"pad_token": "<|x|>"}}, -1, -1, nil, ""},
		"bad stop":    {object{"config.json": object{"eos_token_id": -3}}, 0, 0, nil, "config.json: eos_token_id"},
		"bad config":  {object{"tokenizer_config.json": []any{}}, 0, 0, nil, "tokenizer_config.json"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeJSON(t, filepath.Join(dir, "tokenizer.json"), tiny())
			for file, v := range c.files {
				writeJSON(t, filepath.Join(dir, file), v)
			}
			tok, err := Load(dir)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.HasPrefix(err.Error(), dir) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tok.bos != c.bos || tok.eos != c.eos || !slices.Equal(tok.Stops(), c.stops) {
				t.Errorf("BOS %d, EOS %d, stops %v, want %d, %d, %v", tok.bos, tok.eos, tok.Stops(), c.bos, c.eos, c.stops)
			}
			if tok.AddsBOS() {
				t.Error("adds BOS, which tokenizer.json does not say")
			}
		})
	}
	// A token that the config calls special is one, also where tokenizer.json
	// does not list it among the added ones.
	dir := t.TempDir()
	writeJSON(t, filepath.Join(dir, "tokenizer.json"), tiny())
	writeJSON(t, filepath.Join(dir, "tokenizer_config.json"), object{"unk_token": "<unk>"})
	tok, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("ab<unk>", false); !slices.Equal(got, []int32{3, 5}) || !tok.IsSpecial(5) {
		t.Errorf("Encode = %v, special %v, want [3 5], true", got, tok.IsSpecial(5))
	}
}

// metadata is that of a GGUF file.
type metadata object

func (m metadata) Path() string { return "model.gguf" }
func (m metadata) Value(key string) (any, bool) {
	v, ok := m[key]
	return v, ok
}

// ggufOf is a tokenizer's vocabulary as a GGUF file has it.
func ggufOf(tb testing.TB, name, pre string) metadata {
	tb.Helper()
	var f struct {
		Model struct {
			Vocab  map[string]int32
			Merges [][2]string
		}
	}
	if err := json.Unmarshal(gunzip(tb, name+".json.gz"), &f); err != nil {
		tb.Fatal(err)
	}
	tokens := make([]string, len(f.Model.Vocab))
	for s, id := range f.Model.Vocab {
		tokens[id] = s
	}
	merges := make([]string, len(f.Model.Merges))
	for i, m := range f.Model.Merges {
		merges[i] = m[0] + " " + m[1]
	}
	return metadata{
		"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": merges,
		"tokenizer.ggml.bos_token_id": uint32(0), "tokenizer.ggml.eos_token_id": uint32(1),
	}
}

// The pre-tokenizers that GGUF names are those of the tokenizer.json files.
func TestGGUFPre(t *testing.T) {
	texts := testStrings(t)
	for pre, name := range map[string]string{"gpt-2": "gpt2", "smollm": "smollm", "llama-bpe": "llama3", "llama3": "llama3", "llama-v3": "llama3", "qwen2": "qwen2", "deepseek-r1-qwen": "qwen2", "tekken": "tekken"} {
		g, err := FromGGUF(ggufOf(t, name, pre))
		if err != nil {
			t.Fatal(err)
		}
		var f object
		if err := json.Unmarshal(gunzip(t, name+".json.gz"), &f); err != nil {
			t.Fatal(err)
		}
		delete(f, "added_tokens")
		if pre != "qwen2" { // which has its normal form C in GGUF files too
			delete(f, "normalizer")
		}
		delete(f, "post_processor")
		data, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		j, err := parse(data, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			if got, want := g.Encode(text, false), j.Encode(text, false); !slices.Equal(got, want) {
				t.Fatalf("%s: Encode(%q) = %q, want %q", pre, text, tokensOf(g, got), tokensOf(j, want))
			}
		}
		if want := name == "llama3" || name == "tekken"; g.AddsBOS() != want {
			t.Errorf("%s: AddsBOS() = %v, want %v", pre, g.AddsBOS(), want)
		}
	}
}

// What llama.cpp's "default" cuts, by its regular expressions in turn.
func TestGGUFDefault(t *testing.T) {
	split, err := parsePreTokenizer(json.RawMessage(presGGUF["default"].json), 0, new(growth))
	if err != nil {
		t.Fatal(err)
	}
	got := split(nil, "It's $5.00, 12345678 x²!\n  ok", true)
	want := []string{"It", "'", "s", "Ġ", "$", "5", ".", "00", ",", "Ġ", "123", "456", "78", "Ġx", "Â²", "!", "ĊĠ", "Ġok"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestGGUFErrors(t *testing.T) {
	for name, c := range map[string]struct {
		key   string
		value any
		want  string
	}{
		"model":    {"model", "bert", `tokenizer.ggml.model: type "bert"`},
		"pre":      {"pre", "viking", `tokenizer.ggml.pre: type "viking"`},
		"kind":     {"pre", int32(3), "tokenizer.ggml.pre: is a int32"},
		"tokens":   {"tokens", []string{}, "0 tokens"},
		"twice":    {"tokens", []string{"a", "a"}, `"a" is token 0 and token 1`},
		"types":    {"token_type", []int32{1}, "1 types"},
		"merges":   {"merges", []string{"a"}, "merge 0"},
		"merge":    {"merges", []string{"\u4e00 b"}, "merge 0"},
		"bos":      {"bos_token_id", uint32(1 << 20), "bos_token_id: 1048576"},
		"eos":      {"eos_token_id", "x", "eos_token_id: x"},
		"negative": {"eot_token_id", int64(-1), "eot_token_id: -1"},
		"add":      {"add_bos_token", uint8(1), "add_bos_token: is a uint8"},
	} {
		t.Run(name, func(t *testing.T) {
			m := ggufOf(t, "gpt2", "gpt-2")
			m["tokenizer.ggml."+c.key] = c.value
			if _, err := FromGGUF(m); err == nil || !strings.HasPrefix(err.Error(), "model.gguf: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that names the file and %q", err, c.want)
			}
		})
	}
}

func TestGGUFAdds(t *testing.T) {
	m := ggufOf(t, "gpt2", "gpt-2")
	delete(m, "tokenizer.ggml.pre") // then it is "default"
	m["tokenizer.ggml.add_bos_token"] = true
	m["tokenizer.ggml.add_eos_token"] = true
	m["tokenizer.ggml.eot_token_id"] = int32(5)
	m["tokenizer.ggml.token_type"] = slices.Repeat([]int32{1}, len(m["tokenizer.ggml.tokens"].([]string)))
	m["tokenizer.ggml.token_type"].([]int32)[0] = pieceControl
	tok, err := FromGGUF(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("<|endoftext|>", true); !slices.Equal(got, []int32{0, 0, 1}) || !tok.AddsBOS() || !tok.AddsEOS() {
		t.Errorf("Encode = %v, want [0 0 1]", got)
	}
	if got := tok.Stops(); !slices.Equal(got, []int32{1, 5}) {
		t.Errorf("Stops() = %v, want [1 5]", got)
	}
	if p, s := tok.Prefix(), tok.Suffix(); !slices.Equal(p, []int32{0}) || !slices.Equal(s, []int32{1}) {
		t.Errorf("Prefix, Suffix = %v, %v, want [0], [1]", p, s)
	}
}

// Values from Python: bytes.decode(errors="replace").
func TestLossy(t *testing.T) {
	for in, want := range map[string]string{
		"a\xffb":               "a\ufffdb",
		"\xe2\x82":             "\ufffd",
		"\xe2\x82x":            "\ufffdx",
		"\xe2\xe2\x82\xac":     "\ufffd€",
		"\xf0\x9f\x98":         "\ufffd",
		"\xf0\x9f\x98\xf0":     "\ufffd\ufffd",
		"\xed\xa0\x80":         "\ufffd\ufffd\ufffd",
		"\xc0\x80":             "\ufffd\ufffd",
		"\xf4\x90\x80\x80":     "\ufffd\ufffd\ufffd\ufffd",
		"\xf0\x80\x80\x80":     "\ufffd\ufffd\ufffd\ufffd",
		"\xe0\x9f\xbf":         "\ufffd\ufffd\ufffd",
		"\x80\x80é":            "\ufffd\ufffdé",
		"\xf8\x88\x80\x80\x80": "\ufffd\ufffd\ufffd\ufffd\ufffd",
	} {
		if got := string(appendLossy(nil, in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	tok := trained(t, "gpt2")
	if got := tok.Decode(tok.Encode("a\xf0\x9f\xffb", false), false); got != "a\ufffd\ufffdb" {
		t.Errorf("a text that is no UTF-8 comes back as %q", got)
	}
}

// What a stream gives out is whole characters, as early as can be.
func TestStreamCharacters(t *testing.T) {
	tok := trained(t, "gpt2")
	var ids []int32
	for _, b := range []byte("é€😀") {
		id, ok := tok.TokenToID(string(byteChars[b]))
		if !ok {
			t.Fatalf("no token for byte %#x", b)
		}
		ids = append(ids, id)
	}
	s := tok.Stream(false)
	var got []string
	for _, id := range ids {
		got = append(got, s.Next(id))
	}
	if want := []string{"", "é", "", "", "€", "", "", "", "😀"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	s.Next(ids[0])
	if got := s.Flush(); got != "\ufffd" || s.Flush() != "" {
		t.Errorf("Flush() = %q, want U+FFFD once", got)
	}
}

// A long word takes n·log n steps: a million characters would take minutes if
// it were their square.
func TestLongWord(t *testing.T) {
	tok := trained(t, "gpt2")
	text := strings.Repeat("abcdefgh", 1<<17)
	start := time.Now()
	ids := tok.Encode(text, false)
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("%d characters took %v", len(text), d)
	}
	if got := tok.Decode(ids, false); got != text {
		t.Error("a long word does not come back")
	}
}

func TestAccessors(t *testing.T) {
	tok := trained(t, "llama3")
	seen := 0
	for id := range int32(tok.VocabSize()) {
		s, ok := tok.IDToToken(id)
		if !ok {
			continue
		}
		seen++
		if back, ok := tok.TokenToID(s); !ok || back != id {
			t.Errorf("TokenToID(%q) = %d, %v, want %d", s, back, ok, id)
		}
	}
	if seen != tok.VocabSize() {
		t.Errorf("%d of %d ids are tokens", seen, tok.VocabSize())
	}
	for _, id := range []int32{-1, int32(tok.VocabSize())} {
		if s, ok := tok.IDToToken(id); ok || tok.IsSpecial(id) || tok.Decode([]int32{id}, false) != "" {
			t.Errorf("IDToToken(%d) = %q", id, s)
		}
	}
	if _, ok := tok.TokenToID("no such token"); ok {
		t.Error("a token that there is not has an id")
	}
	if id, _ := tok.TokenToID("<|im_start|>"); !tok.IsSpecial(id) {
		t.Error("<|im_start|> is not special")
	}
}

func TestConcurrent(t *testing.T) {
	tok := trained(t, "prefix")
	texts := testStrings(t)[:300]
	want := make([][]int32, len(texts))
	for i, s := range texts {
		want[i] = tok.Encode(s, true)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i, s := range texts {
				if got := tok.Encode(s, true); !slices.Equal(got, want[i]) {
					t.Errorf("%q: %v, want %v", s, got, want[i])
				}
			}
		})
	}
	wg.Wait()
}

func FuzzParse(f *testing.F) {
	add := func(v any) {
		data, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	add(tiny())
	add(with(object{"type": "Sequence", "normalizers": []any{object{"type": "NFC"}, object{"type": "Prepend", "prepend": "x"}, object{"type": "Strip", "strip_left": true}}}, "normalizer"))
	add(with(object{"type": "Sequence", "pretokenizers": []any{object{"type": "Digits", "individual_digits": true}, object{"type": "Split", "pattern": object{"Regex": patternLlama3}, "behavior": "MergedWithNext", "invert": true}}}, "pre_tokenizer"))
	add(with(object{"type": "TemplateProcessing", "single": []any{object{"SpecialToken": object{"id": "<s>"}}, object{"Sequence": object{"id": "A"}}}, "special_tokens": object{"<s>": object{"ids": []any{6}}}}, "post_processor"))
	add(with("<unk>", "model", "unk_token"))
	spm := with(object{"type": "Sequence", "decoders": []any{
		object{"type": "Replace", "pattern": object{"String": "Ġ"}, "content": " "}, object{"type": "ByteFallback"}, object{"type": "Fuse"},
		object{"type": "Strip", "content": " ", "start": 1, "stop": 2}, object{"type": "Replace", "pattern": object{"String": "ab"}, "content": "c"}, object{"type": "ByteLevel"},
	}}, "decoder")
	spm["pre_tokenizer"] = object{"type": "Sequence", "pretokenizers": []any{object{"type": "Metaspace", "replacement": "Ġ", "prepend_scheme": "first", "split": false}, object{"type": "Split", "pattern": object{"Regex": patternTekken}, "behavior": "Isolated"}}}
	spm["model"] = object{"type": "BPE", "unk_token": "b", "fuse_unk": true, "byte_fallback": true, "vocab": object{"<0xC3>": 0, "<0xA9>": 1, "a": 2, "b": 3, "Ġ": 4, "Ġa": 5}, "merges": []any{[]any{"Ġ", "a"}}}
	add(spm)
	add(with(object{"type": "Metaspace", "replacement": "▁"}, "decoder"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := parse(data, []string{"<s>"})
		if err != nil {
			return
		}
		for _, text := range []string{"", "ab a <s>ab</s>  \n1 é\u0301", "\xff'S ab"} {
			ids := tok.Encode(text, true)
			if s := tok.Decode(ids, false); !utf8.ValidString(s) {
				t.Errorf("decoded %q is not UTF-8", s)
			}
			if got, want := streamAll(tok, ids, true), tok.Decode(ids, true); got != want {
				t.Errorf("streamed %q, decoded %q", got, want)
			}
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	for _, s := range testStrings(f)[:200] {
		f.Add(s)
	}
	tok, err := FromGGUF(ggufOf(f, "llama3", "llama-bpe"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want := string(appendLossy(nil, text))
		if got := tok.Decode(tok.Encode(text, false), false); got != want {
			t.Errorf("%q comes back as %q", text, got)
		}
	})
}

// Prose and code of many scripts, special tokens among them.
func BenchmarkEncode(b *testing.B) {
	text := strings.Join(testStrings(b)[25:], "\n")
	ascii := strings.Repeat("The quick brown fox jumps over the lazy dog. for (int i = 0; i < n; ++i) { x[i] += 1.5; }\n", 2000)
	for _, name := range []string{"gpt2", "llama3", "smollm", "qwen2"} {
		tok := trained(b, name)
		for kind, text := range map[string]string{"mixed": text, "ascii": ascii} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					tok.Encode(text, false)
				}
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	text := strings.Join(testStrings(b)[25:], "\n")
	tok := trained(b, "llama3")
	ids := tok.Encode(text, false)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tok.Decode(ids, false)
	}
}

func ExampleLoad() {
	dir, err := os.MkdirTemp("", "tokenizer")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "tokenizer.json")
	data, err := json.Marshal(tiny())
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(path, data, 0o666); err != nil {
		panic(err)
	}
	t, err := Load(path)
	if err != nil {
		panic(err)
	}
	ids := t.Encode("ab ab<s>", true)
	fmt.Println(ids, t.Decode(ids, true))
	// Output: [3 4 6] ab ab
}

func ExampleTokenizer_Stream() {
	data, err := json.Marshal(tiny())
	if err != nil {
		panic(err)
	}
	t, err := parse(data, nil)
	if err != nil {
		panic(err)
	}
	s := t.Stream(true)
	for _, id := range []int32{3, 4, 7} {
		fmt.Printf("%q ", s.Next(id))
	}
	fmt.Printf("%q\n", s.Flush())
	// Output: "ab" " ab" "" ""
}
