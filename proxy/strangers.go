package proxy

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
)

// Strangers limits log lines about strangers (peers that are neither trusted nor authenticated):
// neither one that retries all the time nor very many of them must fill the disk. The zero value is
// ready for use.
type Strangers struct {
	once sync.Once
	each share.LogLimit[nobody]
	all  *rate.Limiter
}

// StrangerPause is how long [Strangers] logs nothing further of a kind about the same peer.
const StrangerPause = time.Minute

// ShouldLog reports whether to log a line about a peer. what is the kind of line, one of few: the peer must not be
// able to choose among many. A line of one kind does not hide those of another.
func (s *Strangers) ShouldLog(addr netip.Addr, what string, now time.Time) bool {
	ok, _ := s.allow(addr, what, now)
	return ok
}

// allow is ShouldLog. It also returns how many lines of the kind were suppressed since the last one.
func (s *Strangers) allow(addr netip.Addr, what string, now time.Time) (ok bool, suppressed int) {
	s.once.Do(func() { s.each.Every, s.all = StrangerPause, rate.NewLimiter(10, 100) })
	ok, suppressed = s.each.Allow(nobody{share.Of(addr), what}, now)
	return ok && s.all.AllowN(now, 1), suppressed
}

// nobody is the key of what happens to an unidentified peer.
type nobody struct {
	peer netip.Prefix
	what string
}

// log logs an event of a session; what is usual, of a session for a single request, at the level debug. Equal events of
// unidentified sessions of one peer are logged once a second, with the number of suppressed lines.
func (s *Session) log(level slog.Level, what string, who policy.Identity, args ...any) {
	if s.single && level == slog.LevelInfo {
		level = slog.LevelDebug
	}
	args = append([]any{"identity", who.String(), "peer", s.peer}, args...)
	if who.Name == "" {
		s.proxy.nobodies.Log(s.proxy.cfg.Log, level, nobody{share.Of(s.addr), what}, what, args...)
		return
	}
	s.proxy.cfg.Log.Log(context.Background(), level, what, args...)
}

// RefuseConnection records that a front refused a connection, and why: in the audit file
// ([Proxy.Refused]) and, limited by [Strangers], in the log.
func (p *Proxy) RefuseConnection(front string, nc net.Conn, why string) {
	peer := nc.RemoteAddr().String()
	p.Refused(front, peer, "", why)
	if ok, suppressed := p.strangers.allow(gate.AddrOf(nc), front, time.Now()); ok {
		p.cfg.Log.Warn("connection refused", "peer", peer, "suppressed", suppressed, "front", front, "why", why, "silent", StrangerPause)
	}
}
