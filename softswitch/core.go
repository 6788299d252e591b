package softswitch

import (
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/tr87proxy/tr87proxy/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// core is what the switch has to say to the core of the proxy, in order. It is said with nothing
// locked, by one goroutine at a time: the core may call the switch meanwhile. It is guarded by
// Switch.mu.
type core struct {
	up      proxy.Upcalls // nil while the switch does not run
	ran     bool          // it has run before
	failed  chan error    // why it cannot go on
	queue   []func()      // what nobody has said yet
	saying  bool          // somebody says it
	said    *sync.Cond    // all of it has been said
	awaited map[*awaited]struct{}
}

// awaited is a reply that a telephone will give.
type awaited struct{ reply func(*uacsta.Message, error) }

// tell puts something behind what is to be said already.
func (c *core) tell(what func()) { c.queue = append(c.queue, what) }

// event tells an event, if there is anybody to hear it.
func (s *Switch) event(ev *uacsta.Message) {
	if up := s.core.up; up != nil {
		s.core.tell(func() { up.Event(ev) })
	}
}

// begin begins a life: nothing is left of the one before. It returns what says that the life cannot
// go on.
func (s *Switch) begin(up proxy.Upcalls) <-chan error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.core
	if c.ran {
		s.forget()
	}
	c.up, c.ran, c.failed = up, true, make(chan error, 1)
	c.tell(up.Ready)
	return c.failed
}

// forget ends the calls, monitors and registrations of the life before: their timers have been
// stopped.
func (s *Switch) forget() {
	for _, m := range s.monitors {
		if m.device != nil {
			m.device.monitors = nil
			s.note(m.device)
		}
	}
	clear(s.monitors)
	clear(s.registrations)
	clear(s.dialogues)
	for _, c := range s.calls {
		c.followers, c.route = nil, nil
		for len(c.connections) > 0 {
			c.connections[0].leave()
		}
		c.end(uacsta.CauseNormal, false)
	}
	s.booked = nil
	clear(s.patient)
	s.flush()
}

// end ends a life, once all is said.
func (s *Switch) end() {
	s.mu.Lock()
	c := &s.core
	c.up = nil
	s.stopTimers()
	for a := range c.awaited {
		c.tell(func() { a.reply(nil, proxy.Refusal(gate.ErrClosed)) })
	}
	clear(c.awaited)
	s.mu.Unlock()
	s.say()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c.saying {
		c.said.Wait()
	}
}

// awaits returns what takes the answer of a telephone, in its order among what is to be said, and
// before the life has ended; later, it is dropped. s.mu is held.
func (s *Switch) awaits(reply func(*uacsta.Message, error)) func(*uacsta.Message, error) {
	a := &awaited{reply}
	s.core.awaited[a] = struct{}{}
	return func(res *uacsta.Message, err error) {
		defer s.say()
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, still := s.core.awaited[a]; still {
			delete(s.core.awaited, a)
			s.core.tell(func() { reply(res, err) })
		}
	}
}

// say says what is to be said, unless somebody does already, who then says this, too.
func (s *Switch) say() {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.core
	if c.saying {
		return
	}
	c.saying = true
	for len(c.queue) > 0 {
		queue, failed := c.queue, c.failed
		c.queue = nil
		s.mu.Unlock()
		for _, what := range queue {
			survive(what, failed)
		}
		s.mu.Lock()
	}
	c.saying = false
	c.said.Broadcast()
}

// survive does something. If it panics, the life cannot go on.
func survive(what func(), failed chan<- error) {
	defer func() {
		if p := recover(); p != nil {
			select {
			case failed <- fmt.Errorf("panic: %v\n%s", p, debug.Stack()):
			default: // it has failed before
			}
		}
	}()
	what()
}
