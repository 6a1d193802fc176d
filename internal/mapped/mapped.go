// Package mapped gives read-only views of files: mapped into memory where the
// system can do that, read into memory elsewhere.
package mapped

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
)

// A File is a regular file's content in memory. Its methods may be called from
// several goroutines, except Close, which must come last.
type File struct {
	data   []byte
	mapped bool // data is a mapping, not Go memory
}

// Open maps the regular file at path read-only. The error names the path; for
// anything but a regular file (a folder, a pipe, a device) it wraps
// [ErrNotRegular].
//
// The file must not be truncated while it is mapped: reading a page that no
// longer exists is a fault. Replacing it by a rename is harmless.
func Open(path string) (*File, error) {
	// Before opening, since opening a pipe waits for its writer.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if err := regular(path, info); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := regular(path, info); err != nil {
		return nil, err
	}
	size := info.Size()
	if size > math.MaxInt {
		return nil, fmt.Errorf("%s: %d bytes are more than this machine can address", path, size)
	}
	if size == 0 { // mmap refuses empty mappings
		return &File{}, nil
	}
	data, isMapped, err := load(f, int(size))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &File{data: data, mapped: isMapped}, nil
}

// ErrNotRegular is wrapped by Open's error for a folder, pipe or device.
var ErrNotRegular = errors.New("not a regular file")

func regular(path string, info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		return fmt.Errorf("%s: %w but a folder", path, ErrNotRegular)
	default:
		return fmt.Errorf("%s: %w (mode %s)", path, ErrNotRegular, mode.Type())
	}
}

// Bytes returns the content. It must not be written to, nor used after Close.
func (f *File) Bytes() []byte { return f.data }

// Release tells the system that the n bytes at off will not be read again
// soon, so that it takes their pages back from this process. They stay
// readable: the next access reads them from the file again. Pages at the ends
// are given back whole.
func (f *File) Release(off, n int) {
	if off < 0 || n < 0 || off > len(f.data)-n {
		panic(fmt.Sprintf("mapped: Release(%d, %d) of %d bytes", off, n, len(f.data)))
	}
	if f.mapped && n > 0 {
		release(f.data, off, n)
	}
}

// Close ends the mapping. What Bytes returned must not be used any more.
// Closing twice is harmless.
func (f *File) Close() error {
	data := f.data
	f.data = nil
	if !f.mapped || data == nil {
		return nil
	}
	return unload(data)
}
