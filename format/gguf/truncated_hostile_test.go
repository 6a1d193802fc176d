//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package gguf

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tenon-ml/tenon/internal/mapped"
)

// oneTensor returns a file with a tensor of n elements of a type.
func oneTensor(id uint32, n int) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("GGUF"), 3)
	b = le.AppendUint64(b, 1) // tensors
	b = le.AppendUint64(b, 0) // pairs
	b = append(le.AppendUint64(b, 1), 'w')
	b = le.AppendUint64(le.AppendUint32(b, 1), uint64(n))
	b = le.AppendUint64(le.AppendUint32(b, id), 0)
	b = append(b, make([]byte, 64-len(b))...)
	t := ggmlTypes[id]
	return append(b, make([]byte, n/t.block*t.bytes)...)
}

// Somebody truncates a file between opening and decoding: each type's decoding,
// in several goroutines at once, is an error and no crash.
func TestTruncatedInUse(t *testing.T) {
	const n = 1 << 17
	dir := t.TempDir()
	for id, typ := range ggmlTypes {
		path := filepath.Join(dir, typ.name)
		if err := os.WriteFile(path, oneTensor(id, n), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Decodable("w"); err != nil {
			continue
		}
		if err := f.Decode(make([]float32, n), "w"); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 1000); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := f.Decode(make([]float32, n), "w"); !errors.Is(err, mapped.ErrChanged) || !strings.HasPrefix(err.Error(), path+": ") {
					t.Errorf("%s: %v", typ.name, err)
				}
			})
		}
		all.Wait()
	}
}
