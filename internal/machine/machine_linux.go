package machine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pages returns n elements of memory that are there, in huge pages if the system
// has them, as a tensor's are.
func pages(n int) (x []float32, release func()) {
	b, err := unix.Mmap(-1, 0, 4*n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return filled(make([]float32, n)), func() {}
	}
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // advice
	return filled(unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), n)), func() { _ = unix.Munmap(b) }
}

// tick is the unit of /proc/stat.
const tick = 10 * time.Millisecond

// busy returns the time that all CPUs together have not been idle.
func busy() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	var sum int64
	for i, f := range bytes.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal; guests are in user
		if n, err := strconv.ParseInt(string(f), 10, 64); err == nil && i >= 1 && i <= 8 && i != 4 && i != 5 {
			sum += n
		}
	}
	return time.Duration(sum) * tick
}

// CPUTime returns the time that the threads of processes have run; 0 is this one.
func CPUTime(pids ...int) time.Duration {
	var sum time.Duration
	for _, pid := range pids {
		who := "self"
		if pid != 0 {
			who = strconv.Itoa(pid)
		}
		tasks, _ := filepath.Glob("/proc/" + who + "/task/*/schedstat")
		for _, t := range tasks {
			text, err := os.ReadFile(t)
			if err != nil {
				continue // it has ended
			}
			ns, _, _ := bytes.Cut(text, []byte(" "))
			if n, err := strconv.ParseInt(string(ns), 10, 64); err == nil {
				sum += time.Duration(n)
			}
		}
	}
	return sum
}

// field returns the value of a line "name : value" or "name: value" of a file.
func field(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// CPUName returns the processor's name, or its numbers where it has none.
func CPUName() string {
	if name := field("/proc/cpuinfo", "model name"); name != "" {
		if family := field("/proc/cpuinfo", "cpu family"); family != "" {
			name += fmt.Sprintf(" (family %s model %s)", family, field("/proc/cpuinfo", "model"))
		}
		return name
	}
	if part := field("/proc/cpuinfo", "CPU part"); part != "" {
		return fmt.Sprintf("%s implementer %s part %s", runtime.GOARCH, field("/proc/cpuinfo", "CPU implementer"), part)
	}
	return runtime.GOARCH
}

// caches returns the sizes of the first CPU's data caches.
func caches() []string {
	var out []string
	dirs, _ := filepath.Glob("/sys/devices/system/cpu/cpu0/cache/index*")
	for _, d := range dirs {
		text := func(name string) string {
			b, err := os.ReadFile(filepath.Join(d, name))
			if err != nil {
				return ""
			}
			return strings.TrimSpace(string(b))
		}
		if kind := text("type"); kind != "" && kind != "Instruction" {
			out = append(out, "L"+text("level")+" "+text("size"))
		}
	}
	return out
}

// memory returns the machine's memory in bytes.
func memory() int64 { return kilobytes("/proc/meminfo", "MemTotal") }

func kilobytes(file, name string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(field(file, name), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// Resident returns what this process holds of the machine's memory, in bytes.
func Resident() Memory {
	const status = "/proc/self/status"
	return Memory{Peak: kilobytes(status, "VmHWM"), Anon: kilobytes(status, "RssAnon"), File: kilobytes(status, "RssFile")}
}

// Confine keeps this process's threads to the first n of the CPUs that it may
// use, until undo.
func Confine(n int) (undo func(), err error) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return nil, err
	}
	if n < 1 || n > may.Count() {
		return nil, fmt.Errorf("%d threads wanted, the process may use %d CPUs", n, may.Count())
	}
	var few unix.CPUSet
	for cpu := 0; few.Count() < n; cpu++ {
		if may.IsSet(cpu) {
			few.Set(cpu)
		}
	}
	if err := confine(&few); err != nil {
		return nil, err
	}
	return func() { _ = confine(&may) }, nil
}

// pin keeps the goroutine that calls it to the i-th of the CPUs that it may use, if
// there are as many, until undo.
func pin(i int) (undo func()) {
	runtime.LockOSThread()
	var may, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil || i >= may.Count() {
		return runtime.UnlockOSThread
	}
	cpu := 0
	for left := i; ; cpu++ {
		if may.IsSet(cpu) {
			if left == 0 {
				break
			}
			left--
		}
	}
	one.Set(cpu)
	_ = unix.SchedSetaffinity(0, &one) // without it the system places the thread
	return func() {
		_ = unix.SchedSetaffinity(0, &may)
		runtime.UnlockOSThread()
	}
}

// confine sets what CPUs the threads may use; a new thread has those of the one
// that made it.
func confine(set *unix.CPUSet) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, set); err != nil && err != unix.ESRCH { // ended meanwhile
			return err
		}
	}
	return nil
}
