package mapped

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// residentFile returns the bytes of mapped files that are resident.
func residentFile(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc/self/status: ", err)
	}
	_, rest, ok := strings.Cut(string(b), "RssFile:")
	if !ok {
		t.Skip("/proc/self/status has no RssFile")
	}
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

func TestReleaseGivesPagesBack(t *testing.T) {
	const size = 32 << 20
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := 0
	for _, b := range f.Bytes() {
		sum += int(b)
	}
	before := residentFile(t)
	f.Release(0, size)
	if after := residentFile(t); before-after < size*3/4 {
		t.Errorf("resident file pages went from %d to %d bytes, want %d fewer (sum %d)", before, after, size, sum)
	}
}
