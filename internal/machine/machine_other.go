//go:build !linux

package machine

import (
	"errors"
	"runtime"
	"runtime/metrics"
	"time"
)

// pages returns n elements of memory that are there.
func pages(n int) (x []float32, release func()) { return filled(make([]float32, n)), func() {} }

// Elsewhere a sample is judged by its probes alone.
func busy() time.Duration { return 0 }

// CPUTime is not to be had here: it returns 0.
func CPUTime(...int) time.Duration { return 0 }

// pin does nothing: the system places threads.
func pin(int) (undo func()) { return func() {} }

// CPUName returns the architecture.
func CPUName() string { return runtime.GOARCH }

func caches() []string { return nil }

func memory() int64 { return 0 }

// Resident returns the memory that Go's runtime holds, in bytes: the nearest to
// the resident memory that can be had everywhere.
func Resident() Memory {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
	metrics.Read(s)
	n := int64(s[0].Value.Uint64())
	return Memory{Peak: n, Anon: n}
}

// Confine is not to be had here.
func Confine(int) (undo func(), err error) {
	return nil, errors.New("threads can be kept to CPUs on Linux only")
}
