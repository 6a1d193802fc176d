package cli

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
)

// rssBytes returns the resident memory of this process in bytes (VmRSS of
// /proc/self/status), 0 if the system does not tell.
func rssBytes() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		f := bytes.Fields(s.Bytes())
		if len(f) == 3 && string(f[0]) == "VmRSS:" && string(f[2]) == "kB" {
			n, err := strconv.ParseInt(string(f[1]), 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}
