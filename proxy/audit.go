package proxy

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A control request goes to its link once the audit file has it, and its response to the client once
// the audit file has that: no client has a response that the file does not show. The session holds
// later requests meanwhile, and its queue waits at a response for the session's last audit line. Links
// do not wait.

// errAudit refuses a request that cannot be written to the audit file.
var errAudit = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded)

// entry returns an audit entry about the session.
func (s *Session) entry(kind string) audit.Entry {
	who := s.Identity()
	return audit.Entry{Kind: kind, Who: who.Name, How: who.How, Front: s.front, Peer: s.peer, Session: s.id}
}

// introduce audits that the session was opened, at its first request as an identified client. A client
// that only connects and disconnects writes no lines.
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

// note audits an entry about the session.
func (s *Session) note(e audit.Entry) {
	if e.Who == "" {
		s.proxy.stranger(share.Of(s.addr).String(), e)
		return
	}
	s.introduce()
	s.noted.Store(s.proxy.cfg.Audit.Note(e))
}

// noteEnd audits that the session has closed.
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

// stranger audits or counts what happens to an unidentified peer.
func (p *Proxy) stranger(peer string, e audit.Entry) {
	if addr, err := endpoint(e.Peer); err == nil {
		e.Peer = addr.String() // one form for all fronts
	}
	p.cfg.Tally.Note(peer, e)
}

// Refused records in the audit file and the trace that a front refused a client, and why. who is the identity that
// the client claimed; "" means none.
func (p *Proxy) Refused(front, peer, who, reason string) {
	p.cfg.Trace.Add(trace.Record{Lane: trace.Client, Kind: trace.State, Name: "refused", Identity: who, Front: front, Peer: peer, Reason: strings.Clone(reason)}, true, nil)
	p.stranger(peerOf(peer), audit.Entry{Kind: "refused", Who: who, Front: front, Peer: peer, Reason: reason})
}

// peerOf returns the key of a peer, from an address with a port and an optional transport before it.
func peerOf(peer string) string {
	addr, err := endpoint(peer)
	if err != nil {
		return peer
	}
	return share.Of(addr.Addr()).String()
}

// endpoint returns the address with its port, without a transport before it.
func endpoint(peer string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddrPort(peer); err == nil {
		return addr, nil
	}
	_, after, _ := strings.Cut(peer, ":")
	return netip.ParseAddrPort(after)
}

// about adds to an entry what a request is about.
func (o *object) about(e audit.Entry) audit.Entry {
	e.Service, e.Devices, e.Destinations, e.Connections = o.service, texts(o.subjects...), texts(o.destinations...), written(o.connections)
	if !o.presented.IsZero() {
		e.Devices = append(e.Devices, o.presented.String())
	}
	return e
}

// recorded calls do after the request has been audited, if it must be.
func (s *Session) recorded(o *object, answer answerer, do func(answerer)) {
	if s.proxy.cfg.Audit == nil || o.action == policy.Observe {
		do(s.audited(o, answer))
		return
	}
	s.aside(answer, func() { s.record(o, answer, do) })
}

// record audits a control request and then calls do, which may take a while. It refuses a request that
// cannot be audited, or whose client has left meanwhile.
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

// audited wraps answer so that it audits the outcome of a control request, and of a refused request
// about a connection.
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
