package proxy

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// An Outbox calls functions one after another, in the order of Post. It serves links of which several
// goroutines have something to deliver to the core. No lock is held during a call, so the core may
// call the link meanwhile. The zero value is empty and ready for use.
//
// Typically a link calls Post with its own lock held, releases the lock, and calls Flush.
type Outbox struct {
	mu      sync.Mutex
	told    *sync.Cond // signals that Flush has ended; nil while nobody waits
	queue   []func()
	telling bool
	failed  func(error) // receives panics; nil: they are not recovered
}

// Guard recovers panics of the posted functions and passes them to fail.
func (o *Outbox) Guard(fail func(error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = fail
}

// Post appends a function to the queue. The caller may hold locks. Flush calls the function.
func (o *Outbox) Post(what func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, what)
}

// Flush calls the queued functions and returns when the queue is empty. If another goroutine is in
// Flush already, that one calls them, and this call returns at once.
func (o *Outbox) Flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.telling {
		return
	}
	o.telling = true
	for len(o.queue) > 0 {
		queue, fail := o.queue, o.failed
		o.queue = nil
		o.mu.Unlock()
		for _, what := range queue {
			guarded(what, fail)
		}
		o.mu.Lock()
	}
	o.telling = false
	if o.told != nil {
		o.told.Broadcast()
	}
}

// Drain calls the queued functions and waits until no goroutine is in Flush.
func (o *Outbox) Drain() {
	o.Flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told == nil {
		o.told = sync.NewCond(&o.mu)
	}
	for o.telling {
		o.told.Wait()
	}
}

// guarded calls what. If fail is not nil, guarded recovers a panic and passes it to fail.
func guarded(what func(), fail func(error)) {
	if fail != nil {
		defer func() {
			if p := recover(); p != nil {
				fail(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
	}
	what()
}
