package tensor

import "golang.org/x/sys/unix"

// adviseHuge asks for huge pages, which save page faults and TLB misses. It is
// advice: where the kernel has none, nothing is lost.
func adviseHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
