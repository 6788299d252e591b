package proxy

import (
	"errors"

	"github.com/tr87proxy/tr87proxy/audit"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// errAudit refuses what cannot be written down.
var errAudit = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded)

// entry is a line of the audit file about the session.
func (s *Session) entry(kind string) audit.Entry {
	who := s.Identity()
	return audit.Entry{Kind: kind, Who: who.Name, How: who.How, Front: s.front, Peer: s.peer, Session: s.id}
}

// noteEnd writes down that the session has ended.
func (s *Session) noteEnd(e audit.Entry, reason error) {
	if reason != nil {
		e.Reason = reason.Error()
	}
	_ = s.proxy.cfg.Audit.Add(e) // it has happened
}

// Refused writes down that a front let somebody not in; who is whom it pretended to be.
func (p *Proxy) Refused(front, peer, who, reason string) {
	_ = p.cfg.Audit.Add(audit.Entry{Kind: "refused", Who: who, Front: front, Peer: peer, Reason: reason}) // it is refused in any case
}

// refusedEntry writes down what policy refused.
func (s *Session) refusedEntry(ask policy.Ask, reason string) {
	e := s.entry("refused")
	e.Service, e.Destinations, e.Reason = ask.Service, ask.Destinations, reason
	if ask.Device != "" {
		e.Devices = []string{ask.Device}
	}
	_ = s.proxy.cfg.Audit.Add(e) // it is refused in any case
}

// audited writes down what becomes of a request that controls something. A request that
// cannot be written down is not to be carried.
func (s *Session) audited(service string, subjects, destinations []string, answer answerer) (answerer, error) {
	if s.proxy.cfg.Audit == nil {
		return answer, nil
	}
	e := s.entry("asked")
	e.Service, e.Devices, e.Destinations = service, subjects, destinations
	if err := s.proxy.cfg.Audit.Add(e); err != nil {
		return answer, errAudit
	}
	return func(res *uacsta.Message, err error) {
		e := s.entry("done")
		e.Service, e.Devices, e.Destinations, e.Outcome = service, subjects, destinations, "ok"
		var refusal *uacsta.Error
		switch {
		case errors.As(err, &refusal):
			e.Outcome = refusal.Error()
		case err != nil:
			e.Outcome = "failed"
		}
		_ = s.proxy.cfg.Audit.Add(e) // that it was asked is written
		answer(res, err)
	}, nil
}
