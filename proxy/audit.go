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

// about puts into an entry what a request is about.
func (o *object) about(e audit.Entry) audit.Entry {
	e.Service, e.Devices, e.Destinations, e.Connections = o.service, texts(o.subjects...), texts(o.destinations...), written(o.connections)
	return e
}

// audited writes down what becomes of a request that controls something, and of one about a
// connection that is refused. A request that cannot be written down is not to be carried.
func (s *Session) audited(o *object, answer answerer) (answerer, error) {
	switch {
	case s.proxy.cfg.Audit == nil:
		return answer, nil
	case o.action == policy.Observe && len(o.connections) == 0:
		return answer, nil
	case o.action == policy.Observe:
		return func(res *uacsta.Message, err error) {
			if err != nil {
				e := o.about(s.entry("refused"))
				e.Reason = err.Error()
				_ = s.proxy.cfg.Audit.Add(e) // it is refused in any case
			}
			answer(res, err)
		}, nil
	}
	if err := s.proxy.cfg.Audit.Add(o.about(s.entry("asked"))); err != nil {
		return answer, errAudit
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
		_ = s.proxy.cfg.Audit.Add(e) // that it was asked is written
		answer(res, err)
	}, nil
}
