package safetensors

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/tensor"
)

// An Entry is a tensor to write.
type Entry struct {
	Name  string
	DType tensor.DType
	Shape []int
	// Data writes the data: little-endian, row-major, as many bytes as type and
	// shape ask for. It is called once for each file written.
	Data func(w io.Writer) error
}

// Write writes a file of the tensors and metadata (PEFT and transformers want
// {"format": "pt"}; without entries no __metadata__ is written). Data is in the
// reference implementation's order: elements of more bytes first, then by name.
// The file appears at path, replacing what was there, when it is complete and
// on the disk; after an error, path is as it was.
func Write(path string, entries []Entry, metadata map[string]string) error {
	header, sorted, err := makeHeader(path, entries, metadata)
	if err != nil {
		return err
	}
	return writeFile(path, func(w io.Writer) error {
		if _, err := w.Write(header); err != nil {
			return err
		}
		for _, e := range sorted {
			want, _ := size(e.DType, e.Shape) // makeHeader has checked it
			c := &counter{w: w, left: want}
			if err := e.Data(c); err != nil {
				return fmt.Errorf("tensor %q: %w", e.Name, err)
			}
			if c.left != 0 {
				return fmt.Errorf("tensor %q: %d bytes of data, want %d for %s %v", e.Name, want-c.left, want, e.DType, e.Shape)
			}
		}
		return nil
	})
}

// Size returns the bytes of the file that Write writes.
func Size(entries []Entry, metadata map[string]string) (int64, error) {
	header, _, err := makeHeader("", entries, metadata)
	if err != nil {
		return 0, err
	}
	n := int64(len(header))
	for _, e := range entries {
		data, _ := size(e.DType, e.Shape)
		n += int64(data)
	}
	return n, nil
}

// A counter passes on at most left bytes.
type counter struct {
	w    io.Writer
	left int
}

func (c *counter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		return 0, fmt.Errorf("%d bytes of data too many", len(p)-c.left)
	}
	n, err := c.w.Write(p)
	c.left -= n
	return n, err
}

// makeHeader returns the file up to the data, and the entries in the order of
// their data. path is for the errors.
func makeHeader(path string, entries []Entry, metadata map[string]string) ([]byte, []Entry, error) {
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, func(a, b Entry) int {
		return cmp.Or(slices.Index(dtypes, b.DType)-slices.Index(dtypes, a.DType), cmp.Compare(a.Name, b.Name))
	})
	h := append(make([]byte, 8, 256), '{')
	if len(metadata) > 0 {
		h = append(h, `"__metadata__":{`...)
		for _, key := range slices.Sorted(maps.Keys(metadata)) {
			if !utf8.ValidString(key) || !utf8.ValidString(metadata[key]) {
				return nil, nil, fmt.Errorf("%s: metadata %q: %q, want UTF-8", path, key, metadata[key])
			}
			h = append(appendString(h, key), ':')
			h = append(appendString(h, metadata[key]), ',')
		}
		h[len(h)-1] = '}'
		h = append(h, ',')
	}
	seen := map[string]bool{"__metadata__": true}
	end := 0
	for _, e := range sorted {
		if seen[e.Name] || !utf8.ValidString(e.Name) {
			return nil, nil, fmt.Errorf("%s: tensor %q: want a name in UTF-8 that no other tensor has and that is not __metadata__", path, e.Name)
		}
		seen[e.Name] = true
		if !slices.Contains(dtypes, e.DType) {
			return nil, nil, fmt.Errorf("%s: tensor %q: dtype %s, want one of %s", path, e.Name, e.DType, dtypeNames())
		}
		n, ok := size(e.DType, e.Shape)
		if !ok || end+n < end {
			return nil, nil, fmt.Errorf("%s: tensor %q: size of shape %v overflows", path, e.Name, e.Shape)
		}
		h = append(appendString(h, e.Name), `:{"dtype":"`...)
		h = append(h, e.DType.String()...)
		h = append(h, `","shape":[`...)
		for i, d := range e.Shape {
			if i > 0 {
				h = append(h, ',')
			}
			h = strconv.AppendInt(h, int64(d), 10)
		}
		h = fmt.Appendf(h, `],"data_offsets":[%d,%d]},`, end, end+n)
		end += n
	}
	if h[len(h)-1] == ',' {
		h = h[:len(h)-1]
	}
	h = append(h, '}')
	for len(h)%8 != 0 {
		h = append(h, ' ')
	}
	if len(h)-8 > maxHeader {
		return nil, nil, fmt.Errorf("%s: header of %d bytes for %d tensors, want at most %d", path, len(h)-8, len(entries), maxHeader)
	}
	binary.LittleEndian.PutUint64(h, uint64(len(h)-8))
	return h, sorted, nil
}

// appendString appends s as a JSON string, escaping only what JSON demands, as
// the reference implementation does (encoding/json escapes more).
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			if c < ' ' {
				b = fmt.Appendf(b, `\u%04x`, c)
			} else {
				b = append(b, c)
			}
		}
	}
	return append(b, '"')
}

// writeFile lets write fill a new file beside path, and renames it to path
// when it is on the disk. After an error (or panic) nothing is left of it.
func writeFile(path string, write func(w io.Writer) error) (err error) {
	dir, base := filepath.Split(path)
	var f *os.File
	for try := 0; ; try++ {
		temp := filepath.Join(dir, fmt.Sprintf(".%s.%08x.tmp", base, rand.Uint32()))
		// Not os.CreateTemp: the file shall have the permissions that the umask gives.
		f, err = os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) || try == 100 {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	done := false
	defer func() {
		if !done {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, step := range []func() error{w.Flush, f.Sync, f.Close, func() error { return os.Rename(f.Name(), path) }} {
		if err := step(); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	done = true
	// The rename itself, where a folder can be synced; without it a crash may
	// bring the old file back, which is complete too.
	if d, err := os.Open(filepath.Dir(path)); err == nil {
		_ = d.Sync()
		d.Close()
	}
	return nil
}

// WriteSharded writes a checkpoint into the folder dir as transformers does:
// as [ModelFile] if all data fits maxShardBytes, else as shards
// model-00001-of-0000N.safetensors of at most maxShardBytes of data each
// (a larger tensor gets a shard of its own) and their [IndexFile]. Tensors are
// distributed in the order of entries. A checkpoint that is in dir already is
// an error, since a set of files cannot be replaced at once.
func WriteSharded(dir string, entries []Entry, metadata map[string]string, maxShardBytes int) error {
	for _, name := range []string{ModelFile, IndexFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("%s: holds a checkpoint already: %w", filepath.Join(dir, name), fs.ErrExist)
		}
	}
	index := filepath.Join(dir, IndexFile)
	if _, _, err := makeHeader(index, entries, metadata); err != nil { // all that can be wrong, before the first shard
		return err
	}
	var shards [][]Entry
	var current []Entry
	var currentBytes, totalBytes, totalElements int
	for _, e := range entries {
		n, _ := size(e.DType, e.Shape)
		totalBytes += n
		_, width := e.DType.Block()
		totalElements += n / width
		if n > maxShardBytes {
			shards = append(shards, []Entry{e})
			continue
		}
		if currentBytes+n > maxShardBytes {
			shards = append(shards, current)
			current, currentBytes = nil, 0
		}
		current = append(current, e)
		currentBytes += n
	}
	if len(current) > 0 || len(shards) == 0 {
		shards = append(shards, current)
	}
	if len(shards) == 1 {
		return Write(filepath.Join(dir, ModelFile), shards[0], metadata)
	}
	weightMap := map[string]string{}
	for i, s := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		if err := Write(filepath.Join(dir, name), s, metadata); err != nil {
			return err
		}
		for _, e := range s {
			weightMap[e.Name] = name
		}
	}
	return writeFile(index, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{ // keys are written sorted
			"metadata":   map[string]int{"total_parameters": totalElements, "total_size": totalBytes},
			"weight_map": weightMap,
		})
	})
}
