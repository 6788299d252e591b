package registrar

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

const (
	eventWait   = 2 * time.Second        // how long an event waits for the response to the outstanding request
	muteWait    = 100 * time.Millisecond // the same, if the telephone did not respond to that service last time
	lateTimeout = 32 * time.Second       // how late a response to MonitorStart is still handled
	maxMute     = 100                    // services without response that are stored for a telephone
)

var (
	// ErrTelephone refuses a request that could be sent to no telephone, or got no response in time.
	ErrTelephone = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService)
	// ErrBusy refuses a request to a telephone for which too many requests wait.
	ErrBusy = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.OutstandingReqLimitExceeded)
)

// Session is a uaCSTA session with one telephone of an extension.
type Session struct {
	server   *Server
	user     *user
	client   conversation
	own      string
	services []string
}

// Own returns the device identifier that the telephone uses for itself.
func (n *Session) Own() string { return n.own }

// Services returns the services that the table of models lists for the telephone, if any.
func (n *Session) Services() []string { return n.services }

// Ask sends a request to the telephone, and waits for its response until the timeout. Only upcalls that
// are tasks, and the functions passed to Server.Request, may call it. Events wait as for Server.Request.
// The error is a [*uacsta.Error] of the telephone, or ErrTelephone.
func (n *Session) Ask(timeout time.Duration, req *uacsta.Message) (*uacsta.Message, error) {
	return n.server.ask(time.Now().Add(timeout), n, req)
}

// session returns a session with one of the user's telephones, or nil.
func (s *Server) session(u *user) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range u.bindings {
		if b.csta.client != nil {
			n := &Session{server: s, user: u, client: b.csta.client, own: s.at(b).Address(u.Number)}
			if b.model != nil {
				n.services = b.model.Services
			}
			return n
		}
	}
	return nil
}

// serve returns the session with a user's telephones, and reports it to the owner if it has changed. Only
// tasks of the telephone's queue call it.
func (s *Server) serve(u *user) *Session {
	n := s.session(u)
	switch {
	case n == nil && u.served == nil, n != nil && u.served != nil && n.client == u.served.client:
		return u.served
	}
	u.served, u.mute = n, nil
	s.up.Session(u.Number, n)
	return n
}

// awaitSession waits, if a user has no session, for sessions that are being opened, until one is open or
// all have failed.
func (s *Server) awaitSession(ctx context.Context, u *user) {
	for {
		s.mu.Lock()
		if !slices.ContainsFunc(u.bindings, func(b *binding) bool { return b.csta.opening }) || slices.ContainsFunc(u.bindings, func(b *binding) bool { return b.csta.client != nil }) {
			s.mu.Unlock()
			return
		}
		if u.tried == nil {
			u.tried = make(chan struct{})
		}
		tried := u.tried
		s.mu.Unlock()
		select {
		case <-tried:
		case <-ctx.Done():
			return
		}
	}
}

// Request sends a request to a telephone of an extension, after all earlier requests. write makes the request
// when its turn comes, for the session that is open then; Request waits for a session that is being opened.
// reply is called once, within about 5 s, as a task of the telephone's queue, or at once if too many
// requests wait (ErrBusy) or the extension has no account (ErrTelephone).
//
// An event that arrives before the response waits for it, for at most 2 s, or 100 ms if the telephone did not
// respond to that service last time. Then the request is refused, and the event follows.
func (s *Server) Request(number string, write func(*Session) (*uacsta.Message, error), reply func(*uacsta.Message, error)) {
	u := s.users[number]
	if u == nil {
		reply(nil, ErrTelephone)
		return
	}
	until := time.Now().Add(cstaTimeout)
	taken := u.asks.Do(func() {
		var res *uacsta.Message
		var err error = ErrTelephone
		defer func() { reply(res, err) }() // after a panic, too
		ctx, cancel := context.WithDeadline(s.ctx, until)
		defer cancel()
		s.awaitSession(ctx, u)
		n := s.serve(u)
		if n == nil {
			return
		}
		m, fault := write(n)
		if fault != nil {
			err = fault
			return
		}
		res, err = s.ask(until, n, m)
	})
	if !taken {
		reply(nil, ErrBusy)
	}
}

// asked is an outstanding request to a telephone.
type asked struct {
	session *Session
	req     *uacsta.Message
	answer  chan cstaAnswer // gets the response
	given   chan struct{}   // closed when nothing waits for the response any more
}

type cstaAnswer struct {
	res *uacsta.Message
	err error
}

// ask sends a request to a telephone, and waits for its response until the given time. Events of the
// telephone wait, too, because the request may have caused them. If they would wait too long, ask refuses
// the request, and a later response counts as late. It closes a session whose connection is lost, so that
// another one is opened. Only tasks of the telephone's queue call ask.
func (s *Server) ask(until time.Time, n *Session, req *uacsta.Message) (*uacsta.Message, error) {
	u := n.user
	ctx, cancel := context.WithDeadline(s.ctx, until)
	defer cancel()
	if ctx.Err() != nil { // earlier requests took too long
		return nil, ErrTelephone
	}
	name := req.Name()
	out, end := ctx, cancel
	if name == uacsta.NameMonitorStart { // a late response may have started a monitor, which must be stopped
		if u.stray != nil {
			u.stray()
		}
		out, end = context.WithDeadline(s.ctx, until.Add(lateTimeout))
		u.stray = end
	}
	one := &asked{n, req, make(chan cstaAnswer), make(chan struct{})}
	defer close(one.given)
	if !s.spawn(func() { defer end(); s.await(out, one) }) {
		end()
		return nil, ErrTelephone
	}
	a, answered := s.overhear(ctx, one)
	if !answered || errors.Is(a.err, context.DeadlineExceeded) {
		s.log.Info("no response from a telephone", "device", u.Number, "service", name)
		if u.mute == nil || len(u.mute) >= maxMute {
			u.mute = map[string]bool{}
		}
		u.mute[name] = true
		return nil, ErrTelephone
	}
	delete(u.mute, name)
	var refusal *uacsta.Error
	if a.err == nil || errors.As(a.err, &refusal) {
		return a.res, a.err
	}
	s.log.Info("no response from a telephone", "device", u.Number, "service", name, "err", a.err)
	if errors.Is(a.err, sip.ErrConnectionLost) || errors.Is(a.err, sip.ErrUnanswered) || errors.Is(a.err, sip.ErrLocalBye) { // the connection or the dialog is lost
		s.hangUp(u, n.client)
	}
	return nil, ErrTelephone
}

// overhear waits for the response to a request, as long as events that arrive meanwhile may wait.
func (s *Server) overhear(ctx context.Context, one *asked) (a cstaAnswer, answered bool) {
	u := one.session.user
	var enough <-chan time.Time
	for {
		select {
		case a = <-one.answer:
			return a, true
		case <-u.asks.Pressed:
			if enough == nil && u.asks.Presses() {
				wait := eventWait
				if u.mute[one.req.Name()] {
					wait = muteWait
				}
				enough = time.After(wait)
			}
		case <-enough:
			return a, false
		case <-ctx.Done():
			return a, false
		}
	}
}

// await waits for the response to a request.
func (s *Server) await(ctx context.Context, one *asked) {
	a := cstaAnswer{err: ErrTelephone}
	defer func() {
		select {
		case one.answer <- a:
		case <-one.given:
			s.late(one, a.res)
		}
	}()
	defer share.Survive(s.log, "asking a telephone", func(error) { s.hangUp(one.session.user, one.session.client) })
	a.res, a.err = one.session.client.Request(ctx, one.req)
}

// late reports a late response to the owner.
func (s *Server) late(one *asked, res *uacsta.Message) {
	if res == nil {
		return
	}
	u := one.session.user
	u.asks.Must(func() {
		if n := s.session(u); n != nil && n.client == one.session.client {
			s.up.Late(u.Number, n, one.req, res)
		}
	})
}
