package cli

import "os"

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
