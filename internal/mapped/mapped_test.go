package mapped

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	page := os.Getpagesize()
	for _, size := range []int{0, 1, page - 1, page, page + 1, 5*page + 7} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i * 31)
		}
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if !bytes.Equal(f.Bytes(), want) {
			t.Errorf("size %d: content differs", size)
		}
		for off := 0; off <= size; off += max(size/3, 1) {
			f.Release(off, size-off)
			if !bytes.Equal(f.Bytes(), want) {
				t.Errorf("size %d: content differs after Release(%d, %d)", size, off, size-off)
			}
		}
		for range 2 {
			if err := f.Close(); err != nil {
				t.Errorf("size %d: Close: %v", size, err)
			}
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "absent") {
		t.Errorf("absent file: %v", err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrNotRegular) || !strings.Contains(err.Error(), dir) {
		t.Errorf("folder: %v", err)
	}
}

func TestReleaseOutside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 10), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range [][2]int{{-1, 1}, {0, 11}, {11, 0}, {5, 6}, {1, -1}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Release(%d, %d) of 10 bytes did not panic", c[0], c[1])
				}
			}()
			f.Release(c[0], c[1])
		}()
	}
}
