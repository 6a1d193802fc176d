//go:build unix

package cli

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// mounted reports whether dir is where a file system is mounted on parent's.
func mounted(dir, parent string) bool {
	var d, p unix.Stat_t
	if unix.Stat(dir, &d) != nil || unix.Stat(parent, &p) != nil {
		return false
	}
	return d.Dev != p.Dev
}

// syncPath writes a file or a folder through to the disk.
func syncPath(path string) error {
	f, err := os.Open(path)
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
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, errLocked
		}
		// A file system that has no locks: every process may write there.
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.ENOLCK) {
			f.Close()
			return nil, err
		}
		// Who had it may have removed the file since it was opened here.
		mine, err := f.Stat()
		if there, failed := os.Stat(path); err == nil && failed == nil && os.SameFile(mine, there) {
			return func() {
				os.Remove(path)
				f.Close()
			}, nil
		}
		f.Close()
	}
}
