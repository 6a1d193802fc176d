package chat

import (
	"errors"
	"regexp"
	"strings"
	"unicode"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// strMethods are the engine's methods of strings, with those replaced that do
// not know Python's white space or split() without a separator.
func strMethods() *exec.MethodSet[string] {
	own := map[string]exec.Method[string]{
		"strip":  stripMethod(true, true),
		"lstrip": stripMethod(true, false),
		"rstrip": stripMethod(false, true),
		"split":  splitMethod(strings.SplitN, splitSpace),
		"rsplit": splitMethod(rsplitN, rsplitSpace),
	}
	for _, name := range []string{
		"capitalize", "casefold", "center", "count", "endswith", "expandtabs", "find", "format", "index", "isalnum",
		"isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace",
		"istitle", "isupper", "join", "ljust", "lower", "partition", "removeprefix", "removesuffix", "replace", "rfind",
		"rindex", "rjust", "rpartition", "splitlines", "startswith", "swapcase", "title", "upper", "zfill",
	} {
		if m, ok := builtins.Methods.Str.Get(name); ok {
			own[name] = m
		}
	}
	for name, m := range own {
		own[name] = boundedMethod(name, m)
	}
	return exec.NewMethodSet(own)
}

// isSpace is Python's str.isspace for one character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func strip(s string, left, right bool, is func(rune) bool) string {
	if left {
		s = strings.TrimLeftFunc(s, is)
	}
	if right {
		s = strings.TrimRightFunc(s, is)
	}
	return s
}

func stripMethod(left, right bool) exec.Method[string] {
	return func(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
		is := isSpace
		switch {
		case len(args.KwArgs) > 0 || len(args.Args) > 1:
			return nil, exec.ErrInvalidCall(errors.New("want at most the characters to strip"))
		case len(args.Args) == 1 && !args.Args[0].IsNil():
			set := args.Args[0].String()
			is = func(r rune) bool { return strings.ContainsRune(set, r) }
		}
		return strip(self, left, right, is), nil
	}
}

// trim is the filter of that name.
func trim(_ *exec.Evaluator, in *exec.Value, args *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	out, err := stripMethod(true, true)(in.String(), in, &exec.VarArgs{Args: args.Args})
	if err != nil {
		return exec.AsValue(err)
	}
	return exec.AsValue(out)
}

// splitMethod splits at most max times, by a separator or by white space.
func splitMethod(by func(s, sep string, n int) []string, space func(s string, n int) []string) exec.Method[string] {
	return func(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
		given := [2]*exec.Value{}
		if len(args.Args) > 2 {
			return nil, exec.ErrInvalidCall(errors.New("want at most a separator and a number"))
		}
		copy(given[:], args.Args)
		for i, name := range []string{"sep", "maxsplit"} {
			if v, ok := args.KwArgs[name]; ok {
				given[i] = v
			}
		}
		n := -1
		if given[1] != nil {
			if n = given[1].Integer(); n >= 0 {
				n++
			}
		}
		var words []string
		if given[0] == nil || given[0].IsNil() {
			words = space(self, n)
		} else if sep := given[0].String(); sep == "" {
			return nil, exec.ErrInvalidCall(errors.New("empty separator"))
		} else {
			words = by(self, sep, n)
		}
		out := make([]any, len(words))
		for i, w := range words {
			out[i] = w
		}
		return out, nil
	}
}

// rsplitN is strings.SplitN from the right.
func rsplitN(s, sep string, n int) []string {
	all := strings.Split(s, sep)
	if n > 0 && len(all) > n {
		cut := len(all) - n + 1
		all = append([]string{strings.Join(all[:cut], sep)}, all[cut:]...)
	}
	return all
}

// splitSpace splits s at runs of white space into at most n words.
func splitSpace(s string, n int) []string {
	var words []string
	for s = strings.TrimLeftFunc(s, isSpace); s != ""; {
		end := strings.IndexFunc(s, isSpace)
		if end < 0 || n > 0 && len(words) == n-1 {
			return append(words, s)
		}
		words = append(words, s[:end])
		s = strings.TrimLeftFunc(s[end:], isSpace)
	}
	return words
}

// rsplitSpace is splitSpace from the right.
func rsplitSpace(s string, n int) []string {
	words := strings.FieldsFunc(s, isSpace)
	if n <= 0 || len(words) <= n {
		return words
	}
	rest := strings.TrimRightFunc(s, isSpace)
	for range n - 1 {
		rest = strings.TrimRightFunc(rest[:strings.LastIndexFunc(rest, isSpace)], isSpace)
	}
	return append([]string{rest}, words[len(words)-n+1:]...)
}

var negativeIndex = regexp.MustCompile(`^\[\s*-\s*([0-9]+)\s*\]`)

// fixIndices rewrites x[-1] in tags as x[-1:][0]. The engine does not find the
// first item of a list by its negative index, so not the last of a list of one
// either.
func fixIndices(source string) string {
	var b strings.Builder
	end := ""        // of the tag that i is in
	quote := byte(0) // of the string literal that i is in
	for i := 0; i < len(source); i++ {
		c := source[i]
		rest := source[i:]
		switch {
		case end == "":
			for open, close := range map[string]string{"{{": "}}", "{%": "%}", "{#": "#}"} {
				if strings.HasPrefix(rest, open) {
					end = close
				}
			}
		case end == "#}":
			if strings.HasPrefix(rest, end) {
				end = ""
			}
		case quote != 0:
			if c == '\\' && i+1 < len(source) {
				b.WriteByte(c)
				i++
				c = source[i]
			} else if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case strings.HasPrefix(rest, end):
			end = ""
		case c == '[' && i > 0 && endsOperand(source[i-1]):
			if m := negativeIndex.FindStringSubmatch(rest); m != nil {
				b.WriteString("[-" + m[1] + ":][0]")
				i += len(m[0]) - 1
				continue
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// endsOperand tells whether a bracket behind c indexes something, rather than
// beginning a list.
func endsOperand(c byte) bool {
	return c == '_' || c == ')' || c == ']' || c == '\'' || c == '"' ||
		c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
