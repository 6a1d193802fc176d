package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Stream decodes token by token and gives out whole characters only: bytes that
// may still become a character wait for the next token. What all calls of Next
// and the last Flush return, joined, is what Decode returns. With byte fallback
// a run of byte tokens waits for its end: whether it is text depends on all of
// it.
type Stream struct {
	t           *Tokenizer
	skipSpecial bool
	seq         sequence // of the tokenizer's decoder, if it has one
	pending     []byte   // the beginning of a character, at most 3 bytes
	started     bool
}

// Stream returns a decoder for one sequence. It is for one goroutine.
func (t *Tokenizer) Stream(skipSpecial bool) *Stream {
	s := &Stream{t: t, skipSpecial: skipSpecial}
	if t.decoder != nil {
		s.seq = t.decoder()
	}
	return s
}

// Next returns the text that id completes, which may be empty.
func (s *Stream) Next(id int32) string {
	p, ok := s.t.piece(id, s.skipSpecial)
	if !ok {
		return ""
	}
	if s.seq != nil {
		return string(s.seq.next(nil, id, p))
	}
	if !s.t.byteLevel && s.started {
		p = " " + p
	}
	s.started = true
	if len(s.pending) == 0 && utf8.ValidString(p) {
		return p
	}
	b := string(s.pending) + p
	whole := len(b) - incompleteTail(b)
	s.pending = append(s.pending[:0], b[whole:]...)
	return string(appendLossy(nil, b[:whole]))
}

// Flush returns what is left when the sequence ends: what still waited, U+FFFD
// if it ended inside a character, otherwise nothing.
func (s *Stream) Flush() string {
	if s.seq != nil {
		out := string(s.seq.end(nil))
		s.seq = s.t.decoder()
		return out
	}
	out := string(appendLossy(nil, string(s.pending)))
	s.pending = s.pending[:0]
	return out
}

// appendLossy appends s with each maximal subpart of an ill-formed sequence
// replaced by U+FFFD: the practice of the Unicode standard (3.9), which Rust's
// from_utf8_lossy and Python's errors="replace" follow. Go's own conversions
// replace byte by byte or run by run.
func appendLossy(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			n, _ = subpart(s[i:])
			dst = utf8.AppendRune(dst, utf8.RuneError)
		} else {
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return dst
}

// subpart returns the length of the longest beginning of s that begins a
// character (1 if none does), and whether s ends before deciding the rest.
func subpart(s string) (n int, open bool) {
	need, lo, hi := 0, byte(0x80), byte(0xBF)
	switch c := s[0]; {
	case c >= 0xC2 && c <= 0xDF:
		need = 1
	case c >= 0xE0 && c <= 0xEF:
		need = 2
		if c == 0xE0 {
			lo = 0xA0
		} else if c == 0xED { // surrogates
			hi = 0x9F
		}
	case c >= 0xF0 && c <= 0xF4:
		need = 3
		if c == 0xF0 {
			lo = 0x90
		} else if c == 0xF4 { // beyond U+10FFFF
			hi = 0x8F
		}
	default:
		return 1, false
	}
	for n = 1; n <= need; n++ {
		if n == len(s) {
			return n, true
		}
		if s[n] < lo || s[n] > hi {
			return n, false
		}
		lo, hi = 0x80, 0xBF
	}
	return n, false
}

// incompleteTail returns how many bytes at the end of s begin a character that
// further bytes may complete.
func incompleteTail(s string) int {
	for i := max(0, len(s)-3); i < len(s); i++ {
		if !utf8.RuneStart(s[i]) || s[i] < utf8.RuneSelf {
			continue
		}
		if n, open := subpart(s[i:]); open && n == len(s)-i {
			return n
		}
	}
	return 0
}

// byteChars is GPT-2's map from bytes to printable characters: those that
// Latin-1 prints stand for themselves, the others for U+0100 and up.
// charBytes is its inverse, -1 where a character stands for no byte.
var byteChars, charBytes = func() (chars [256]rune, bytes [0x144]int16) {
	for i := range bytes {
		bytes[i] = -1
	}
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE) {
			r = next
			next++
		}
		chars[b], bytes[r] = r, int16(b)
	}
	return chars, bytes
}()

// writeByteLevelDecoded writes the bytes that a token's characters stand for,
// or the token itself if one of them stands for none.
func writeByteLevelDecoded(w *strings.Builder, token string) {
	for _, r := range token {
		if int(r) >= len(charBytes) || charBytes[r] < 0 {
			w.WriteString(token)
			return
		}
	}
	for _, r := range token {
		w.WriteByte(byte(charBytes[r]))
	}
}
