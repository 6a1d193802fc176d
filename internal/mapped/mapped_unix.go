//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd || solaris

package mapped

import (
	"os"

	"golang.org/x/sys/unix"
)

func load(f *os.File, size int) (data []byte, isMapped bool, err error) {
	data, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, false, os.NewSyscallError("mmap", err)
	}
	return data, true, nil
}

// release ignores madvise's error: it is advice, and a system that cannot
// take it leaves the pages where they are.
func release(data []byte, off, n int) {
	page := os.Getpagesize()
	start := off &^ (page - 1) // the mapping itself starts at a page
	end := min((off+n+page-1)&^(page-1), len(data))
	_ = unix.Madvise(data[start:end], unix.MADV_DONTNEED)
}

func unload(data []byte) error { return os.NewSyscallError("munmap", unix.Munmap(data)) }
