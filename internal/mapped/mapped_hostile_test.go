//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package mapped

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mapFile maps a file of the given number of pages.
func mapFile(t *testing.T, pages int) (*File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	data := make([]byte, pages*os.Getpagesize())
	for i := range data {
		data[i] = byte(i%251) + 1
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, path
}

// sum reads the whole content.
func sum(f *File) (n int, err error) {
	err = f.Try(func() error {
		for _, b := range f.Bytes() {
			n += int(b)
		}
		return nil
	})
	return n, err
}

func TestTruncatedInUse(t *testing.T) {
	page := int64(os.Getpagesize())
	for _, size := range []int64{0, 1, page, page + 1, 8*page - 1} {
		f, path := mapFile(t, 8)
		if _, err := sum(f); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		if _, err := sum(f); !errors.Is(err, ErrChanged) || !strings.HasPrefix(err.Error(), path+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("cut to %d bytes: %v", size, err)
		}
		dst := make([]byte, 8*page)
		if err := f.Try(func() error { copy(dst, f.Bytes()); return errors.New("other") }); !errors.Is(err, ErrChanged) {
			t.Errorf("cut to %d bytes and copied: %v", size, err)
		}
	}
}

// The file has its old size again, with other contents.
func TestWrittenInUse(t *testing.T) {
	f, path := mapFile(t, 2)
	later := time.Now().Add(time.Hour)
	if err := errors.Join(os.WriteFile(path, make([]byte, len(f.Bytes())), 0o600), os.Chtimes(path, later, later)); err != nil {
		t.Fatal(err)
	}
	if _, err := sum(f); !errors.Is(err, ErrChanged) {
		t.Errorf("written to: %v", err)
	}
}

// A rename puts another file in its place, and the mapping keeps the old one.
func TestReplacedInUse(t *testing.T) {
	f, path := mapFile(t, 2)
	want, err := sum(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path+"2", []byte("new"), 0o600), os.Rename(path+"2", path)); err != nil {
		t.Fatal(err)
	}
	if got, err := sum(f); err != nil || got != want {
		t.Errorf("replaced: %v, sum %d, want %d", err, got, want)
	}
}

// Several goroutines read while the file is cut off: each gets an error.
func TestTruncatedInParallel(t *testing.T) {
	f, path := mapFile(t, 64)
	var readers, begun sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		begun.Add(1)
		readers.Go(func() {
			_, err := sum(f)
			begun.Done()
			for end := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(end); {
				_, err = sum(f)
			}
			errs[i] = err
		})
	}
	begun.Wait()
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	readers.Wait()
	for i, err := range errs {
		if !errors.Is(err, ErrChanged) {
			t.Errorf("reader %d: %v", i, err)
		}
	}
}

// Try hides no other mistake.
func TestTryPanics(t *testing.T) {
	f, _ := mapFile(t, 1)
	defer func() {
		if r := recover(); r != "mine" {
			t.Errorf("recovered %v", r)
		}
	}()
	_ = f.Try(func() error { panic("mine") })
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(path, 5); string(b) != "12345" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("this system makes no pipes here:", err)
	}
	for _, c := range []struct {
		path string
		most int64
	}{{path, 4}, {"/dev/zero", 1 << 20}, {pipe, 1 << 20}, {dir, 1 << 20}, {filepath.Join(dir, "absent"), 1 << 20}} {
		if b, err := ReadFile(c.path, c.most); err == nil || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s, at most %d: %q, %v", c.path, c.most, b, err)
		}
	}
}
