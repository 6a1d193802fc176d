package tokenizer

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// bounded runs f and fails if it takes long or much memory.
func bounded(t *testing.T, what string, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	f()
	d := time.Since(start)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; d > 5*time.Second || n > 1<<28 {
		t.Errorf("%s: %v, %d bytes", what, d, n)
	}
}

// hostile are what takes the place of a value.
func hostile() []any {
	deep := any("x")
	for range 2000 {
		deep = object{"type": "Sequence", "normalizers": []any{deep}, "pretokenizers": []any{deep}, "decoders": []any{deep}, "processors": []any{deep}}
		deep = object{"x": deep.(object)["normalizers"]}
	}
	return []any{
		nil, true, -1, int64(1 << 31), int64(1 << 40), 1e300, 0.5, "", "x", "\x00", "▁", strings.Repeat("<0xFF>", 2000), []any{}, object{}, []any{nil}, []any{[]any{"a", "a"}},
		object{"type": "Sequence"}, object{"type": "ByteLevel", "add_prefix_space": true}, object{"type": "Metaspace", "replacement": "a"}, object{"type": "Fuse"},
		object{"String": "a"}, slices.Repeat([]any{object{"type": "Fuse"}}, 300), deep,
	}
}

// mutations yields the value with each of its parts taken away, doubled, and
// changed to each of the hostile values.
func mutations(v any, yield func(what string, value any)) {
	switch v := v.(type) {
	case object:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			less := maps.Clone(v)
			delete(less, key)
			yield("without "+key, less)
			with := func(what string, value any) {
				m := maps.Clone(v)
				m[key] = value
				yield(key+": "+what, m)
			}
			for i, h := range hostile() {
				with(fmt.Sprint("hostile ", i), h)
			}
			mutations(v[key], with)
		}
	case []any:
		for i := range min(len(v), 3) {
			yield(fmt.Sprint("without ", i), slices.Delete(slices.Clone(v), i, i+1))
			yield(fmt.Sprint("twice ", i), slices.Insert(slices.Clone(v), i, v[i]))
			with := func(what string, value any) {
				l := slices.Clone(v)
				l[i] = value
				yield(fmt.Sprint(i, ": ", what), l)
			}
			for k, h := range hostile() {
				with(fmt.Sprint("hostile ", k), h)
			}
			mutations(v[i], with)
		}
	}
}

// smallSPM is a tokenizer.json in SentencePiece's form with all of its parts.
func smallSPM() object {
	return object{
		"version":      "1.0",
		"added_tokens": []any{object{"id": 0, "content": "<s>", "special": true}, object{"id": 9, "content": "[A]", "normalized": true, "lstrip": true, "rstrip": true, "single_word": true}},
		"normalizer": object{"type": "Sequence", "normalizers": []any{
			object{"type": "Prepend", "prepend": "▁"}, object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}, object{"type": "Strip", "strip_left": false, "strip_right": true}}},
		"pre_tokenizer": object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false},
		"decoder": object{"type": "Sequence", "decoders": []any{
			object{"type": "Replace", "pattern": object{"String": "▁"}, "content": " "}, object{"type": "ByteFallback"}, object{"type": "Fuse"}, object{"type": "Strip", "content": " ", "start": 1, "stop": 1}}},
		"post_processor": object{"type": "TemplateProcessing", "single": []any{object{"SpecialToken": object{"id": "<s>", "type_id": 0}}, object{"Sequence": object{"id": "A", "type_id": 0}}},
			"special_tokens": object{"<s>": object{"id": "<s>", "ids": []any{0}, "tokens": []any{"<s>"}}}},
		"model": object{"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
			"vocab": object{"<s>": 0, "<unk>": 1, "<0xC3>": 2, "<0xA9>": 3, "▁": 4, "a": 5, "b": 6, "ab": 7, "▁ab": 8}, "merges": []any{[]any{"a", "b"}, []any{"▁", "ab"}}},
	}
}

func TestMutatedJSON(t *testing.T) {
	for _, base := range []object{tiny(), smallSPM()} {
		good, cases := 0, 0
		mutations(base, func(what string, value any) {
			data, err := json.Marshal(value)
			if err != nil {
				return
			}
			cases++
			bounded(t, what, func() {
				tok, err := parse(data, []string{"<s>", "a"})
				if err != nil {
					if strings.Contains(err.Error(), "\n") {
						t.Errorf("%s: error of several lines: %v", what, err)
					}
					return
				}
				good++
				exercise(t, tok)
			})
		})
		if good < 100 || cases < 1000 || good == cases {
			t.Errorf("%d of %d files are read", good, cases)
		}
	}
}

// mutateProto yields the message with each field taken away, doubled, with its
// number or length changed, and so on inside.
func mutateProto(msg []byte, depth int, yield func([]byte)) {
	var fields [][]byte
	var parsed []protoField
	rest := msg
	for len(rest) > 0 {
		var f protoField
		var n int
		stop := fmt.Errorf("stop")
		if err := protoFields(rest, func(p protoField) error { f = p; return stop }); err != stop {
			return
		}
		// The length of the field: what reads as one field alone.
		for n = 1; n < len(rest); n++ {
			count := 0
			if protoFields(rest[:n], func(protoField) error { count++; return nil }) == nil && count == 1 {
				break
			}
		}
		fields, parsed = append(fields, rest[:n]), append(parsed, f)
		rest = rest[n:]
	}
	for i, f := range parsed {
		with := func(b ...[]byte) {
			yield(slices.Concat(slices.Concat(fields[:i]...), slices.Concat(b...), slices.Concat(fields[i+1:]...)))
		}
		with()
		with(fields[i], fields[i])
		with(fields[i][:len(fields[i])-1])
		for _, v := range []uint64{0, 1, 6, 7, 1 << 20, 1<<31 - 1, 1 << 31, math.MaxUint64} {
			number := binary.AppendUvarint(nil, v)
			with(field(int(f.number), 0, number))
			with(field(int(f.number), 2, number))
			with(field(int(f.number), 5, binary.LittleEndian.AppendUint32(nil, uint32(v))))
			if f.wire == 2 {
				with(field(int(f.number), 2, number), f.data)
			}
		}
		if f.wire == 2 && depth > 0 {
			with(message(int(f.number), f.data, f.data))
			with(message(int(f.number), []byte(strings.Repeat("▁", 3000))))
			mutateProto(f.data, depth-1, func(b []byte) { with(message(int(f.number), b)) })
		}
	}
}

func TestMutatedModel(t *testing.T) {
	rules := message(3, message(2, []byte{8, 0, 0, 0, 0, 4, 0, 0, 'a', 1, 0, 0, 'x', 0}), protoInt(3, 1), protoInt(4, 0), protoInt(5, 1))
	base := tinyModel(protoPiece("<0x41>", 0, pieceByte), protoPiece("[U]", 0, pieceUser), protoPiece("ba", 0, pieceUnused),
		message(2, protoInt(3, 2), protoInt(35, 1), protoInt(40, 0), protoInt(41, 1), protoInt(42, 2), message(44, []byte("?"))), rules)
	good, cases := 0, 0
	mutateProto(base, 2, func(data []byte) {
		cases++
		bounded(t, fmt.Sprintf("%x", data), func() {
			tok, err := parseSPM(data, spmOptions{addBOS: true})
			if err != nil {
				return
			}
			good++
			exercise(t, tok)
		})
	})
	if good < 100 || cases < 1000 || good == cases {
		t.Errorf("%d of %d files are read", good, cases)
	}
}

// Lists that are long for what they say are refused before they are read.
func TestManyValues(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ json, want string }{
		"added":  {`{"model":{},"added_tokens":[` + strings.Repeat("{},", 2<<20) + `{}]}`, "added_tokens"},
		"vocab":  {`{"model":{"type":"BPE","merges":[],"vocab":{` + strings.Repeat(`"":0,`, maxID+1) + `"":0}}}`, "vocab"},
		"merges": {`{"model":{"type":"BPE","vocab":{},"merges":[` + strings.Repeat(`"",`, 5<<20) + `""]}}`, "merges"},
		"empty":  {`{"model":{"type":"BPE","vocab":{},"merges":[` + strings.Repeat(`[],`, 9<<20) + `[]]}}`, "merges"},
		"steps":  {`{"model":{},"normalizer":{"type":"Sequence","normalizers":[` + strings.Repeat(`0,`, 1<<20) + `0]}}`, "normalizer"},
	} {
		path := filepath.Join(dir, name+".json")
		if err := os.WriteFile(path, []byte(c.json), 0o666); err != nil {
			t.Fatal(err)
		}
		bounded(t, name, func() {
			if _, err := Load(path); err == nil || !strings.Contains(err.Error(), c.want+": ") || !strings.Contains(err.Error(), "want at most") {
				t.Errorf("%s: error %v", name, err)
			}
		})
	}
	path := filepath.Join(dir, "big.json")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(maxFileSize + 1); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "want at most") {
		t.Errorf("error %v for a file of %d bytes", err, maxFileSize+1)
	}
	writeJSON(t, filepath.Join(dir, "tokenizer.json"), tiny())
	ids := make([]int, 2000)
	for i := range ids {
		ids[i] = i
	}
	writeJSON(t, filepath.Join(dir, "config.json"), object{"eos_token_id": ids})
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "config.json: eos_token_id: more than") {
		t.Errorf("error %v for %d stops", err, len(ids))
	}
}
