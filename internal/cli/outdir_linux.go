package cli

import (
	"errors"

	"golang.org/x/sys/unix"
)

// exchange swaps two folders of one file system in one step.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	// Old kernels and some network file systems do not know the flag.
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return swapByRename(a, b)
	}
	return err
}
