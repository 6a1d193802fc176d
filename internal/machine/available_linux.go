package machine

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Available returns the memory in bytes that the process can have beside what it holds
// before others suffer: what the system says is available, or what its control
// group leaves it, if that is less. 0: nobody knows.
func Available() int64 {
	n := kilobytes("/proc/meminfo", "MemAvailable")
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return n
	}
	for line := range strings.Lines(string(own)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::") // version 2
		if !ok {
			continue
		}
		// A limit on any of the groups around holds too.
		for ; ; path = filepath.Dir(path) {
			dir := filepath.Join("/sys/fs/cgroup", path)
			most, used := number(dir, "memory.max"), number(dir, "memory.current")
			if most > 0 {
				n = min(n, max(0, most-used))
			}
			if path == "/" || path == "." {
				break
			}
		}
	}
	return n
}

// number returns what a file of a control group says, 0 if it is no number.
func number(dir, name string) int64 {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
