//go:build !linux

package cli

// exchange swaps two folders of one file system.
func exchange(a, b string) error { return swapByRename(a, b) }
