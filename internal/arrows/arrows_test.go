package arrows

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tenon-ml/tenon"

// row says what a folder, and the folders below it that have no row of their
// own, may import.
type row struct {
	ours   string // folders of this module; what those may import is included
	others string // modules of others, in files that are no tests
}

// The table follows the way of the data: a folder imports what lies before it
// and nothing upward. A new folder needs a row.
var table = map[string]row{
	"asm":      {"", "golang.org/x/sys github.com/klauspost/cpuid/v2"},
	"tensor":   {"asm", "golang.org/x/sys"},
	"autograd": {"tensor", ""},
	"nn":       {"autograd format/safetensors", ""},
	"lora":     {"nn", ""},
	"train":    {"nn lora", ""},
	"plan":     {"train", ""},

	"tensor/devicetest": {"tensor internal/golden", ""},

	"format/safetensors": {"tensor internal/mapped", ""},
	"format/bnb":         {"tensor format/safetensors", ""},
	"format/gguf":        {"tensor internal/mapped", ""},
	"format/tokenizer":   {"internal/mapped", "golang.org/x/text"},
	"format/chat":        {"internal/mapped", "github.com/nikolalohinski/gonja/v2"},

	"internal/mapped":  {"", "golang.org/x/sys"},
	"internal/machine": {"asm", "golang.org/x/sys"},
	"internal/mutate":  {"", ""},
	"internal/golden":  {"tensor format/safetensors", ""},
	"internal/curve":   {"train", ""},
	"internal/arrows":  {"", ""},
	".":                {"train internal/curve internal/golden format/bnb format/gguf format/tokenizer format/chat", ""},
	"internal/demo":    {". train format/tokenizer", ""},
	"internal/cli": {
		". bench plan internal/demo internal/machine train format/gguf format/tokenizer format/chat",
		"github.com/spf13/cobra github.com/spf13/pflag github.com/schollz/progressbar/v3 gonum.org/v1/plot golang.org/x/sys golang.org/x/term",
	},
	"cmd/tenon": {"internal/cli", ""},

	"bench":    {". internal/machine train format/gguf format/tokenizer format/chat", "gonum.org/v1/plot"},
	"examples": {". train format/gguf format/tokenizer format/chat", ""},
}

// testOnly are the modules that test files may import beside the others.
var testOnly = []string{"github.com/google/go-cmp", "golang.org/x/sys"}

// file is the imports of one Go file.
type file struct {
	path    string // slash-separated, from the module's root
	imports []string
}

func (f file) test() bool { return strings.HasSuffix(f.path, "_test.go") }

// files parses the import clauses of all Go files of the module, whatever
// their build tags.
func files(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var out []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p == root {
				return nil
			}
			if strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil {
				return filepath.SkipDir // another module
			}
			return nil
		}
		if filepath.Ext(p) != ".go" || strings.HasPrefix(d.Name(), ".") {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		ast, err := parser.ParseFile(token.NewFileSet(), p, bytes.NewReader(src), parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f := file{path: filepath.ToSlash(rel)}
		for _, i := range ast.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, name)
		}
		out = append(out, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// folder returns the key of the table under which a package falls.
func folder(pkg string) (string, bool) {
	if pkg == "." {
		return pkg, true
	}
	for d := pkg; d != "."; d = path.Dir(d) {
		if _, ok := table[d]; ok {
			return d, true
		}
	}
	return "", false
}

// reachable returns the folders that a folder may import.
func reachable(from string) map[string]bool {
	seen := map[string]bool{from: true}
	var visit func(string)
	visit = func(d string) {
		for _, next := range strings.Fields(table[d].ours) {
			if !seen[next] {
				seen[next] = true
				visit(next)
			}
		}
	}
	visit(from)
	return seen
}

func within(name string, modules []string) bool {
	return slices.ContainsFunc(modules, func(m string) bool {
		return name == m || strings.HasPrefix(name, m+"/")
	})
}

// violations returns what the files import and may not.
func violations(files []file) []string {
	var bad []string
	for _, f := range files {
		pkg := path.Dir(f.path)
		d, ok := folder(pkg)
		if !ok {
			bad = append(bad, f.path+": the folder has no row in the table of internal/arrows")
			continue
		}
		may := reachable(d)
		others := strings.Fields(table[d].others)
		for _, name := range f.imports {
			if sub, ok := strings.CutPrefix(name+"/", module+"/"); ok {
				to, known := folder(path.Clean(sub))
				switch {
				case to == "internal/arrows" || to == "cmd/tenon":
					bad = append(bad, f.path+": imports "+name)
				case !known:
					bad = append(bad, f.path+": imports "+name+", which has no row")
				case f.test():
					// A test may look at anything: it is not linked into what users build.
				case !may[to]:
					bad = append(bad, f.path+": "+d+" may not import "+to)
				}
				continue
			}
			first, _, _ := strings.Cut(name, "/")
			if !strings.Contains(first, ".") {
				if name == "C" {
					bad = append(bad, f.path+": imports C; everything here builds with CGO_ENABLED=0")
				}
				continue // the standard library
			}
			if !within(name, others) && !(f.test() && within(name, testOnly)) {
				bad = append(bad, f.path+": "+d+" may not import "+name)
			}
		}
	}
	return bad
}

func TestImports(t *testing.T) {
	all := files(t)
	if len(all) < 10 {
		t.Fatalf("only %d files found", len(all))
	}
	for _, v := range violations(all) {
		t.Error(v)
	}
}

func TestTable(t *testing.T) {
	for _, d := range slices.Sorted(maps.Keys(table)) {
		for _, to := range strings.Fields(table[d].ours) {
			if _, ok := table[to]; !ok {
				t.Errorf("%s: may import %s, which has no row", d, to)
			}
			if reachable(to)[d] {
				t.Errorf("%s and %s may import each other", d, to)
			}
		}
	}
	// The arrows that the design is about.
	for _, c := range []struct{ from, to string }{
		{"nn", "lora"}, {"tensor", "autograd"}, {"lora", "train"}, {"asm", "tensor"},
		{"nn", "format/gguf"}, {"train", "."}, {"train", "format/tokenizer"}, {"train", "internal/cli"},
	} {
		if reachable(c.from)[c.to] {
			t.Errorf("%s may import %s", c.from, c.to)
		}
	}
}

// The check itself must be able to fail.
func TestViolations(t *testing.T) {
	for _, c := range []struct {
		f   file
		bad bool
	}{
		{file{"nn/llama/model.go", []string{"fmt", module + "/autograd", module + "/tensor"}}, false},
		{file{"nn/llama/model.go", []string{module + "/lora"}}, true},
		{file{"nn/llama/model_test.go", []string{module + "/lora", "github.com/google/go-cmp/cmp"}}, false},
		{file{"tensor/t.go", []string{"github.com/google/go-cmp/cmp"}}, true},
		{file{"tensor/t.go", []string{"golang.org/x/sys/unix"}}, false},
		{file{"lora/lora.go", []string{"golang.org/x/sys/unix"}}, true},
		{file{"lora/lora.go", []string{"C"}}, true},
		{file{"elsewhere/x.go", nil}, true},
		{file{"x.go", []string{module + "/train"}}, false},
		{file{"x.go", []string{module + "/internal/cli"}}, true},
		{file{"internal/cli/x.go", []string{module}}, false},
		{file{"nn/x.go", []string{module}}, true},
		{file{"train/x.go", []string{module + "/elsewhere"}}, true},
		{file{"internal/cli/x.go", []string{module + "/train", module + "/asm", "github.com/spf13/cobra"}}, false},
		{file{"train/x_test.go", []string{"github.com/stretchr/testify"}}, true},
	} {
		if got := violations([]file{c.f}); (len(got) > 0) != c.bad {
			t.Errorf("%s importing %v: got %v", c.f.path, c.f.imports, got)
		}
	}
}
