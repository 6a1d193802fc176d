package tokenizer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decoder makes the state that decodes one sequence of tokens.
type decoder func() sequence

// sequence decodes token by token. Next and end append the text that has become
// certain.
type sequence interface {
	next(dst []byte, id int32, token string) []byte
	end(dst []byte) []byte
}

func (t *Tokenizer) decodeSequence(ids []int32, skipSpecial bool) string {
	seq := t.decoder()
	var b []byte
	for _, id := range ids {
		if p, ok := t.piece(id, skipSpecial); ok {
			b = seq.next(b, id, p)
		}
	}
	return string(seq.end(b))
}

// decodeStep is one decoder of a tokenizer.json. Each takes a list of tokens
// and returns one; behind Fuse and ByteLevel the list has one token, the whole
// text, which is handed on in parts.
type decodeStep struct {
	kind  decodeKind
	fused bool // gets one token, in parts
	held  bool // works on the whole token and so waits for its end

	from, to    string // Replace
	content     rune   // Strip
	start, stop int
	meta        metaspace
}

type decodeKind int

const (
	decodeReplace decodeKind = iota
	decodeByteFallback
	decodeFuse
	decodeStrip
	decodeMetaspace
	decodeByteLevel
)

// parseDecoder reads the decoder of a tokenizer.json. ByteLevel alone, and none
// at all (tokens joined by spaces), are left to Decode itself.
func parseDecoder(raw json.RawMessage) (d decoder, byteLevel bool, err error) {
	typ, err := typeOf(raw)
	if err != nil || typ == "" {
		return nil, false, wrapKey("decoder", err)
	}
	if typ == "ByteLevel" {
		return nil, true, nil
	}
	steps, err := parseDecodeSteps(nil, raw, 0, new(growth))
	if err != nil {
		return nil, false, wrapKey("decoder", err)
	}
	fused := false
	for i := range steps {
		s := &steps[i]
		s.fused = fused
		switch s.kind {
		case decodeFuse, decodeByteLevel:
			s.held = fused && s.kind == decodeByteLevel
			fused = true
		case decodeByteFallback:
			s.held = fused
		case decodeReplace:
			s.held = fused && utf8.RuneCountInString(s.from) != 1
		}
	}
	return func() sequence { return &decodeChain{steps: steps, state: make([]decodeState, len(steps))} }, false, nil
}

func parseDecodeSteps(steps []decodeStep, raw json.RawMessage, depth int, g *growth) ([]decodeStep, error) {
	typ, err := typeOf(raw)
	if err != nil || typ == "" {
		return steps, err
	}
	if err := g.add(1); err != nil {
		return nil, err
	}
	var s decodeStep
	switch typ {
	case "Sequence":
		if depth >= maxDepth {
			return nil, fmt.Errorf("a Sequence nested deeper than %d", maxDepth)
		}
		var f struct {
			Decoders []json.RawMessage `json:"decoders"`
		}
		if err := json.Unmarshal(raw, &f); err != nil {
			return nil, err
		}
		for _, r := range f.Decoders {
			if steps, err = parseDecodeSteps(steps, r, depth+1, g); err != nil {
				return nil, err
			}
		}
		return steps, nil
	case "Replace":
		s.kind = decodeReplace
		if s.from, s.to, err = parseReplaceFields(raw, g); err != nil {
			return nil, err
		}
	case "ByteFallback":
		s.kind = decodeByteFallback
	case "Fuse":
		s.kind = decodeFuse
	case "Strip":
		s.kind = decodeStrip
		var f struct {
			Content     string `json:"content"`
			Start, Stop int
		}
		if err := json.Unmarshal(raw, &f); err != nil {
			return nil, err
		}
		r, n := utf8.DecodeRuneInString(f.Content)
		if n == 0 || n != len(f.Content) || f.Start < 0 || f.Stop < 0 {
			return nil, fmt.Errorf("type %q: content %q, start %d, stop %d, want one character and no negative number", typ, f.Content, f.Start, f.Stop)
		}
		s.content, s.start, s.stop = r, f.Start, f.Stop
	case "Metaspace":
		s.kind = decodeMetaspace
		if s.meta, err = parseMetaspaceFields(raw); err != nil {
			return nil, err
		}
	case "ByteLevel":
		s.kind = decodeByteLevel
	default:
		return nil, unsupported(typ, "ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip or Sequence")
	}
	return append(steps, s), nil
}

// decodeChain runs the steps one after the other.
type decodeChain struct {
	steps []decodeStep
	state []decodeState
	out   []byte
}

// decodeState is what a step remembers from token to token.
type decodeState struct {
	pending []byte // bytes that wait, or the text of a step that is held
	started bool   // has seen a token, or (Strip) something that stays
	count   int    // Strip: what has been taken at the beginning
}

func (c *decodeChain) next(dst []byte, _ int32, token string) []byte {
	c.out = dst
	c.feed(0, token)
	return c.out
}

func (c *decodeChain) end(dst []byte) []byte {
	c.out = dst
	for i := range c.steps {
		c.flush(i)
	}
	return c.out
}

// feed gives step i a token, or a part of the one token.
func (c *decodeChain) feed(i int, s string) {
	if i == len(c.steps) {
		c.out = append(c.out, s...)
		return
	}
	step, st := &c.steps[i], &c.state[i]
	if step.held {
		st.pending = append(st.pending, s...)
		return
	}
	switch step.kind {
	case decodeReplace:
		c.feed(i+1, strings.ReplaceAll(s, step.from, step.to))
	case decodeByteFallback:
		if b, ok := byteOf(s); ok {
			st.pending = append(st.pending, b)
			return
		}
		c.flush(i)
		c.feed(i+1, s)
	case decodeFuse:
		c.feed(i+1, s)
	case decodeStrip:
		if step.fused {
			c.stripPart(i, s)
		} else {
			c.feed(i+1, stripToken(s, step))
		}
	case decodeMetaspace:
		first := step.fused || !st.started
		st.started = true
		space := " "
		if first && step.meta.scheme != "never" {
			space = ""
		}
		c.feed(i+1, strings.ReplaceAll(s, step.meta.space, space))
	case decodeByteLevel:
		var b strings.Builder
		b.Write(st.pending)
		writeByteLevelDecoded(&b, s)
		all := b.String()
		whole := len(all) - incompleteTail(all)
		st.pending = append(st.pending[:0], all[whole:]...)
		c.feed(i+1, string(appendLossy(nil, all[:whole])))
	}
}

// flush lets step i hand on what it still has.
func (c *decodeChain) flush(i int) {
	step, st := &c.steps[i], &c.state[i]
	if len(st.pending) == 0 {
		return
	}
	s := string(st.pending)
	st.pending = st.pending[:0]
	switch {
	case step.kind == decodeByteFallback && step.held:
		if b, ok := byteOf(s); ok {
			s = bytesText([]byte{b})
		}
	case step.kind == decodeByteFallback:
		s = bytesText([]byte(s))
	case step.kind == decodeReplace:
		s = strings.ReplaceAll(s, step.from, step.to)
	case step.kind == decodeStrip: // what may be taken at the end
		n := min(step.stop, utf8.RuneCountInString(s))
		s = s[:len(s)-n*utf8.RuneLen(step.content)]
	case step.kind == decodeByteLevel && step.held:
		var b strings.Builder
		writeByteLevelDecoded(&b, s)
		s = string(appendLossy(nil, b.String()))
	case step.kind == decodeByteLevel:
		s = string(appendLossy(nil, s))
	}
	c.feed(i+1, s)
}

// stripPart strips a token that comes in parts: characters at the beginning at
// once, and those at the end are kept back until others follow.
func (c *decodeChain) stripPart(i int, s string) {
	step, st := &c.steps[i], &c.state[i]
	for !st.started && s != "" {
		r, n := utf8.DecodeRuneInString(s)
		if st.count == step.start || r != step.content {
			st.started = true
			break
		}
		st.count++
		s = s[n:]
	}
	if s == "" {
		return
	}
	if step.stop == 0 {
		c.feed(i+1, s)
		return
	}
	whole := strings.TrimRight(s, string(step.content))
	if whole != "" {
		c.feed(i+1, string(st.pending)+whole)
		st.pending = st.pending[:0]
	}
	st.pending = append(st.pending, s[len(whole):]...)
}

func stripToken(s string, step *decodeStep) string {
	for range step.start {
		r, n := utf8.DecodeRuneInString(s)
		if n == 0 || r != step.content {
			break
		}
		s = s[n:]
	}
	for range step.stop {
		r, n := utf8.DecodeLastRuneInString(s)
		if n == 0 || r != step.content {
			break
		}
		s = s[:len(s)-n]
	}
	return s
}

// byteOf returns the byte that a token <0x00> to <0xFF> stands for.
func byteOf(token string) (byte, bool) {
	if len(token) != 6 || token[:3] != "<0x" || token[5] != '>' {
		return 0, false
	}
	digits := token[3:5]
	if digits[0] == '+' { // which Rust reads too
		digits = digits[1:]
	}
	b, err := strconv.ParseUint(digits, 16, 8)
	return byte(b), err == nil
}

// bytesText is a run of bytes as text: if it is no UTF-8, one U+FFFD for each
// byte.
func bytesText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.Repeat("\ufffd", len(b))
}
