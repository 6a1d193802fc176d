//go:build unix

package mapped

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Scratch is a file of zeros to write to that nobody sees: it has no name, and is gone
// when it is closed, or when the process ends, however that happens. It belongs to one
// goroutine.
type Scratch struct {
	f            *os.File
	mapped, most int64
}

// NewScratch makes one of so many bytes, more than 0, in a folder. Their place on the
// disk is taken at once, so that a full disk is an error here and nowhere later.
func NewScratch(dir string, size int64) (*Scratch, error) {
	f, err := os.CreateTemp(dir, ".tenon-*.tmp")
	if err != nil {
		return nil, err
	}
	if err = os.Remove(f.Name()); err == nil {
		err = reserve(f, size)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: a file of %d bytes: %w", dir, size, err)
	}
	return &Scratch{f: f}, nil
}

// fill writes zeros where the system cannot reserve them otherwise.
func fill(f *os.File, size int64) error {
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// Window maps n bytes from an offset, a multiple of PageSize, for reading and writing,
// until release, which takes them out of the process's memory; what was written is in
// the file.
func (s *Scratch) Window(at int64, n int) (b []byte, release func() error, err error) {
	if b, err = unix.Mmap(int(s.f.Fd()), at, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, nil, fmt.Errorf("mapping %d bytes: %w", n, err)
	}
	s.mapped += int64(n)
	s.most = max(s.most, s.mapped)
	return b, func() error {
		s.mapped -= int64(n)
		return unix.Munmap(b)
	}, nil
}

// Most returns how many bytes were mapped at once at most.
func (s *Scratch) Most() int64 { return s.most }

// Close gives up the file.
func (s *Scratch) Close() error { return s.f.Close() }
