//go:build unix && !linux

package mapped

import "os"

func reserve(f *os.File, size int64) error { return fill(f, size) }
