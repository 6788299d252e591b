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

// session is one client's dialog: a sip.DialogHandler towards the peer and a
// proxy.Client towards the core.
type session struct {
	server *Server
	core   *proxy.Session
	guest  *share.Entry // until the client has logged in; nil: it is known who it is
	// pending counts requests that came before the login and are not answered.
	pending atomic.Int32

	mu     sync.Mutex
	dialog *sip.Dialog
	closed error  // the session ended before the dialog was there
	waits  []byte // the body of the INVITE, until the client has shown that it is there
}

// Ack implements sip.AckHandler.
func (s *session) Ack(d *sip.Dialog, _ *sip.Request) {
	defer share.Survive(s.server.cfg.Log, "an ACK", func(err error) { s.fail(d, err) })
	s.shown(d)
}

// fail ends the session and its dialog: it is not known what state they are in.
func (s *session) fail(d *sip.Dialog, why error) {
	s.core.Close(why)
	d.Bye()
}

// shown carries out what came in the INVITE, once the client has shown that it gets our
// answers. The answer goes out in an INFO: the 200 has gone.
func (s *session) shown(d *sip.Dialog) {
	s.open(d) // this can overtake the return of Accept
	s.mu.Lock()
	body := s.waits
	s.waits = nil
	s.mu.Unlock()
	if body == nil {
		return
	}
	m, err := uacsta.Parse(body)
	if err != nil { // it was read before
		return
	}
	s.core.Request(m, func(res *uacsta.Message) {
		s.introduced(d)
		if res != nil {
			d.Send("INFO", ContentType, res.Bytes(), nil, disposition)
		}
	})
}

// open notes the dialog once it is there.
func (s *session) open(d *sip.Dialog) {
	s.mu.Lock()
	fresh := s.dialog == nil
	s.dialog = d
	closed := s.closed
	s.mu.Unlock()
	if fresh && closed != nil {
		d.Bye()
	}
	s.introduced(d)
}

// introduced notes that it is known who the client is, if it is: it may have logged in just now.
func (s *session) introduced(d *sip.Dialog) {
	if s.core.Identity().Name != "" {
		d.Trust()
		s.guest.Leave()
	}
}

// crowded ends the session of a client that has not logged in, in favour of another. It sends
// no BYE: the client need not take it, and the goroutine is that of the other one's INVITE.
func (s *session) crowded() {
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

// Request implements sip.DialogHandler: an INFO with a CSTA message, or a refresh
// with or without one.
func (s *session) Request(d *sip.Dialog, r *sip.Request) {
	defer share.Survive(s.server.cfg.Log, "a request in a dialog", func(err error) {
		r.Respond(sip.Answer{Code: 500})
		s.fail(d, err)
	})
	s.shown(d)
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
		refusal.Code = 488 // another kind of session is not to be had here (RFC 3261 14.2)
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

// responder returns what sends the answer to a request of the client.
func (s *session) responder(d *sip.Dialog, r *sip.Request) func(*uacsta.Message) {
	info := r.Method() == "INFO"
	return func(res *uacsta.Message) {
		s.introduced(d)
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

// Refresh implements sip.DialogHandler: a refresh of ours needs no body.
func (s *session) Refresh() (string, []byte) { return "", nil }

// Ended implements sip.DialogHandler: everything of the session goes, however the
// dialog ended.
func (s *session) Ended(reason error) {
	s.guest.Leave()
	if errors.Is(reason, sip.ErrBye) || errors.Is(reason, sip.ErrLocalBye) || errors.Is(reason, sip.ErrShutdown) {
		s.core.Close(reason)
		return
	}
	s.core.Lose(reason)
}

// Event implements proxy.Client. The peer's answer is not waited for: some
// clients never give one.
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
