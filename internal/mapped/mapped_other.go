//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || solaris)

package mapped

import (
	"io"
	"os"
)

// load reads the whole file where the system offers no mapping.
func load(f *os.File, size int) (data []byte, isMapped bool, err error) {
	data = make([]byte, size)
	_, err = io.ReadFull(f, data)
	return data, false, err
}

func release(data []byte, off, n int) {}

func unload(data []byte) error { return nil }
