//go:build !linux

package cli

import "runtime/metrics"

// rssBytes returns the memory that Go's runtime holds, in bytes: the nearest to
// the resident memory that can be had everywhere.
func rssBytes() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}
