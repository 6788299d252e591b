package proxy

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A request that controls something goes to its link when the audit file has it, and its answer
// goes to the client when the audit file has that: nobody has an answer that the file does not
// know of. The session holds later requests while one is written, and its queue waits at an answer
// for the line that the session noted last; links do not wait.

// errAudit refuses what cannot be written down.
var errAudit = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded)

// entry is a line of the audit file about the session.
func (s *Session) entry(kind string) audit.Entry {
	who := s.Identity()
	return audit.Entry{Kind: kind, Who: who.Name, How: who.How, Front: s.front, Peer: s.peer, Session: s.id}
}

// introduce writes down that the session was opened, once it has said who it is and asks for
// something: whoever connects and closes in a loop leaves no line each time.
func (s *Session) introduce() {
	if s.proxy.cfg.Audit == nil || s.Identity().Name == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.introduced {
		return
	}
	s.introduced = true
	s.proxy.cfg.Audit.Note(audit.Entry{
		Kind: "opened", Time: s.since, Who: s.own.Name, How: s.own.How, Front: s.front, Peer: s.peer, Session: s.id, Devices: texts(s.line),
	})
}

// note writes down something about the session.
func (s *Session) note(e audit.Entry) {
	if e.Who == "" {
		s.proxy.stranger(share.Of(s.addr).String(), e)
		return
	}
	s.introduce()
	s.noted.Store(s.proxy.cfg.Audit.Note(e))
}

// noteEnd writes down that the session has ended.
func (s *Session) noteEnd(e audit.Entry, reason error) {
	if reason != nil {
		e.Reason = reason.Error()
	}
	s.mu.Lock()
	introduced := s.introduced
	s.mu.Unlock()
	if introduced {
		s.proxy.cfg.Audit.Note(e)
	} else {
		s.proxy.stranger(share.Of(s.addr).String(), e)
	}
}

// stranger writes down, or counts, what becomes of a peer that has not said who it is.
func (p *Proxy) stranger(peer string, e audit.Entry) {
	if addr, err := endpoint(e.Peer); err == nil {
		e.Peer = addr.String() // one form, whatever the front
	}
	p.cfg.Tally.Note(peer, e)
}

// Refused writes down that a front let somebody not in; who is whom it pretended to be.
func (p *Proxy) Refused(front, peer, who, reason string) {
	p.stranger(peerOf(peer), audit.Entry{Kind: "refused", Who: who, Front: front, Peer: peer, Reason: reason})
}

// peerOf is who counts as one peer, of an address with a port, and perhaps a transport before it.
func peerOf(peer string) string {
	addr, err := endpoint(peer)
	if err != nil {
		return peer
	}
	return share.Of(addr.Addr()).String()
}

// endpoint is an address with a port, without the transport that may stand before it.
func endpoint(peer string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddrPort(peer); err == nil {
		return addr, nil
	}
	_, after, _ := strings.Cut(peer, ":")
	return netip.ParseAddrPort(after)
}

// about puts into an entry what a request is about.
func (o *object) about(e audit.Entry) audit.Entry {
	e.Service, e.Devices, e.Destinations, e.Connections = o.service, texts(o.subjects...), texts(o.destinations...), written(o.connections)
	return e
}

// recorded goes on with a request when it is written down, where it has to be.
func (s *Session) recorded(o *object, answer answerer, do func(answerer)) {
	if s.proxy.cfg.Audit == nil || o.action == policy.Observe {
		do(s.audited(o, answer))
		return
	}
	s.aside(answer, func() { s.record(o, answer, do) })
}

// record writes down a request that controls something, and goes on with it then. It may take a
// while. A request that cannot be written down is refused, and one of a client that has left meanwhile.
func (s *Session) record(o *object, answer answerer, do func(answerer)) {
	if s.proxy.cfg.Audit == nil || o.action == policy.Observe {
		do(s.audited(o, answer))
		return
	}
	who, rules := s.Identity(), s.proxy.rules.Load()
	s.introduce()
	if err := s.proxy.cfg.Audit.Add(o.about(s.entry("asked"))); err != nil {
		answer(nil, errAudit)
		return
	}
	answer = s.audited(o, answer)
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed || (s.Identity() != who || s.proxy.rules.Load() != rules) && !s.stillMay(o, who) { // meanwhile
		answer(nil, errSecurity)
		return
	}
	do(answer)
}

// audited returns what takes the answer to a request: it writes down what becomes of one that
// controls something, and of one about a connection that is refused.
func (s *Session) audited(o *object, answer answerer) answerer {
	switch {
	case s.proxy.cfg.Audit == nil, o.action == policy.Observe && len(o.connections) == 0:
		return answer
	case o.action == policy.Observe:
		return func(res *uacsta.Message, err error) {
			if err != nil {
				e := o.about(s.entry("refused"))
				e.Reason = err.Error()
				s.note(e)
			}
			answer(res, err)
		}
	}
	return func(res *uacsta.Message, err error) {
		e := o.about(s.entry("done"))
		e.Outcome = "ok"
		var refusal *uacsta.Error
		switch {
		case errors.As(err, &refusal):
			e.Outcome = refusal.Error()
		case err != nil:
			e.Outcome = "failed"
		}
		s.note(e)
		answer(res, err)
	}
}
