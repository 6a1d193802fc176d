//go:build unix

package asm

import (
	"os"
	"syscall"
	"testing"
)

// guardPool holds mappings by their size in pages; a test gives them back at its
// end.
var guardPool = map[int][][]byte{}

func guardedPages(t testing.TB, n int, atEnd bool) []byte {
	page := os.Getpagesize()
	pages := (n+page-1)/page + 2
	var m []byte
	if free := guardPool[pages]; len(free) > 0 {
		m = free[len(free)-1]
		guardPool[pages] = free[:len(free)-1]
	} else {
		var err error
		m, err = syscall.Mmap(-1, 0, pages*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		for _, guard := range [][]byte{m[:page], m[len(m)-page:]} {
			if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() { guardPool[pages] = append(guardPool[pages], m) })
	from := page
	if atEnd {
		from = len(m) - page - n
	}
	return m[from : from+n : from+n]
}
