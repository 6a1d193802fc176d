// Package arrows is a test: it checks which of tenon's packages import which,
// in the way of Go's own go/build/deps_test.go. There is nothing to import.
package arrows
