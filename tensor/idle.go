package tensor

import "sync"

// idle keeps calls that have ended for the next ones, so that a warm call allocates
// nothing. Several goroutines may use it at once.
type idle[T any] struct {
	mu   sync.Mutex
	free []*T
}

// take returns a kept call, or nil.
func (p *idle[T]) take() *T {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free)
	if n == 0 {
		return nil
	}
	x := p.free[n-1]
	p.free = p.free[:n-1]
	return x
}

// give keeps a call that has ended.
func (p *idle[T]) give(x *T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, x)
}
