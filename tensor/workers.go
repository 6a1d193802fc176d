package tensor

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Workers is a pool of persistent goroutines that share the tasks of one Run.
// It is safe for concurrent use.
type Workers struct {
	n       int
	busy    sync.Mutex // held by the Run that uses the helpers
	helpers []*helper
	job     job
	gemms   idle[gemmCall]
	closed  atomic.Bool
	compute Compute
}

// job is the Run in progress. f and tasks are written while it is closed and
// read by those who have joined.
type job struct {
	f        func(task, worker int)
	tasks    int
	next     atomic.Int64
	panicked atomic.Pointer[taskPanic]

	// state is the number of the Run, a bit that says whether it may be joined,
	// and the count of the helpers that have joined and not finished. A helper
	// that wakes up too late joins nothing, and nobody waits for it.
	state atomic.Uint64
}

const (
	jobCount = 1<<20 - 1
	jobOpen  = 1 << 20
	jobRun   = 1 << 21 // one Run further
)

type taskPanic struct{ value any }

// helper is how one goroutine is woken after it has parked.
type helper struct {
	parked atomic.Bool
	wake   chan struct{}
	_      [48]byte // flags of different helpers lie on different cache lines
}

// spin is how long an idle helper looks for work before it parks. A wake-up
// costs about 50 µs, more than many a kernel; the regions of a forward pass
// follow each other within that.
const spin = 100 * time.Microsecond

// NewWorkers returns a pool that runs tasks on n threads, the caller of Run
// being one of them. n below 1 is 1. Close it when done.
func NewWorkers(n int) *Workers {
	w := &Workers{n: max(n, 1)}
	for i := 1; i < w.n; i++ {
		h := &helper{wake: make(chan struct{}, 1)}
		w.helpers = append(w.helpers, h)
		go w.serve(h, i)
	}
	return w
}

// N returns the number of threads.
func (w *Workers) N() int { return w.n }

// Run calls f(task, worker) for every task in 0..tasks-1 and returns when all
// calls have returned. Tasks are claimed in order by whoever is free; worker is
// below N, and no two calls that run at the same time within one Run have the
// same one. The caller works as worker 0. If a task panics, the remaining ones
// are not started and Run panics with the first value. A Run within a task, or
// beside another Run, works through its tasks alone, as worker 0.
func (w *Workers) Run(tasks int, f func(task, worker int)) {
	if w.n == 1 || tasks <= 1 || !w.busy.TryLock() {
		alone(tasks, f)
		return
	}
	defer w.busy.Unlock()
	if len(w.helpers) == 0 { // closed: a helper that has not noticed yet is not to join
		alone(tasks, f)
		return
	}
	j := &w.job
	j.f, j.tasks = f, tasks
	j.next.Store(0)
	j.panicked.Store(nil)
	j.state.Store(j.state.Load() + jobRun | jobOpen) // the count is 0
	for _, h := range w.helpers[:min(len(w.helpers), tasks-1)] {
		if h.parked.Load() && h.parked.CompareAndSwap(true, false) {
			h.wake <- struct{}{}
		}
	}
	j.work(0)
	j.state.And(^uint64(jobOpen))
	for i := 1; j.state.Load()&jobCount != 0; i++ {
		if i%256 == 0 {
			runtime.Gosched()
		}
	}
	j.f = nil
	if p := j.panicked.Load(); p != nil {
		panic(p.value)
	}
}

// alone works through all tasks as worker 0.
func alone(tasks int, f func(task, worker int)) {
	for task := range tasks {
		f(task, 0)
	}
}

// Close ends the helpers and gives mapped memory back. A later Run works in its caller
// alone.
func (w *Workers) Close() {
	w.closed.Store(true)
	for g := w.gemms.take(); g != nil; g = w.gemms.take() {
		g.close()
	}
	w.busy.Lock()
	defer w.busy.Unlock()
	for _, h := range w.helpers {
		close(h.wake)
	}
	w.helpers = nil
}

// work claims tasks until none is left.
func (j *job) work(worker int) {
	defer func() {
		if v := recover(); v != nil {
			j.panicked.CompareAndSwap(nil, &taskPanic{v})
			j.next.Store(int64(j.tasks))
		}
	}()
	for {
		task := int(j.next.Add(1)) - 1
		if task >= j.tasks {
			return
		}
		j.f(task, worker)
	}
}

// join enters the Run that state describes, if it is still open.
func (j *job) join(state uint64) bool {
	for run := state / jobRun; state/jobRun == run && state&jobOpen != 0; state = j.state.Load() {
		if j.state.CompareAndSwap(state, state+1) {
			return true
		}
	}
	return false
}

func (w *Workers) serve(h *helper, worker int) {
	j := &w.job
	seen := uint64(0)
	for {
		state, ok := h.await(j, seen)
		if !ok {
			return
		}
		seen = state / jobRun
		if j.join(state) {
			j.work(worker)
			j.state.Add(^uint64(0)) // the count less one
		}
	}
}

// await returns the state of a Run after the one seen, and false when the pool
// is closed.
func (h *helper) await(j *job, seen uint64) (state uint64, ok bool) {
	start := time.Now()
	for i := 1; ; i++ {
		if state := j.state.Load(); state/jobRun != seen {
			return state, true
		}
		if i%64 == 0 {
			if time.Since(start) > spin {
				break
			}
			runtime.Gosched()
		}
	}
	h.parked.Store(true)
	if state := j.state.Load(); state/jobRun != seen && h.parked.CompareAndSwap(true, false) {
		return state, true
	}
	_, open := <-h.wake
	return j.state.Load(), open
}
