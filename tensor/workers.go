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
	n      int
	busy   sync.Mutex // held by the Run that uses the helpers
	job    job
	helper []*helper
	gemms  gemmPool
}

// job is the Run in progress. Its fields are written before the helpers are
// woken and read by them after.
type job struct {
	f        func(task, worker int)
	tasks    int
	next     atomic.Int64
	active   atomic.Int64 // helpers that have not finished
	panicked atomic.Pointer[taskPanic]
}

type taskPanic struct{ value any }

// helper is the mailbox of one goroutine: it spins on epoch for a while, then
// parks on wake.
type helper struct {
	epoch  atomic.Uint64
	parked atomic.Bool
	wake   chan struct{}
	_      [64]byte // helpers spin on their own cache lines
}

// spin is how long an idle helper, or a Run that waits for its last task, looks
// for work before it parks or yields. A wake-up costs about 50 µs, more than
// most kernels; regions of a forward pass follow each other within that.
const spin = 100 * time.Microsecond

// NewWorkers returns a pool that runs tasks on n threads, the caller of Run
// being one of them. n below 1 is 1. Close it when done.
func NewWorkers(n int) *Workers {
	w := &Workers{n: max(n, 1)}
	for i := 1; i < w.n; i++ {
		h := &helper{wake: make(chan struct{}, 1)}
		w.helper = append(w.helper, h)
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
		for task := range tasks {
			f(task, 0)
		}
		return
	}
	defer w.busy.Unlock()
	j := &w.job
	if len(w.helper) == 0 { // closed
		for task := range tasks {
			f(task, 0)
		}
		return
	}
	helpers := w.helper[:min(len(w.helper), tasks-1)]
	j.f, j.tasks = f, tasks
	j.next.Store(0)
	j.active.Store(int64(len(helpers)))
	j.panicked.Store(nil)
	for _, h := range helpers {
		h.epoch.Add(1)
		if h.parked.CompareAndSwap(true, false) {
			h.wake <- struct{}{}
		}
	}
	j.work(0)
	for i := 0; j.active.Load() != 0; i++ {
		if i%256 == 255 {
			runtime.Gosched()
		}
	}
	j.f = nil
	if p := j.panicked.Load(); p != nil {
		panic(p.value)
	}
}

// Close ends the helpers. A later Run works in its caller alone.
func (w *Workers) Close() {
	w.busy.Lock()
	defer w.busy.Unlock()
	for _, h := range w.helper {
		close(h.wake)
	}
	w.helper = nil
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

func (w *Workers) serve(h *helper, worker int) {
	var seen uint64
	for {
		if !h.await(seen) {
			return
		}
		seen++
		w.job.work(worker)
		w.job.active.Add(-1)
	}
}

// await returns true once epoch has moved past seen, and false when the pool is
// closed.
func (h *helper) await(seen uint64) bool {
	for start, i := time.Now(), 0; ; i++ {
		if h.epoch.Load() != seen {
			return true
		}
		if i%64 == 63 {
			if time.Since(start) > spin {
				break
			}
			runtime.Gosched()
		}
	}
	h.parked.Store(true)
	if h.epoch.Load() != seen && h.parked.CompareAndSwap(true, false) {
		return true
	}
	_, open := <-h.wake
	return open
}
