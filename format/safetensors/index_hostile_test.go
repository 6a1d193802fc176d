package safetensors

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/mutate"
	"github.com/tenon-ml/tenon/tensor"
)

// shards writes a checkpoint of two shards into a folder and returns its index.
func shards(t testing.TB, dir string) string {
	t.Helper()
	for name, tensorName := range map[string]string{"a.safetensors": "x", "b.safetensors": "y"} {
		if err := Write(filepath.Join(dir, name), []Entry{FromFloats(tensorName, tensor.F32, []int{2}, []float32{1, 2})}, nil); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, IndexFile)
	if err := os.WriteFile(path, []byte(`{"metadata":{"total_size":16},"weight_map":{"x":"a.safetensors","y":"b.safetensors"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An index never leads out of its folder, and never to itself.
func TestIndexNames(t *testing.T) {
	dir := t.TempDir()
	path := shards(t, dir)
	for _, name := range mutate.IndexNames {
		text := strings.ReplaceAll(`{"weight_map":{"x":NAME,"y":"b.safetensors"}}`, "NAME", string(appendString(nil, name)))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		mutate.Guard(t, name, func() error {
			f, err := Open(path)
			if err == nil {
				return errors.Join(errors.New("accepted\n"), f.Close())
			}
			return errors.New(strings.Map(printable, err.Error())) // as the command shows it
		}, path)
	}
}

func printable(r rune) rune {
	if r < ' ' {
		return -1
	}
	return r
}

// FuzzIndex looks for an index that makes the reader panic, or leave the folder.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":16},"weight_map":{"x":"a.safetensors","y":"b.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"x":"../a.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{},"weight_map":{}}`))
	f.Add([]byte(`{"weight_map":null}`))
	dir := f.TempDir()
	shards(f, dir)
	f.Fuzz(func(t *testing.T, data []byte) {
		index, err := os.CreateTemp(dir, "*.index.json")
		if err != nil {
			t.Fatal(err)
		}
		path := index.Name()
		defer os.Remove(path)
		_, err = index.Write(data)
		if err := errors.Join(err, index.Close()); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err != nil {
			if !strings.Contains(err.Error(), dir) {
				t.Errorf("%v, want the path in it", err)
			}
			return
		}
		defer s.Close()
		for _, name := range s.Names() {
			if filepath.Dir(s.PathOf(name)) != dir {
				t.Errorf("tensor %q is in %s", name, s.PathOf(name))
			}
			if err := s.Decode(make([]float32, 2), name); err != nil {
				t.Error(err)
			}
		}
	})
}
