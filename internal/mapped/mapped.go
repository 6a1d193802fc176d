// Package mapped gives read-only views of files: mapped into memory where the
// system can do that, read into memory elsewhere.
package mapped

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"unsafe"
)

// A File is a regular file's content in memory. Its methods may be called from
// several goroutines, except Close, which must come last.
type File struct {
	path string
	data []byte
	file *os.File    // open as long as data is a mapping, nil where it is Go memory
	info fs.FileInfo // of file, when it was mapped
}

// Open maps the regular file at path read-only. The error names the path; for
// anything but a regular file (a folder, a pipe, a device) it wraps
// [ErrNotRegular].
//
// Others may write to the file or truncate it while it is mapped, and then
// reading it is a fault or gives what never was its content: see [File.Try].
// Replacing it by a rename is harmless.
func Open(path string) (*File, error) {
	f, info, err := open(path)
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if size > math.MaxInt {
		return nil, errors.Join(fmt.Errorf("%s: %d bytes are more than this machine can address", path, size), f.Close())
	}
	m := &File{path: path}
	isMapped := false
	if size > 0 { // mmap refuses empty mappings
		if m.data, isMapped, err = load(f, int(size)); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
	}
	if !isMapped {
		return m, f.Close()
	}
	m.file, m.info = f, info
	return m, nil
}

// open opens a regular file.
func open(path string) (*os.File, fs.FileInfo, error) {
	// Before opening, since opening a pipe waits for its writer.
	if info, err := os.Stat(path); err != nil {
		return nil, nil, err
	} else if err := regular(path, info); err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = regular(path, info)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// ReadFile reads a regular file of at most so many bytes into memory. Unlike
// os.ReadFile it neither waits for a pipe nor fills the memory from a device.
// The error names the path.
func ReadFile(path string, most int64) ([]byte, error) {
	f, info, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if n := info.Size(); n > most {
		return nil, fmt.Errorf("%s: %d bytes, want at most %d", path, n, most)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if int64(len(data)) > most { // it grows, or the system does not know its size
		return nil, fmt.Errorf("%s: more than %d bytes", path, most)
	}
	return data, nil
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

// Bytes returns the content. It must not be written to, nor used after Close,
// and read only in a call of [File.Try].
func (f *File) Bytes() []byte { return f.data }

// ErrChanged is wrapped by Try's error when the file was truncated or written to.
var ErrChanged = errors.New("the file was changed while it was in use")

// Try calls read, which may read the content in this goroutine alone, and
// returns its error. If somebody truncated the file or wrote to it since it was
// opened, which kills a process that reads a mapping unguarded or gives it other
// bytes, Try returns an error that names the path, whatever read returned.
func (f *File) Try(read func() error) (err error) {
	if f.file == nil {
		return read()
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		changed := f.changed()
		switch {
		case r == nil && changed != nil:
			err = changed
		case r != nil && !f.fault(r, changed != nil):
			panic(r)
		case r != nil:
			err = fmt.Errorf("%s: %w: it was cut off, or the disk fails", f.path, ErrChanged)
		}
	}()
	return read()
}

// changed is an error if the file is not what was mapped. Without a fault that
// happens too: what lies behind the new end, in its page, reads as zeros.
func (f *File) changed() error {
	info, err := f.file.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", f.path, err)
	case info.Size() != f.info.Size():
		return fmt.Errorf("%s: %w: it has %d bytes and had %d", f.path, ErrChanged, info.Size(), f.info.Size())
	case !info.ModTime().Equal(f.info.ModTime()):
		return fmt.Errorf("%s: %w: it was written at %v", f.path, ErrChanged, info.ModTime())
	}
	return nil
}

// fault reports whether a panic came from reading the mapping. Emulators do not
// tell the address of such a fault: then it is one if the file was changed.
func (f *File) fault(r any, changed bool) bool {
	if _, ok := r.(runtime.Error); !ok {
		return false
	}
	at, ok := r.(interface{ Addr() uintptr })
	if !ok {
		return changed
	}
	start := uintptr(unsafe.Pointer(unsafe.SliceData(f.data)))
	return at.Addr() >= start && at.Addr()-start < uintptr(len(f.data))
}

// Release tells the system that the n bytes at off will not be read again
// soon, so that it takes their pages back from this process. They stay
// readable: the next access reads them from the file again. Pages at the ends
// are given back whole.
func (f *File) Release(off, n int) {
	if off < 0 || n < 0 || off > len(f.data)-n {
		panic(fmt.Sprintf("mapped: Release(%d, %d) of %d bytes", off, n, len(f.data)))
	}
	if f.file != nil && n > 0 {
		release(f.data, off, n)
	}
}

// Close ends the mapping. What Bytes returned must not be used any more.
// Closing twice is harmless.
func (f *File) Close() error {
	data, file := f.data, f.file
	f.data, f.file = nil, nil
	if file == nil {
		return nil
	}
	return errors.Join(unload(data), file.Close())
}
