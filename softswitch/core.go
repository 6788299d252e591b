package softswitch

import (
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// core is what the switch has to do with the core of the proxy. All but the outbox is guarded by
// Switch.mu.
type core struct {
	up      proxy.Upcalls // nil while the switch does not run
	ran     bool          // it has run before
	outbox  proxy.Outbox
	awaited map[*awaited]struct{}
}

// awaited is a reply that a telephone will give.
type awaited struct{ reply func(*uacsta.Message, error) }

// event tells an event, if there is anybody to hear it; s.mu is held.
func (s *Switch) event(ev *uacsta.Message) {
	if up := s.core.up; up != nil {
		s.core.outbox.Post(func() { up.Event(ev) })
	}
}

// begin begins a life: nothing is left of the one before. It returns what says that the life cannot
// go on.
func (s *Switch) begin(up proxy.Upcalls) <-chan error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.core.ran {
		s.forget()
	}
	failed := make(chan error, 1)
	s.core.outbox.Guard(func(err error) {
		select {
		case failed <- err:
		default: // it has failed before
		}
	})
	s.core.up, s.core.ran = up, true
	s.core.outbox.Post(up.Ready)
	return failed
}

// forget ends the calls of the life before: their timers have been stopped.
func (s *Switch) forget() {
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

// end ends a life, once all is told.
func (s *Switch) end() {
	s.mu.Lock()
	s.core.up = nil
	s.stopTimers()
	for _, m := range s.monitors { // references end with their life
		if m.device != nil {
			m.device.monitors = nil
			s.note(m.device)
		}
	}
	clear(s.monitors)
	clear(s.registrations)
	clear(s.dialogues)
	for a := range s.core.awaited {
		s.core.outbox.Post(func() { a.reply(nil, proxy.Refusal(gate.ErrClosed)) })
	}
	clear(s.core.awaited)
	s.mu.Unlock()
	s.core.outbox.Drain()
}

// awaits returns what takes the answer of a telephone, in its order among what is to be told, and
// before the life has ended; later, it is dropped. s.mu is held.
func (s *Switch) awaits(reply func(*uacsta.Message, error)) func(*uacsta.Message, error) {
	a := &awaited{reply}
	s.core.awaited[a] = struct{}{}
	return func(res *uacsta.Message, err error) {
		defer s.core.outbox.Flush()
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, still := s.core.awaited[a]; still {
			delete(s.core.awaited, a)
			s.core.outbox.Post(func() { reply(res, err) })
		}
	}
}
