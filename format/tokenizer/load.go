package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/internal/mapped"
)

// maxFileSize bounds a tokenizer's file; the largest in use have some 35 MB.
const maxFileSize = 1 << 27

// Bounds on lists in files, checked before they are read: an element of two
// bytes would become a hundred in memory. The largest tokenizers in use have
// some 520,000 merges and some thousand added tokens; parts are a few kilobytes.
const (
	maxMerges     = 1 << 21
	maxAddedParts = 1 << 20 // values in added_tokens
	maxPart       = 1 << 20 // bytes of a normalizer, pre_tokenizer, post_processor or decoder
	maxConfigSize = 1 << 24 // bytes of the other files of a folder
	maxStops      = 1 << 10
)

// atMost refuses a list with more than limit of the bytes that its elements
// bring with them.
func atMost(key string, raw []byte, element string, limit int) error {
	if n := bytes.Count(raw, []byte(element)); n > limit {
		return fmt.Errorf("%s: %d values, want at most %d", key, n, limit)
	}
	return nil
}

// Load reads a tokenizer.json, a SentencePiece tokenizer.model (by its ending,
// .model), or the one in a Hugging Face folder: tokenizer.json if there is one,
// else tokenizer.model.
//
// A tokenizer.json alone does not say which token is BOS or EOS. Of a folder,
// tokenizer_config.json and special_tokens_map.json are read for that, and
// generation_config.json (or else config.json) for the ids that end generation.
// As in transformers 5, what Encode adds is decided by tokenizer.json's
// post_processor alone: add_bos_token and add_eos_token beside a tokenizer.json
// are not read. Its truncation and padding, which transformers replaces at
// every call, are not read either. Where a space is put before a text is
// decided by tokenizer.json too, as in the Rust library and transformers 4;
// transformers 5 builds the normaliser of the class LlamaTokenizer anew from
// legacy and add_prefix_space of tokenizer_config.json whatever the file says.
//
// A tokenizer.model is read as the SentencePiece library reads it, with its
// control pieces found inside the text besides. Of tokenizer_config.json, what
// transformers heeds is: add_bos_token (true if absent), add_eos_token,
// add_prefix_space, added_tokens_decoder, and legacy. With legacy the text
// behind every special token gets a space put before it; without (if absent, as
// in transformers 5) only the beginning of the text does.
func Load(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		if filepath.Ext(path) == ".model" {
			return loadModel(path, spmOptions{addBOS: true})
		}
		return loadFile(path)
	}
	return loadFolder(path)
}

func loadFile(path string, specials ...string) (*Tokenizer, error) {
	data, err := readFile(path, maxFileSize)
	if err != nil {
		return nil, err
	}
	t, err := parse(data, specials)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func readFile(path string, limit int64) ([]byte, error) { return mapped.ReadFile(path, limit) }

// parse reads a tokenizer.json. Those of the specials that are in the vocabulary
// but not among its added tokens are added to them, as transformers does.
func parse(data []byte, specials []string) (*Tokenizer, error) {
	var f struct {
		Version       string          `json:"version"`
		AddedTokens   json.RawMessage `json:"added_tokens"`
		Normalizer    json.RawMessage `json:"normalizer"`
		PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
		PostProcessor json.RawMessage `json:"post_processor"`
		Decoder       json.RawMessage `json:"decoder"`
		Model         json.RawMessage `json:"model"`
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	if f.Version != "" && f.Version != "1.0" {
		return nil, fmt.Errorf("version %q, want 1.0", f.Version)
	}
	for key, part := range map[string]json.RawMessage{"normalizer": f.Normalizer, "pre_tokenizer": f.PreTokenizer, "post_processor": f.PostProcessor, "decoder": f.Decoder} {
		if len(part) > maxPart {
			return nil, fmt.Errorf("%s: %d bytes, want at most %d", key, len(part), maxPart)
		}
	}
	var added []addedToken
	if err := atMost("added_tokens", f.AddedTokens, ",", maxAddedParts); err != nil {
		return nil, err
	}
	if len(f.AddedTokens) > 0 {
		if err := json.Unmarshal(f.AddedTokens, &added); err != nil {
			return nil, wrapKey("added_tokens", err)
		}
	}
	t := &Tokenizer{bos: -1, eos: -1, pad: -1, unk: -1}
	var err error
	if t.model, err = parseModel(f.Model); err != nil {
		return nil, err
	}
	if t.normalize, err = parseNormalizer(f.Normalizer, 0, new(growth)); err != nil {
		return nil, err
	}
	if t.split, err = parsePreTokenizer(f.PreTokenizer, 0, new(growth)); err != nil {
		return nil, err
	}
	if t.prefix, t.suffix, err = parsePostProcessor(f.PostProcessor, 0); err != nil {
		return nil, err
	}
	if t.decoder, t.byteLevel, err = parseDecoder(f.Decoder); err != nil {
		return nil, err
	}
	t.parts = parts{f.Normalizer, f.PreTokenizer, f.Decoder}
	if err := t.addTokens(added, specials); err != nil {
		return nil, err
	}
	if err := t.finish(); err != nil {
		return nil, err
	}
	for _, id := range slices.Concat(t.prefix, t.suffix) {
		if _, ok := t.IDToToken(id); !ok {
			return nil, fmt.Errorf("post_processor: id %d is no token's", id)
		}
	}
	return t, nil
}

// addTokens makes the added vocabulary: the tokens, and those of the specials
// that are in the model's vocabulary besides.
func (t *Tokenizer) addTokens(tokens []addedToken, specials []string) (err error) {
	seen := make(map[string]bool, len(tokens))
	for i := range tokens {
		seen[tokens[i].Content] = true
	}
	for _, s := range specials {
		id, ok := t.model.tokenID(s)
		if ok && !seen[s] {
			seen[s] = true
			tokens = append(tokens, addedToken{ID: int64(id), Content: s, Special: true})
		}
	}
	t.added, err = newAddedVocabulary(tokens, t.model, t.normalize)
	return err
}

// parseModel reads the model of a tokenizer.json. Old files name no type; BPE
// is the one that has merges.
func parseModel(raw json.RawMessage) (model, error) {
	if len(raw) == 0 {
		return nil, errors.New("no model")
	}
	var f struct {
		Type   *string         `json:"type"`
		Merges json.RawMessage `json:"merges"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, wrapKey("model", err)
	}
	if f.Type == nil {
		if f.Merges == nil {
			return nil, errors.New("model: no type")
		}
		return parseBPE(raw)
	}
	if *f.Type != "BPE" {
		return nil, wrapKey("model", unsupported(*f.Type, "BPE"))
	}
	return parseBPE(raw)
}

// tokenName is a token in a config file: a string, or an object with content.
type tokenName string

func (n *tokenName) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var f struct {
		Content string `json:"content"`
	}
	if json.Unmarshal(b, (*string)(n)) == nil {
		return nil
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*n = tokenName(f.Content)
	return nil
}

// oneOrMore is a JSON number or a list of them.
type oneOrMore []int64

func (l *oneOrMore) UnmarshalJSON(b []byte) error {
	var one int64
	if string(b) != "null" && json.Unmarshal(b, &one) == nil {
		*l = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(b, (*[]int64)(l))
}

// loadModel reads a SentencePiece file.
func loadModel(path string, o spmOptions) (*Tokenizer, error) {
	data, err := readFile(path, maxFileSize)
	if err != nil {
		return nil, err
	}
	t, err := parseSPM(data, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t.surround(o.addBOS, o.addEOS)
	return t, nil
}

// surround lets Encode add BOS and EOS, if there are such tokens.
func (t *Tokenizer) surround(addBOS, addEOS bool) {
	t.prefix, t.suffix = nil, nil
	if addBOS && t.bos >= 0 {
		t.prefix = []int32{t.bos}
	}
	if addEOS && t.eos >= 0 {
		t.suffix = []int32{t.eos}
	}
}

// folderOptions are the keys of a tokenizer_config.json that concern a
// tokenizer.model only.
type folderOptions struct {
	Legacy         bool                  `json:"legacy"`
	AddBOS         *bool                 `json:"add_bos_token"`
	AddEOS         bool                  `json:"add_eos_token"`
	AddPrefixSpace *bool                 `json:"add_prefix_space"`
	Added          map[string]addedToken `json:"added_tokens_decoder"`
}

func (f folderOptions) spm(specials []string) (spmOptions, error) {
	o := spmOptions{
		legacy:   f.Legacy,
		addBOS:   f.AddBOS == nil || *f.AddBOS,
		addEOS:   f.AddEOS,
		noPrefix: f.AddPrefixSpace != nil && !*f.AddPrefixSpace,
		specials: specials,
	}
	for key, a := range f.Added {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil || id < 0 || id >= maxID {
			return o, fmt.Errorf("added_tokens_decoder: %q, want an id from 0 to %d", key, maxID-1)
		}
		a.ID = id
		o.added = append(o.added, a)
	}
	slices.SortFunc(o.added, func(a, b addedToken) int { return cmp.Compare(a.ID, b.ID) })
	return o, nil
}

// loadFolder reads a tokenizer.json or tokenizer.model and what the files
// beside it say of its tokens.
func loadFolder(dir string) (*Tokenizer, error) {
	type named struct {
		file, key string
		token     tokenName
	}
	var names [4]named // BOS, EOS, padding and unknown
	var specials []string
	// The first file that names a token decides.
	for _, file := range []string{"tokenizer_config.json", "special_tokens_map.json"} {
		var f struct {
			BOS   tokenName   `json:"bos_token"`
			EOS   tokenName   `json:"eos_token"`
			Pad   tokenName   `json:"pad_token"`
			Unk   tokenName   `json:"unk_token"`
			Extra []tokenName `json:"additional_special_tokens"`
		}
		path := filepath.Join(dir, file)
		if _, err := readJSON(path, &f); err != nil {
			return nil, err
		}
		for i, n := range []named{{path, "bos_token", f.BOS}, {path, "eos_token", f.EOS}, {path, "pad_token", f.Pad}, {path, "unk_token", f.Unk}} {
			if names[i].token == "" {
				names[i] = n
			}
			f.Extra = append(f.Extra, n.token)
		}
		for _, s := range f.Extra {
			specials = append(specials, string(s))
		}
	}
	var options spmOptions // of a tokenizer.model
	file := filepath.Join(dir, "tokenizer.json")
	t, err := loadFile(file, specials...)
	if errors.Is(err, fs.ErrNotExist) {
		noJSON := err
		config := filepath.Join(dir, "tokenizer_config.json")
		var f folderOptions
		if _, err := readJSON(config, &f); err != nil {
			return nil, err
		}
		if options, err = f.spm(specials); err != nil {
			return nil, fmt.Errorf("%s: %w", config, err)
		}
		file = filepath.Join(dir, "tokenizer.model")
		if t, err = loadModel(file, options); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w, and no tokenizer.model", noJSON)
		}
	}
	if err != nil {
		return nil, err
	}
	for i, to := range []*int32{&t.bos, &t.eos, &t.pad, &t.unk} {
		n := names[i]
		if n.token == "" {
			continue
		}
		id, ok := t.TokenToID(string(n.token))
		if ok {
			*to = id
		} else if to == &t.bos || to == &t.eos {
			return nil, fmt.Errorf("%s: %s: %q is not in the vocabulary of %s", n.file, n.key, string(n.token), filepath.Base(file))
		}
	}
	if filepath.Base(file) == "tokenizer.model" {
		t.surround(options.addBOS, options.addEOS)
	}
	return t, t.readStops(dir)
}

// readStops reads the ids that end generation: the first of the files that
// there is says it.
func (t *Tokenizer) readStops(dir string) error {
	if t.eos >= 0 {
		t.stops = append(t.stops, t.eos)
	}
	for _, name := range []string{"generation_config.json", "config.json"} {
		var f struct {
			EOS oneOrMore `json:"eos_token_id"`
		}
		path := filepath.Join(dir, name)
		found, err := readJSON(path, &f)
		if err != nil {
			return err
		}
		for _, id := range f.EOS {
			if id < 0 || id >= maxID {
				return fmt.Errorf("%s: eos_token_id: %d, want 0 to %d", path, id, maxID-1)
			}
			if slices.Contains(t.stops, int32(id)) {
				continue
			}
			if t.stops = append(t.stops, int32(id)); len(t.stops) > maxStops {
				return fmt.Errorf("%s: eos_token_id: more than %d ids", path, maxStops)
			}
		}
		if found {
			break
		}
	}
	return nil
}

// readJSON reads a file into v, if there is one.
func readJSON(path string, v any) (found bool, err error) {
	data, err := readFile(path, maxConfigSize)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return true, fmt.Errorf("%s: %w", path, err)
	}
	return true, nil
}
