package tensor

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestWorkersRunEachTaskOnce(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 8} {
		w := NewWorkers(n)
		if w.N() != max(n, 1) {
			t.Fatalf("N() = %d, want %d", w.N(), max(n, 1))
		}
		for _, tasks := range []int{0, 1, 2, 7, 1000} {
			counts := make([]atomic.Int32, tasks)
			busy := make([]atomic.Int32, w.N())
			w.Run(tasks, func(task, worker int) {
				if busy[worker].Add(1) != 1 {
					t.Errorf("two tasks at a time as worker %d", worker)
				}
				counts[task].Add(1)
				busy[worker].Add(-1)
			})
			for i := range counts {
				if c := counts[i].Load(); c != 1 {
					t.Fatalf("n %d, %d tasks: task %d ran %d times", n, tasks, i, c)
				}
			}
		}
		w.Close()
	}
}

// Parked helpers wake up: runs with pauses longer than they spin.
func TestWorkersWakeAfterPark(t *testing.T) {
	w := NewWorkers(3)
	defer w.Close()
	for range 20 {
		time.Sleep(3 * spin)
		var both sync.WaitGroup
		both.Add(2) // the run can end only if two threads take part
		w.Run(2, func(int, int) {
			both.Done()
			both.Wait()
		})
	}
}

func TestWorkersConcurrentAndNested(t *testing.T) {
	w := NewWorkers(3)
	defer w.Close()
	var wg sync.WaitGroup
	var total atomic.Int64
	for range 4 {
		wg.Go(func() {
			for range 200 {
				w.Run(5, func(int, int) {
					w.Run(3, func(int, int) { total.Add(1) })
				})
			}
		})
	}
	wg.Wait()
	if got := total.Load(); got != 4*200*5*3 {
		t.Errorf("%d tasks ran, want %d", got, 4*200*5*3)
	}
}

func TestWorkersPanic(t *testing.T) {
	for _, n := range []int{1, 3} {
		w := NewWorkers(n)
		for range 50 {
			func() {
				defer func() {
					if v := recover(); v != "task 7" {
						t.Fatalf("n %d: recovered %v, want task 7", n, v)
					}
				}()
				w.Run(20, func(task, _ int) {
					if task == 7 {
						panic("task 7")
					}
				})
			}()
			ran := atomic.Int32{}
			w.Run(9, func(int, int) { ran.Add(1) })
			if ran.Load() != 9 {
				t.Fatalf("n %d: after a panic, %d tasks ran, want 9", n, ran.Load())
			}
		}
		w.Close()
	}
}

func TestWorkersClosed(t *testing.T) {
	w := NewWorkers(4)
	w.Close()
	w.Close()
	n := 0
	w.Run(10, func(_, worker int) { n += 1 + worker })
	if n != 10 {
		t.Errorf("a closed pool ran %d tasks, want 10", n)
	}
}

func TestWorkersAllocateNothing(t *testing.T) {
	w := NewWorkers(2)
	defer w.Close()
	var sum atomic.Int64
	f := func(task, _ int) { sum.Add(int64(task)) }
	if n := testing.AllocsPerRun(100, func() { w.Run(16, f) }); n != 0 {
		t.Errorf("%v allocations a run, want 0", n)
	}
}
