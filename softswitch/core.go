package softswitch

import (
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// core is the switch's connection to the proxy's core. Switch.mu guards all of it but outbox.
type core struct {
	up      proxy.Upcalls // nil while the switch is not running
	ran     bool          // it has run before
	outbox  proxy.Outbox
	awaited map[*awaited]struct{}
}

// awaited is a response that a telephone owes.
type awaited struct{ reply func(*uacsta.Message, error) }

// event sends an event to the core while the switch is running. Callers hold s.mu.
func (s *Switch) event(ev *uacsta.Message) {
	if up := s.core.up; up != nil {
		s.core.outbox.Post(func() { up.Event(ev) })
	}
}

// begin starts a life, with nothing left of the previous one. The channel receives an error if
// the life must end.
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
		default: // already failed
		}
	})
	s.core.up, s.core.ran = up, true
	s.core.outbox.Post(up.Ready)
	return failed
}

// forget clears the calls of the previous life, whose timers were stopped.
func (s *Switch) forget() {
	for _, c := range s.calls {
		c.followers, c.route = nil, nil
		for len(c.connections) > 0 {
			c.connections[0].leave()
		}
		c.end(uacsta.CauseNormal, nil)
	}
	s.booked, s.former = nil, former{}
	clear(s.patient)
	s.flush()
}

// end ends a life after everything queued was delivered.
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
		s.core.outbox.Post(func() { a.reply(nil, proxy.Refusal(gate.ErrCut)) })
	}
	clear(s.core.awaited)
	s.mu.Unlock()
	s.core.outbox.Drain()
}

// awaits returns the function that takes a telephone's response: it is delivered in order with
// events, and dropped once the life has ended. Callers hold s.mu.
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
