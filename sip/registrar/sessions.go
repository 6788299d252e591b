package registrar

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// With uaCSTA a telephone is a switching function itself. The server opens a TR/87 dialog to the contact that the
// telephone has registered.

// csta is the session with one telephone. The server's lock guards it.
type csta struct {
	client  conversation // nil if there is no session
	opening bool
	asking  bool      // a request to start or stop our monitor is outstanding
	next    time.Time // earliest time of the next try
	wait    time.Duration
	ref     string // cross reference of our monitor at the telephone; "" for none
}

const (
	cstaTimeout   = 5 * time.Second
	cstaRetry     = 5 * time.Second // delay before the second try; doubled for each further one
	cstaMostRetry = 10 * time.Minute
	cstaRefused   = time.Hour // after a telephone has said that it does not speak CSTA
)

// noMonitor is the cross reference for a telephone without monitor, because it sends no events or has refused
// one.
const noMonitor = "none"

// wants reports whether sessions with the user's telephones should be open. Callers hold the server's lock.
func (u *user) wants() bool { return u.UACSTA == Always || u.UACSTA == Monitored && u.monitored }

// converse opens and closes sessions with telephones, and starts and stops our monitors in them.
func (s *Server) converse(now time.Time) {
	for _, u := range s.users {
		if u.UACSTA == "" || u.UACSTA == Never {
			continue
		}
		var end []conversation
		var then []func()
		s.mu.Lock()
		wants := u.wants()
		for _, b := range u.bindings {
			c := &b.csta
			switch {
			case wants && c.client == nil && !c.opening && b.reachable(now) && now.After(c.next):
				c.opening = true
				then = append(then, func() { s.spawn(func() { s.openSession(u, b) }) })
			case !wants && c.client != nil:
				end = append(end, c.client)
				c.client, c.ref = nil, ""
			case c.client != nil && (c.ref != "") != u.monitored && !c.asking && !b.model.withoutDialog():
				c.asking = true
				then = append(then, func() { u.asks.Must(func() { s.monitor(u, b) }) })
			}
		}
		s.mu.Unlock()
		for _, do := range then {
			do()
		}
		for _, client := range end {
			client.Close()
		}
		if len(end) > 0 {
			s.conversed(u)
		}
	}
}

// left closes the sessions with telephones that are no longer registered.
func (s *Server) left(u *user, before []*binding) {
	var end []conversation
	s.mu.Lock()
	for _, b := range before {
		if b.csta.client != nil && !slices.Contains(u.bindings, b) {
			end = append(end, b.csta.client)
			b.csta.client = nil
		}
	}
	s.mu.Unlock()
	for _, client := range end {
		client.Close()
	}
	if len(end) > 0 {
		s.spawn(func() { s.conversed(u) })
	}
}

// hangUp closes the session with one of a user's telephones, or, with nil, all of them. They open again after
// cstaRetry.
func (s *Server) hangUp(u *user, which conversation) {
	var end []conversation
	s.mu.Lock()
	for _, b := range u.bindings {
		if c := &b.csta; c.client != nil && (which == nil || c.client == which) {
			end = append(end, c.client)
			c.client, c.ref, c.next = nil, "", time.Now().Add(cstaRetry)
		}
	}
	s.mu.Unlock()
	for _, client := range end {
		client.Close()
	}
	if len(end) > 0 {
		s.conversed(u)
	}
}

// conversed reports to the owner that a session with a user's telephones was opened or closed.
func (s *Server) conversed(u *user) {
	s.restand(u)
	u.asks.Must(func() { s.serve(u) })
}

// attempt is one try to open a session. The session may close before the server knows that it is open. The server's
// lock guards it.
type attempt struct {
	client conversation
	closed bool
}

// ended handles the end of a session by its telephone. Another session may be open by now.
func (s *Server) ended(u *user, b *binding, one *attempt, reason error) {
	s.mu.Lock()
	one.closed = true
	if one.client != nil && b.csta.client == one.client {
		b.csta.client, b.csta.ref, b.csta.next = nil, "", time.Now().Add(cstaRetry)
	}
	s.mu.Unlock()
	s.log.Info("uaCSTA session closed", "device", u.Number, "reason", reason)
	s.spawn(func() { s.conversed(u) })
}

// openSession opens the session with one telephone: INVITE with RequestSystemStatus.
func (s *Server) openSession(u *user, b *binding) {
	ctx, cancel := context.WithTimeout(s.ctx, cstaTimeout)
	defer cancel()
	defer s.tried(u, b)
	if b.model.withoutDialog() {
		s.mu.Lock()
		b.csta.client, b.csta.ref = &notifier{s, u, b}, noMonitor
		s.mu.Unlock()
		s.conversed(u)
		return
	}
	one := &attempt{}
	at := s.at(b)
	client, err := tr87.Open(ctx, s.ua, tr87.Dial{
		To: at.Address(u.Number), Target: at.URI, Flow: at.Flow, From: at.Address("tr87proxy"), Username: u.Name, Password: u.password(),
		Event: func(m *uacsta.Message) { s.event(u, m) },
		Ended: func(reason error) { s.ended(u, b, one, reason) },
	})
	s.mu.Lock()
	c := &b.csta
	late := !slices.Contains(u.bindings, b) || s.closed || one.closed
	switch {
	case err != nil:
		c.wait = retryAfter(c.wait, err)
		c.next = time.Now().Add(c.wait)
	case late:
		c.next = time.Now().Add(cstaRetry)
	default:
		c.client, one.client, c.wait = client, client, 0
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		s.log.Info("could not open uaCSTA session", "device", u.Number, "peer", b.peer(), "err", err)
	case late:
		client.Close()
	default:
		s.log.Info("uaCSTA session open", "device", u.Number, "peer", b.peer())
		s.conversed(u)
	}
}

// retryAfter returns the delay after a session could not be opened. last is the previous delay.
func retryAfter(last time.Duration, err error) time.Duration {
	var refusal *sip.Refusal
	if errors.As(err, &refusal) && slices.Contains([]int{405, 415, 488, 501, 603, 606}, refusal.Response.Code()) {
		return cstaRefused
	}
	return min(max(2*last, cstaRetry), cstaMostRetry)
}

// tried stores that opening a session has succeeded or failed, and wakes what waits for that.
func (s *Server) tried(u *user, b *binding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.csta.opening = false; u.tried != nil {
		close(u.tried)
		u.tried = nil
	}
}

// monitor starts or stops our monitor at a telephone.
func (s *Server) monitor(u *user, b *binding) {
	s.mu.Lock()
	client, ref, monitored := b.csta.client, b.csta.ref, u.monitored
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		b.csta.asking = false
		s.mu.Unlock()
	}()
	if client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, cstaTimeout)
	defer cancel()
	if !monitored {
		_, err := client.Request(ctx, uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3))
		s.log.Debug("stopped monitor at a telephone", "device", u.Number, "err", err)
		ref = ""
	} else {
		object := uacsta.Dev(s.at(b).Address(u.Number))
		res, err := client.Request(ctx, uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, uacsta.Edition3))
		if err != nil {
			s.log.Info("telephone refused a monitor", "device", u.Number, "err", err)
			ref = noMonitor // until the next session
		} else {
			ref = res.CrossRef()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.csta.client == client {
		b.csta.ref = ref
	}
}

// event handles an event of a telephone. It closes the session of a telephone that sends events faster than the
// owner handles them.
func (s *Server) event(u *user, m *uacsta.Message) {
	if !u.asks.Soon(func() { s.up.Event(u.Number, m) }) {
		s.Report(slog.LevelWarn, u.Number, "closed the session of a telephone that sends too many events")
		s.spawn(func() { s.hangUp(u, nil) })
	}
}
