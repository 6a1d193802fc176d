package tokenizer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// spmFile is what a SentencePiece file (a ModelProto of protocol buffers) says.
type spmFile struct {
	pieces []spmPiece

	modelType    uint64 // 1: unigram, 2: BPE
	byteFallback bool
	suffix       bool // treat_whitespace_as_suffix
	bos, eos     int32
	pad          int32
	unkSurface   string

	charsMap    []byte
	dummyPrefix bool
	removeExtra bool
	escape      bool
}

var errCutShort = errors.New("the file is cut short or is no SentencePiece model")

// protoField is a field of a message: a number, or bytes.
type protoField struct {
	number uint64
	value  uint64 // varint or fixed
	data   []byte // length-delimited, part of the message
	wire   uint64
}

// protoFields calls f with each field of a message; nothing is copied.
func protoFields(msg []byte, f func(protoField) error) error {
	varint := func() (uint64, error) {
		v, n := binary.Uvarint(msg)
		if n <= 0 {
			return 0, errCutShort
		}
		msg = msg[n:]
		return v, nil
	}
	for len(msg) > 0 {
		tag, err := varint()
		if err != nil {
			return err
		}
		p := protoField{number: tag >> 3, wire: tag & 7}
		switch p.wire {
		case 0:
			if p.value, err = varint(); err != nil {
				return err
			}
		case 1, 5:
			n := 4
			if p.wire == 1 {
				n = 8
			}
			if len(msg) < n {
				return errCutShort
			}
			var b [8]byte
			copy(b[:], msg[:n])
			p.value = binary.LittleEndian.Uint64(b[:])
			msg = msg[n:]
		case 2:
			n, err := varint()
			if err != nil {
				return err
			}
			if n > uint64(len(msg)) {
				return errCutShort
			}
			p.data, msg = msg[:n], msg[n:]
		default:
			return errCutShort
		}
		if p.number == 0 {
			return errCutShort
		}
		if err := f(p); err != nil {
			return err
		}
	}
	return nil
}

func parseSPMFile(data []byte) (*spmFile, error) {
	m := &spmFile{modelType: 1, bos: 1, eos: 2, pad: -1, unkSurface: " \u2047 ", dummyPrefix: true, removeExtra: true, escape: true}
	err := protoFields(data, func(p protoField) error {
		switch {
		case p.number == 1 && p.wire == 2:
			return m.piece(p.data)
		case p.number == 2 && p.wire == 2:
			return wrapKey("trainer_spec", m.trainer(p.data))
		case p.number == 3 && p.wire == 2:
			return wrapKey("normalizer_spec", m.normalizer(p.data))
		case p.number <= 3:
			return errCutShort
		}
		return nil
	})
	return m, err
}

func (m *spmFile) piece(msg []byte) error {
	if len(m.pieces) == maxID {
		return fmt.Errorf("more than %d pieces", maxID)
	}
	p := spmPiece{kind: pieceNormal}
	err := protoFields(msg, func(f protoField) error {
		switch {
		case f.number == 1 && f.wire == 2:
			p.text = string(f.data)
		case f.number == 2 && f.wire == 5:
			p.score = math.Float32frombits(uint32(f.value))
		case f.number == 3 && f.wire == 0:
			if f.value < pieceNormal || f.value > pieceByte {
				return fmt.Errorf("piece %d: type %d, want %d to %d", len(m.pieces), f.value, pieceNormal, pieceByte)
			}
			p.kind = int32(f.value)
		case f.number <= 3:
			return errCutShort
		}
		return nil
	})
	if err == nil && (p.text == "" || !utf8.ValidString(p.text)) {
		err = fmt.Errorf("piece %d: %q, want UTF-8 that is not empty", len(m.pieces), p.text)
	}
	m.pieces = append(m.pieces, p)
	return err
}

func (m *spmFile) trainer(msg []byte) error {
	return protoFields(msg, func(f protoField) error {
		switch {
		case f.number == 3 && f.wire == 0:
			m.modelType = f.value
		case f.number == 24 && f.wire == 0:
			m.suffix = f.value != 0
		case f.number == 35 && f.wire == 0:
			m.byteFallback = f.value != 0
		case f.number == 41 && f.wire == 0:
			m.bos = int32(f.value)
		case f.number == 42 && f.wire == 0:
			m.eos = int32(f.value)
		case f.number == 43 && f.wire == 0:
			m.pad = int32(f.value)
		case f.number == 44 && f.wire == 2:
			m.unkSurface = string(f.data)
		}
		return nil
	})
}

func (m *spmFile) normalizer(msg []byte) error {
	return protoFields(msg, func(f protoField) error {
		switch {
		case f.number == 2 && f.wire == 2:
			m.charsMap = f.data
		case f.number == 3 && f.wire == 0:
			m.dummyPrefix = f.value != 0
		case f.number == 4 && f.wire == 0:
			m.removeExtra = f.value != 0
		case f.number == 5 && f.wire == 0:
			m.escape = f.value != 0
		}
		return nil
	})
}

// spmOptions is what the files beside a tokenizer.model say.
type spmOptions struct {
	legacy   bool // the text behind an added token gets a dummy prefix too
	addBOS   bool
	addEOS   bool
	noPrefix bool         // no dummy prefix, whatever the model says
	added    []addedToken // besides the control pieces
	specials []string
}

// parseSPM builds the tokenizer of a SentencePiece file.
func parseSPM(data []byte, o spmOptions) (*Tokenizer, error) {
	f, err := parseSPMFile(data)
	if err != nil {
		return nil, err
	}
	if f.modelType != 2 {
		name := map[uint64]string{1: "unigram", 3: "word", 4: "char"}[f.modelType]
		return nil, wrapKey("trainer_spec.model_type", fmt.Errorf("type %d (%s) is not supported, want 2 (BPE)", f.modelType, name))
	}
	if f.suffix {
		return nil, errors.New("trainer_spec.treat_whitespace_as_suffix is not supported, want false")
	}
	m, err := newSPM(f.pieces, func(kind int32) bool { return kind == pieceNormal || kind == pieceUser || kind == pieceUnused })
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{bos: -1, eos: -1, pad: -1, unk: -1, model: m}
	z := &spmNormalizer{user: &m.user, dummyPrefix: f.dummyPrefix && !o.noPrefix, removeExtra: f.removeExtra, escape: f.escape, everyPiece: o.legacy}
	if z.rules, err = parseCharsMap(f.charsMap); err != nil {
		return nil, wrapKey("normalizer_spec", err)
	}
	t.split = z.words
	if f.byteFallback {
		m.bytes, _ = byteTokens(m.vocab)
	}
	var added []addedToken
	kinds := make([]int32, len(f.pieces))
	total := 0
	for i, p := range f.pieces {
		id := int32(i)
		kinds[id] = p.kind
		switch p.kind {
		case pieceUnknown:
			if m.unk >= 0 {
				return nil, fmt.Errorf("pieces %d and %d are both the unknown one", m.unk, id)
			}
			m.unk, t.unk = id, id
		case pieceControl:
			added = append(added, addedToken{ID: int64(id), Content: p.text, Special: true})
		case pieceUser:
			if total += len(p.text); total > maxAdded {
				return nil, fmt.Errorf("more than %d bytes of user-defined pieces", maxAdded)
			}
			m.user.add(&addedToken{pattern: p.text}, id)
		case pieceUnused:
			if m.unused == nil {
				m.unused = make([]bool, len(f.pieces))
			}
			m.unused[id] = true
		case pieceByte:
			if _, ok := byteOf(p.text); !ok {
				return nil, fmt.Errorf("piece %d: %q has the type of a byte, want <0x00> to <0xFF>", id, p.text)
			}
		}
	}
	if m.unk < 0 {
		return nil, errors.New("no piece is the unknown one")
	}
	for _, x := range []struct{ from, to *int32 }{{&f.bos, &t.bos}, {&f.eos, &t.eos}, {&f.pad, &t.pad}} {
		if id := *x.from; id >= 0 && int(id) < len(kinds) && kinds[id] == pieceControl {
			*x.to = id
		}
	}
	t.decoder = func() sequence {
		return &spmSequence{kinds: kinds, unkSurface: f.unkSurface, strip: z.dummyPrefix || f.removeExtra, stripAll: f.removeExtra, first: true}
	}
	at := make(map[string]int, len(added))
	for i, a := range added {
		at[a.Content] = i
	}
	for _, a := range o.added {
		if i, ok := at[a.Content]; ok {
			added[i] = a
		} else {
			added = append(added, a)
		}
	}
	if err := t.addTokens(added, o.specials); err != nil {
		return nil, err
	}
	return t, t.finish()
}

// spmSequence decodes pieces as SentencePiece does.
type spmSequence struct {
	kinds           []int32
	unkSurface      string
	strip, stripAll bool
	first           bool // a ▁ at the beginning is the dummy prefix
	bytes           []byte
	some            bool
}

func (s *spmSequence) next(dst []byte, id int32, token string) []byte {
	kind := int32(pieceControl) // of added tokens: written as they are
	if int(id) < len(s.kinds) {
		kind = s.kinds[id]
	}
	if kind == pieceByte {
		b, _ := byteOf(token)
		s.bytes = append(s.bytes, b)
		whole := len(s.bytes) - incompleteTail(string(s.bytes))
		if whole > 0 {
			dst = appendEachLossy(dst, s.bytes[:whole])
			s.bytes = append(s.bytes[:0], s.bytes[whole:]...)
			s.some = true
		}
		return dst
	}
	dst = s.end(dst)
	if s.some {
		s.first = false
	}
	switch kind {
	case pieceControl:
	case pieceUnknown:
		token = s.unkSurface
	default:
		token = s.pieceText(token)
	}
	s.some = s.some || token != ""
	return append(dst, token...)
}

func (s *spmSequence) end(dst []byte) []byte {
	if len(s.bytes) > 0 {
		dst = appendEachLossy(dst, s.bytes)
		s.bytes = s.bytes[:0]
		s.some = true
	}
	return dst
}

// pieceText writes spaces for ▁; the dummy prefix is left out, and with
// removeExtra one ▁ of every piece until there is text.
func (s *spmSequence) pieceText(piece string) string {
	if s.first && s.strip {
		if rest, ok := strings.CutPrefix(piece, spmSpace); ok {
			piece = rest
			s.some = s.some || !s.stripAll
		}
	}
	return strings.ReplaceAll(piece, spmSpace, " ")
}

// appendEachLossy appends b with each byte that is part of no character
// replaced by U+FFFD.
func appendEachLossy(dst, b []byte) []byte {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		dst = utf8.AppendRune(dst, r)
		b = b[n:]
	}
	return dst
}
