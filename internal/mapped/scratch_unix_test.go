//go:build unix

package mapped

import (
	"os"
	"strings"
	"testing"
)

func TestScratch(t *testing.T) {
	dir := t.TempDir()
	const size = 3 << 16
	s, err := NewScratch(dir, size)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("%v, %v: it has a name", list, err)
	}
	b, release, err := s.Window(1<<16, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		if b[i] != 0 {
			t.Fatal("not zero")
		}
		b[i] = byte(i)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	c, again, err := s.Window(0, size)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range c {
		want := byte(0)
		if i >= 1<<16 && i < 2<<16 {
			want = byte(i)
		}
		if v != want {
			t.Fatalf("byte %d is %d, want %d", i, v, want)
		}
	}
	if err := again(); err != nil {
		t.Fatal(err)
	}
	if s.Most() != size {
		t.Errorf("%d bytes at most, want %d", s.Most(), size)
	}

	// More than any disk has.
	if _, err := NewScratch(dir, 1<<60); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("%v, %v: something is left", list, err)
	}
}
