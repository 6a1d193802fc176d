//go:build unix

package cli

import (
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
