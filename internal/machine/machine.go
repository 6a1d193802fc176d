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
	maxProbes = 40                   // before a sample begins anyway
	wakeTime  = 2 * time.Millisecond // before a probe: CPUs that slept take a while
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
	r := NewReader(threads)
	defer r.Release()
	for end := time.Now().Add(d / 2); ; {
		l.Read = max(l.Read, r.Rate())
		if !time.Now().Before(end) {
			break
		}
	}
	return l
}

// A Reader measures how fast memory can be read. It holds 256 MB to read.
type Reader struct {
	threads int
	x       []float32
	release func()
}

// NewReader returns a Reader for a number of threads; Release it.
func NewReader(threads int) *Reader {
	r := &Reader{threads: threads}
	r.x, r.release = pages(readBytes / 4)
	return r
}

// Release gives the memory back.
func (r *Reader) Release() { r.release() }

// Rate reads for 20 ms, each thread a part of the memory of its own in eight streams,
// and returns the bytes a second of all threads together.
func (r *Reader) Rate() float64 {
	each := len(r.x) / r.threads
	return together(r.threads, readTime, func(thread int, until time.Time) float64 {
		part := r.x[thread*each:][:each]
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
	})
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

// together runs work on several threads at once for about d and returns what all
// of them did a second: from where all are ready, so that waking them does not
// count, to where the last has ended, so that threads that the system ran one
// after the other do not count twice. Each has a CPU of its own: two threads that
// have just been woken may otherwise sit on one for longer than a probe lasts.
func together(threads int, d time.Duration, work func(thread int, until time.Time) float64) float64 {
	var ready atomic.Int64
	var wait sync.WaitGroup
	starts, ends, done := make([]time.Time, threads), make([]time.Time, threads), make([]float64, threads)
	run := func(i int) {
		defer pin(i)()
		for ready.Add(1); ready.Load() < int64(threads); {
			runtime.Gosched()
		}
		starts[i] = time.Now()
		done[i] = work(i, starts[i].Add(d))
		ends[i] = time.Now()
	}
	for i := 1; i < threads; i++ {
		wait.Go(func() { run(i) })
	}
	run(0)
	wait.Wait()
	first, last, sum := starts[0], ends[0], 0.0
	for i := range threads {
		if starts[i].Before(first) {
			first = starts[i]
		}
		if ends[i].After(last) {
			last = ends[i]
		}
		sum += done[i]
	}
	return sum / last.Sub(first).Seconds()
}

// A Sample is one measurement with what went on around it.
type Sample struct {
	Seconds       float64
	Before, After float64 // operations a second of the multiply-adds around it
	Others        float64 // share of the CPUs that other processes took meanwhile
	Read          float64 // bytes a second that could be read around it, if the clock has a Reader
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

	// Reader, if not nil, reads before and after each sample: how fast memory is
	// depends on the neighbours more than how fast the CPUs are.
	Reader *Reader

	// Settle, if not nil, is called before each probe: it waits until nothing goes
	// on of what was measured.
	Settle func()
}

func (c *Clock) probe() float64 {
	if c.Settle != nil {
		c.Settle()
	}
	FMA(c.Threads, wakeTime)
	return FMA(c.Threads, probeTime)
}

// Start begins a sample, at the first probe that is quiet. The pids are processes that are at work for it, beside
// this one. It should last 0.2 s or more: the system counts others' time in steps
// of 10 ms a CPU.
func (c *Clock) Start(pids ...int) *Stretch {
	s := &Stretch{clock: c, pids: append([]int{0}, pids...)}
	for range maxProbes { // a machine that others share is quiet again in a while
		s.sample.Before = c.probe()
		if c.Best = max(c.Best, s.sample.Before); s.sample.Before >= QuietFMA*c.Best {
			break
		}
	}
	if c.Reader != nil {
		s.sample.Read = c.Reader.Rate()
	}
	s.busy, s.own, s.start = busy(), CPUTime(s.pids...), time.Now()
	return s
}

// A Stretch is a sample that is being taken.
type Stretch struct {
	clock     *Clock
	pids      []int
	sample    Sample
	start     time.Time
	busy, own time.Duration
}

// Stop ends a sample.
func (s *Stretch) Stop() Sample {
	wall := time.Since(s.start)
	others := busy() - s.busy - (CPUTime(s.pids...) - s.own)
	s.sample.After = s.clock.probe()
	if r := s.clock.Reader; r != nil {
		s.sample.Read = (s.sample.Read + r.Rate()) / 2
	}
	s.sample.Seconds = wall.Seconds()
	s.sample.Others = math.Max(0, float64(others)) / float64(wall) / float64(runtime.NumCPU())
	s.clock.Best = max(s.clock.Best, s.sample.Before, s.sample.After)
	return s.sample
}

// Quiet tells whether a sample counts: both probes reached 92 % of the best, and
// the others took 6 % of the CPUs at most. Ask when all samples are taken.
func (c *Clock) Quiet(s Sample) bool {
	return min(s.Before, s.After) >= QuietFMA*c.Best && s.Others <= QuietOthers
}
