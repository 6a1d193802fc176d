package tensor

// NewDry returns a CPU that hands out memory as a CPU does, by the same pool, and has
// none behind its large buffers: to find out what a computation would take
// (MemoryStats, Touched) by going through it. kernels are what it is to do in the
// place of computing.
func NewDry(kernels Kernels) *CPU {
	return &CPU{workers: NewWorkers(1), kernels: kernels, mem: memory{dry: true}}
}
