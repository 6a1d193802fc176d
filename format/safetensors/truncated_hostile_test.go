//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package safetensors

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tenon-ml/tenon/internal/mapped"
	"github.com/tenon-ml/tenon/tensor"
)

// Somebody truncates a file between opening and decoding: each type's decoding,
// in several goroutines at once, is an error and no crash.
func TestTruncatedInUse(t *testing.T) {
	const n = 1 << 16 // elements: many pages
	for _, dt := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
		t.Run(dt.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.safetensors")
			x := make([]float32, n)
			var entries []Entry
			for i := range 8 {
				entries = append(entries, FromFloats(fmt.Sprint(i), dt, []int{n}, x))
			}
			if err := Write(path, entries, nil); err != nil {
				t.Fatal(err)
			}
			f := open(t, path)
			dst := make([]float32, n)
			if err := f.Decode(dst, "7"); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, 1000); err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					err := f.Decode(make([]float32, n), fmt.Sprint(i))
					if !errors.Is(err, mapped.ErrChanged) || !strings.HasPrefix(err.Error(), path+": ") {
						t.Errorf("tensor %d: %v", i, err)
					}
				})
			}
			all.Wait()
		})
	}
}
