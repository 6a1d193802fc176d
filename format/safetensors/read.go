package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/mapped"
)

// The names of a checkpoint's files in a Hugging Face folder.
const (
	ModelFile = "model.safetensors"
	IndexFile = "model.safetensors.index.json"
)

// A File is an open safetensors file, or a sharded set of them seen as one.
// Its methods may be called from several goroutines, except Close.
type File struct {
	path     string
	shards   []*shard
	tensors  map[string]place
	names    []string
	metadata map[string]string
}

type shard struct {
	path string
	file *mapped.File
}

type place struct {
	record
	shard *shard
}

// Open opens the safetensors file at path or, if path ends in ".index.json",
// all shards that this index names, which lie in its folder. Headers are
// validated whole; no tensor data is read. Errors name the file and tensor.
func Open(path string) (*File, error) {
	f := &File{path: path, tensors: map[string]place{}}
	var err error
	if strings.HasSuffix(path, ".index.json") {
		err = f.openIndex(path)
	} else {
		err = f.openShard(path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	f.names = slices.Sorted(maps.Keys(f.tensors))
	return f, nil
}

// OpenDir opens the checkpoint of a Hugging Face model folder: its
// [ModelFile] or, without one, the shards of its [IndexFile].
func OpenDir(dir string) (*File, error) {
	for _, name := range []string{ModelFile, IndexFile} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return Open(path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: no %s and no %s: %w", dir, ModelFile, IndexFile, fs.ErrNotExist)
}

// openShard adds the tensors of the file at path.
func (f *File) openShard(path string) error {
	m, err := mapped.Open(path)
	if err != nil {
		return err
	}
	s := &shard{path: path, file: m}
	f.shards = append(f.shards, s)
	var tensors []record
	var metadata map[string]string
	if err := m.Try(func() (err error) {
		tensors, metadata, err = parse(path, m.Bytes())
		return err
	}); err != nil {
		return err
	}
	if len(f.shards) == 1 {
		f.metadata = metadata
	}
	for _, r := range tensors {
		if first, ok := f.tensors[r.name]; ok {
			return fmt.Errorf("%s: tensor %q: is in %s too", path, r.name, filepath.Base(first.shard.path))
		}
		f.tensors[r.name] = place{r, s}
	}
	return nil
}

// openIndex opens the shards of an index: {"metadata": …, "weight_map":
// {tensor name: file name}}.
func (f *File) openIndex(path string) error {
	weightMap, err := readIndex(path)
	if err != nil {
		return err
	}
	if len(weightMap) == 0 {
		return fmt.Errorf("%s: weight_map names no tensor", path)
	}
	names := slices.Sorted(maps.Keys(weightMap))
	files := map[string]bool{}
	for _, name := range names {
		file := weightMap[name]
		// Not an escape from the folder, on any system; a symbolic link is fine
		// (Hugging Face's cache is made of them).
		if file == "" || file == "." || file == ".." || strings.ContainsAny(file, `/\:`+"\x00") || !filepath.IsLocal(file) {
			return fmt.Errorf("%s: tensor %q: file name %q, want a plain name of a file in the same folder", path, name, file)
		}
		files[file] = true
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if err := f.openShard(filepath.Join(filepath.Dir(path), file)); err != nil {
			return fmt.Errorf("shard of %s: %w", path, err)
		}
	}
	for _, name := range names {
		t, ok := f.tensors[name]
		if !ok || filepath.Base(t.shard.path) != weightMap[name] {
			return fmt.Errorf("%s: tensor %q: not in %s, where the index puts it", path, name, weightMap[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.tensors)) {
		if _, ok := weightMap[name]; !ok {
			return fmt.Errorf("%s: tensor %q: is in %s but not in the index", path, name, filepath.Base(f.tensors[name].shard.path))
		}
	}
	return nil
}

func readIndex(path string) (map[string]string, error) {
	text, err := mapped.ReadFile(path, maxHeader)
	if err != nil {
		return nil, err
	}
	var weightMap map[string]string
	d := json.NewDecoder(bytes.NewReader(text))
	err = object(d, func(key string) error {
		if key != "weight_map" {
			var skip json.RawMessage
			return wrap(d.Decode(&skip), "%q", key)
		}
		if weightMap != nil {
			return fmt.Errorf("%q given twice", key)
		}
		var err error
		weightMap, err = stringMap(d)
		return wrap(err, "weight_map")
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return weightMap, nil
}

// Path returns the path that was opened.
func (f *File) Path() string { return f.path }

// Names returns the names of all tensors, sorted.
func (f *File) Names() []string { return slices.Clone(f.names) }

// All iterates over the tensors in the order of their names.
func (f *File) All() iter.Seq2[string, Info] {
	return func(yield func(string, Info) bool) {
		for _, name := range f.names {
			if !yield(name, f.tensors[name].Info) {
				return
			}
		}
	}
}

// Info describes a tensor; ok is false if there is none of that name.
func (f *File) Info(name string) (info Info, ok bool) {
	t, ok := f.tensors[name]
	return t.Info, ok
}

// PathOf returns the file that holds a tensor: Path or, in a sharded set, a
// shard. It is "" if there is no tensor of that name.
func (f *File) PathOf(name string) string {
	if t, ok := f.tensors[name]; ok {
		return t.shard.path
	}
	return ""
}

// Bytes returns a tensor's data in the mapped file: little-endian, row-major,
// aligned to nothing. It must not be written to, nor used after Close. It is
// nil if there is no tensor of that name. Where somebody else may truncate the
// file meanwhile, use View.
func (f *File) Bytes(name string) []byte {
	t, ok := f.tensors[name]
	if !ok {
		return nil
	}
	return t.shard.file.Bytes()[t.start : t.start+t.Bytes : t.start+t.Bytes]
}

// Decode writes a tensor's elements to dst as F32. It is an error if there is
// no such tensor, if it has not len(dst) elements, or if its type has no
// decoding to F32.
func (f *File) Decode(dst []float32, name string) error {
	t, ok := f.tensors[name]
	if !ok {
		return fmt.Errorf("%s: no tensor %q", f.path, name)
	}
	if !t.DType.CanDecode() {
		return fmt.Errorf("%s: tensor %q: dtype %s, want one that decodes to F32", t.shard.path, name, t.DType)
	}
	if want := t.DType.Bytes(len(dst)); want != t.Bytes {
		return fmt.Errorf("%s: tensor %q: shape %v, want %d elements", t.shard.path, name, t.Shape, len(dst))
	}
	return f.View(name, func(data []byte) error {
		t.DType.Decode(dst, data)
		return nil
	})
}

// View calls read with what Bytes returns, and returns its error. That the file
// was truncated or written to since it was opened is an error and not a crash.
// What read reads, it must read in its own goroutine.
func (f *File) View(name string, read func(data []byte) error) error {
	t, ok := f.tensors[name]
	if !ok {
		return fmt.Errorf("%s: no tensor %q", f.path, name)
	}
	return t.shard.file.Try(func() error { return read(f.Bytes(name)) })
}

// Metadata returns the file's __metadata__, nil if it has none; in a sharded
// set, that of the first shard by name. It must not be changed.
func (f *File) Metadata() map[string]string { return f.metadata }

// Release gives the memory pages of a tensor's data back to the system: to be
// called after reading through it. The data stays readable.
func (f *File) Release(name string) {
	if t, ok := f.tensors[name]; ok {
		t.shard.file.Release(t.start, t.Bytes)
	}
}

// Close unmaps the file. What Bytes returned must not be used any more.
func (f *File) Close() error {
	var errs []error
	for _, s := range f.shards {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}

// Shape returns the shape of a tensor, and whether the file has it.
func (f *File) Shape(name string) (shape []int, ok bool) {
	info, ok := f.Info(name)
	return info.Shape, ok
}
