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

// Strangers says whom the log has told of lately: a stranger who knocks all the time
// must not fill the disk, nor must very many of them. The zero value has told of nobody.
type Strangers struct {
	once sync.Once
	each share.Hush[netip.Prefix]
	all  *rate.Limiter
}

// StrangerPause is how long the log says nothing more of a stranger.
const StrangerPause = time.Minute

// News reports whether a peer is worth a line in the log.
func (s *Strangers) ShouldLog(addr netip.Addr, now time.Time) bool {
	tell, _ := s.tell(addr, now)
	return tell
}

// tell is News, with how often the peer was not worth a line since the last one.
func (s *Strangers) tell(addr netip.Addr, now time.Time) (tell bool, untold int) {
	s.once.Do(func() { s.each.Every, s.all = StrangerPause, rate.NewLimiter(10, 100) })
	tell, untold = s.each.Tell(share.Of(addr), now)
	return tell && s.all.AllowN(now, 1), untold
}

// nobody is what happens to sessions of a peer that has not said who it is.
type nobody struct {
	peer netip.Prefix
	what string
}

// log says in the log what happens to a session. Of sessions of nobody it says each thing once a
// second for each peer, with how many were not told.
func (s *Session) log(level slog.Level, what string, who policy.Identity, args ...any) {
	args = append([]any{"identity", who.String(), "peer", s.peer}, args...)
	if who.Name == "" {
		s.proxy.nobodies.Log(s.proxy.cfg.Log, level, nobody{share.Of(s.addr), what}, what, args...)
		return
	}
	s.proxy.cfg.Log.Log(context.Background(), level, what, args...)
}

// TurnAway writes down that a front does not let a peer in, and says so in the log, once in a
// while for each address.
func (p *Proxy) RefuseConnection(front string, nc net.Conn, why string) {
	peer := nc.RemoteAddr().String()
	p.Refused(front, peer, "", why)
	if tell, untold := p.strangers.tell(gate.AddrOf(nc), time.Now()); tell {
		p.cfg.Log.Warn("connection refused", "peer", peer, "untold", untold, "front", front, "why", why, "silent", StrangerPause)
	}
}
