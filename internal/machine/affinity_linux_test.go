package machine

import (
	"testing"

	"golang.org/x/sys/unix"
)

// allowed returns how many CPUs the thread that runs this may use.
func allowed(t *testing.T) int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	return set.Count()
}
