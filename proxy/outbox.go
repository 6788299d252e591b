package proxy

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// Outbox has things told one after another, in the order of Post, each by whoever is about to: for
// links that several goroutines may have something to tell the core of. Nothing is locked while
// something is told, so the core may ask the link for something meanwhile. The zero value is empty.
type Outbox struct {
	mu      sync.Mutex
	told    *sync.Cond // all of it has been; nil while nobody waits
	queue   []func()
	telling bool
	failed  func(error) // is told of a panic
}

// Guard has a panic in what is told recovered: fail is told.
func (o *Outbox) Guard(fail func(error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = fail
}

// Post puts something behind what is to be told already; Tell tells it. It can be called with
// locks held.
func (o *Outbox) Post(what func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, what)
}

// Tell tells what is to be told, unless somebody does already, who then tells this, too.
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

// Finish tells what is to be told, and waits until nobody tells anything any more.
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

// guarded does something; fail, if there is one, is told of its panic.
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
