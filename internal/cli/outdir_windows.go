package cli

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// mounted reports whether dir is where a file system is mounted on parent's.
func mounted(dir, parent string) bool { return false }

// syncPath writes a file through to the disk; folders cannot be opened for it.
func syncPath(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// lock makes the file at path and takes it for this process, until unlock is
// called, which removes it, or the process ends in any way. errLocked: another
// process has it.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
	if err != nil {
		f.Close()
		if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
			err = errLocked
		}
		return nil, err
	}
	return func() {
		f.Close()
		os.Remove(path) // fails while another process has it open, which then has the lock
	}, nil
}
