package tr87

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// session is one client's dialog. It implements sip.AckHandler towards the peer and
// proxy.Client towards the core.
type session struct {
	server *Server
	core   *proxy.Session
	guest  *share.Entry // entry of a client that has not logged in; nil otherwise
	// pending counts unanswered requests of a client that has not logged in.
	pending atomic.Int32

	mu     sync.Mutex
	dialog *sip.Dialog
	closed error  // set if the session was closed before the dialog opened
	waits  []byte // the request in the INVITE, until the client's address is validated
}

// Ack implements sip.AckHandler.
func (s *session) Ack(d *sip.Dialog, _ *sip.Request) {
	defer share.Survive(s.server.cfg.Log, "handling an ACK", func(err error) { s.fail(d, err) })
	s.validated(d)
}

// fail closes the session and its dialog after a panic, which leaves their state unknown.
func (s *session) fail(d *sip.Dialog, why error) {
	s.core.Close(why)
	d.Bye()
}

// validated carries out the request in the INVITE once the client's address is validated. The
// response goes out in an INFO, because the 200 has already been sent.
func (s *session) validated(d *sip.Dialog) {
	s.open(d) // may run before Accept returns
	s.mu.Lock()
	body := s.waits
	s.waits = nil
	s.mu.Unlock()
	if body == nil {
		return
	}
	m, err := uacsta.Parse(body)
	if err != nil { // it was parsed before
		return
	}
	s.core.Request(m, func(res *uacsta.Message) {
		s.identified(d)
		if res != nil {
			d.Send("INFO", ContentType, res.Bytes(), nil, disposition)
		}
	})
}

// open stores the dialog once it is accepted.
func (s *session) open(d *sip.Dialog) {
	s.mu.Lock()
	fresh := s.dialog == nil
	s.dialog = d
	closed := s.closed
	s.mu.Unlock()
	if fresh && closed != nil {
		d.Bye()
	}
	s.identified(d)
}

// identified tells the stack to trust the dialog if the client is identified: it may just have
// logged in.
func (s *session) identified(d *sip.Dialog) {
	if s.core.Identity().Name != "" {
		d.Trust()
		s.guest.Leave()
	}
}

// evict closes the session of a client that has not logged in to make room for another. It
// sends no BYE: the client might not read it, and this goroutine handles the other client's
// INVITE.
func (s *session) evict() {
	s.core.Close(sip.ErrCrowded)
	s.mu.Lock()
	s.closed = sip.ErrCrowded
	d := s.dialog
	s.mu.Unlock()
	if d != nil {
		d.Drop()
	}
}

// place is where the client comes in: over what its dialog uses now, or, before there is one, where its INVITE came
// from.
func (s *session) place(peer sip.Peer) proxy.Place {
	if d := s.current(); d != nil {
		peer = d.Peer()
	}
	at := placeOf(peer)
	return proxy.Place{Transport: at.transport, Addr: peer.Local}
}

func (s *session) current() *sip.Dialog {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialog
}

// Request implements sip.DialogHandler: an INFO with a CSTA message, or a refresh with or
// without one.
func (s *session) Request(d *sip.Dialog, r *sip.Request) {
	defer share.Survive(s.server.cfg.Log, "handling a request in a dialog", func(err error) {
		r.Respond(sip.Answer{Code: 500})
		s.fail(d, err)
	})
	s.validated(d)
	if r.Method() == "INVITE" && !r.Known() && !s.server.admits(r.Peer()) {
		d.RespondRefresh(r, later)
		return
	}
	m, unclear, refusal := readOpening(r)
	if unclear != nil && unclear.Kind() == uacsta.Request {
		s.core.Unclear(unclear, s.responder(d, r))
		return
	}
	if refusal != nil && refusal.Code == 415 && r.Method() == "INVITE" {
		refusal.Code = 488 // no session of another type (RFC 3261 14.2)
	}
	if refusal != nil {
		d.RespondRefresh(r, *refusal)
		return
	}
	if m == nil {
		d.RespondRefresh(r, sip.Answer{})
		return
	}
	answer := s.responder(d, r)
	if r.Known() {
		s.core.Request(m, answer)
		return
	}
	if s.pending.Add(1) > maxPending {
		s.pending.Add(-1)
		d.RespondRefresh(r, later)
		return
	}
	s.core.Request(m, func(res *uacsta.Message) {
		s.pending.Add(-1)
		answer(res)
	})
}

// responder returns the function that sends the response to a request.
func (s *session) responder(d *sip.Dialog, r *sip.Request) func(*uacsta.Message) {
	info := r.Method() == "INFO"
	return func(res *uacsta.Message) {
		s.identified(d)
		switch {
		case res == nil:
			d.RespondRefresh(r, sip.Answer{})
		case info && s.server.cfg.AnswerInInfo:
			r.Respond(sip.Answer{})
			d.Send("INFO", ContentType, res.Bytes(), nil, disposition)
		default:
			d.RespondRefresh(r, sip.Answer{ContentType: ContentType, Body: res.Bytes(), Headers: []sip.Header{disposition}})
		}
	}
}

// Refresh implements sip.DialogHandler. Our refreshes have no body.
func (s *session) Refresh() (string, []byte) { return "", nil }

// Ended implements sip.DialogHandler. It closes the session in the core.
func (s *session) Ended(reason error) {
	s.guest.Leave()
	if errors.Is(reason, sip.ErrBye) || errors.Is(reason, sip.ErrLocalBye) || errors.Is(reason, sip.ErrShutdown) {
		s.core.Close(reason)
		return
	}
	s.core.Disconnected(reason)
}

// Event implements proxy.Client. It does not wait for the client's response, since some clients
// send none.
func (s *session) Event(ev *uacsta.Message) {
	if d := s.current(); d != nil {
		d.Send("INFO", ContentType, ev.Bytes(), nil, disposition)
	}
}

// Closed implements proxy.Client.
func (s *session) Closed(reason error) {
	s.mu.Lock()
	s.closed = reason
	d := s.dialog
	s.mu.Unlock()
	if d != nil {
		d.Bye()
	}
}
