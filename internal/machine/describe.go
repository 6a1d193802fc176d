package machine

import (
	"runtime"

	"github.com/tenon-ml/tenon/asm"
)

// Description is what a result needs beside it to mean something.
type Description struct {
	CPU    string   `json:"cpu"`
	Cores  int      `json:"cores"` // CPUs that the program may use
	Caches []string `json:"caches"`
	Memory int64    `json:"memory_bytes"`
	OS     string   `json:"os"`
	Go     string   `json:"go"`
	Tier   string   `json:"tier"`
}

// Describe describes the machine and the program.
func Describe() Description {
	return Description{
		CPU: CPUName(), Cores: runtime.NumCPU(), Caches: caches(), Memory: memory(),
		OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Tier: asm.Tier(),
	}
}

// Memory is what a process holds of the machine's memory, in bytes.
type Memory struct {
	Peak int64 `json:"peak_bytes"` // the most that was resident at once (VmHWM)
	Anon int64 `json:"anon_bytes"` // resident now and of no file (RssAnon)
	File int64 `json:"file_bytes"` // resident now, of mapped files (RssFile)
}

// filled writes to memory, so that it is there.
func filled(x []float32) []float32 {
	for i := 0; i < len(x); i += 1 << 10 {
		x[i] = 1
	}
	return x
}
