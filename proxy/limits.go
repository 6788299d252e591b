package proxy

import (
	"log/slog"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// limited is who has reached which limit of the configuration.
type limited struct {
	who use
	key string
}

// overLimit says in the log and in the audit file that a limit refuses a request, once a second
// for each identity and limit. key is that of the configuration. Callers do not hold s.mu.
func (s *Session) overLimit(key, service string) {
	args := []any{"service", service, "identity", s.Identity().String(), "peer", s.peer, "reason", key}
	if !s.proxy.limits.Log(s.proxy.cfg.Log, slog.LevelWarn, limited{s.requests(), key}, "request refused by a limit", args...) {
		return
	}
	e := s.entry("refused")
	e.Service, e.Reason = service, key
	s.note(e)
}

// tooMany says in the log and in the audit file that a limit refuses the session, once a second
// for each identity and limit.
func (s *Session) tooMany() {
	p, key := s.proxy, "limits.sessions-per-identity"
	if p.owners.total() >= p.bounds.Load().MaxSessions {
		key = "limits.sessions"
	}
	tell, untold := p.limits.Tell(limited{s.owner(), key}, time.Now())
	if !tell {
		return
	}
	args := []any{"err", ErrTooMany, "reason", key}
	if untold > 0 {
		args = append(args, "untold", untold)
	}
	s.log(slog.LevelWarn, "session refused", s.own, args...)
	e := s.entry("refused")
	e.Reason = key
	p.stranger(share.Of(s.addr).String(), e)
}
