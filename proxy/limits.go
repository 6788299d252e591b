package proxy

import (
	"log/slog"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// limited is a key for log lines: who reached which limit of the configuration.
type limited struct {
	who use
	key string
}

// overLimit logs and audits that a limit refuses a request, once a second for each identity and limit.
// key is the key in the configuration. The caller does not hold s.mu.
func (s *Session) overLimit(key, service string) {
	args := []any{"service", service, "identity", s.Identity().String(), "peer", s.peer, "reason", key}
	if !s.proxy.limits.Log(s.proxy.cfg.Log, slog.LevelWarn, limited{s.requests(), key}, "request refused by a limit", args...) {
		return
	}
	e := s.entry("refused")
	e.Service, e.Reason = service, key
	s.note(e)
}

// tooMany logs and audits that a limit refuses the session, once a second for each identity and limit.
func (s *Session) tooMany() {
	p, key := s.proxy, "limits.sessions-per-identity"
	if p.owners.total() >= p.bounds.Load().MaxSessions {
		key = "limits.sessions"
	}
	tell, suppressed := p.limits.Allow(limited{s.owner(), key}, time.Now())
	if !tell {
		return
	}
	args := []any{"err", ErrTooMany, "reason", key}
	if suppressed > 0 {
		args = append(args, "suppressed", suppressed)
	}
	s.log(slog.LevelWarn, "session refused", s.own, args...)
	e := s.entry("refused")
	e.Reason = key
	p.stranger(share.Of(s.addr).String(), e)
}
