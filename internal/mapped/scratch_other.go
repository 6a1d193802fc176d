//go:build !unix

package mapped

import "errors"

// Scratch is not to be had here.
type Scratch struct{}

// NewScratch returns an error.
func NewScratch(string, int64) (*Scratch, error) {
	return nil, errors.New("files to write to can be mapped on Unix systems only")
}

// Window returns an error.
func (s *Scratch) Window(int64, int) ([]byte, func() error, error) {
	return nil, nil, errors.New("no file is mapped")
}

// Most returns 0.
func (s *Scratch) Most() int64 { return 0 }

// Close does nothing.
func (s *Scratch) Close() error { return nil }
