// Package machine measures what the machine that runs the program can do at
// best, so that a figure can be given as a share of it, and tells a measurement
// that was left alone from one that was disturbed.
package machine

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/asm"
)

// Limits are what a number of threads can do at best, measured.
type Limits struct {
	FMA     float64 // floating-point operations a second: F32 multiply-adds in registers, two each
	Read    float64 // bytes a second read from memory, by eight streams a thread
	Threads int
	CPU     string // the processor's name
	Tier    string // of package asm, which decides how wide a multiply-add is
}

const (
	probeTime = 3 * time.Millisecond
	readTime  = 20 * time.Millisecond
	readBytes = 256 << 20 // far more than any cache, in all threads together
)

// Measure measures the limits of a number of threads (below 1: all that Go may
// use) for about d, half of it multiply-adds and half of it reads; each limit is
// the best of the intervals, since a disturbance only slows.
func Measure(threads int, d time.Duration) Limits {
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	l := Limits{Threads: threads, CPU: CPUName(), Tier: asm.Tier()}
	for end := time.Now().Add(d / 2); ; {
		l.FMA = max(l.FMA, FMA(threads, probeTime))
		if !time.Now().Before(end) {
			break
		}
	}
	x, release := pages(readBytes / 4)
	defer release()
	each := len(x) / threads
	pass := func(thread int, until time.Time) float64 {
		part := x[thread*each:][:each]
		n := 0
		for at := 0; time.Now().Before(until); {
			piece := part[at:][:min(1<<20, each-at)]
			asm.ReadStreams(piece)
			n += len(piece)
			if at += len(piece); at == each {
				at = 0
			}
		}
		return 4 * float64(n)
	}
	for end := time.Now().Add(d / 2); ; {
		l.Read = max(l.Read, together(threads, readTime, pass))
		if !time.Now().Before(end) {
			break
		}
	}
	return l
}

// FMA does F32 multiply-adds in registers on a number of threads for about d, and
// returns how many floating-point operations a second that gave, two each.
func FMA(threads int, d time.Duration) float64 {
	return together(threads, d, func(_ int, until time.Time) float64 {
		n := 0
		for time.Now().Before(until) {
			n += asm.FMALoop(1 << 11) // some 20 µs
		}
		return float64(n)
	})
}

// together runs work on several threads at once for about d and returns the sum
// of what they did a second. Each one's time is its own, from where all of them
// are ready, so that waking them does not count.
func together(threads int, d time.Duration, work func(thread int, until time.Time) float64) float64 {
	var ready atomic.Int64
	var wait sync.WaitGroup
	rates := make([]float64, threads)
	run := func(i int) {
		ready.Add(1)
		for late := time.Now().Add(10 * time.Millisecond); ready.Load() < int64(threads) && time.Now().Before(late); {
			runtime.Gosched()
		}
		start := time.Now()
		done := work(i, start.Add(d))
		rates[i] = done / time.Since(start).Seconds()
	}
	for i := 1; i < threads; i++ {
		wait.Go(func() { run(i) })
	}
	run(0)
	wait.Wait()
	var sum float64
	for _, r := range rates {
		sum += r
	}
	return sum
}

// A Sample is one measurement with what went on around it.
type Sample struct {
	Seconds       float64
	Before, After float64 // operations a second of the multiply-adds around it
	Others        float64 // share of the CPUs that other processes took meanwhile
}

// What a sample must have around it to count (Quiet).
const (
	QuietFMA    = 0.92 // of the best multiply-adds seen
	QuietOthers = 0.06 // of the CPUs
)

// A Clock takes samples: each between two probes of multiply-adds, and with an
// eye on the time that others had.
type Clock struct {
	Threads int
	Best    float64 // the best probe so far, operations a second
}

// Sample measures f. The pids are processes that f has at work, beside this one.
// f should take 0.2 s or more: the system counts others' time in steps of 10 ms a
// CPU.
func (c *Clock) Sample(f func() error, pids ...int) (Sample, error) {
	pids = append([]int{0}, pids...)
	var s Sample
	s.Before = FMA(c.Threads, probeTime)
	all, own, start := busy(), ownTime(pids), time.Now()
	err := f()
	wall := time.Since(start)
	all, own = busy()-all, ownTime(pids)-own
	s.After = FMA(c.Threads, probeTime)
	s.Seconds = wall.Seconds()
	s.Others = math.Max(0, (all-own).Seconds()) / s.Seconds / float64(runtime.NumCPU())
	c.Best = max(c.Best, s.Before, s.After)
	return s, err
}

// Quiet tells whether a sample counts: both probes reached 92 % of the best, and
// the others took 6 % of the CPUs at most. Ask when all samples are taken.
func (c *Clock) Quiet(s Sample) bool {
	return min(s.Before, s.After) >= QuietFMA*c.Best && s.Others <= QuietOthers
}
