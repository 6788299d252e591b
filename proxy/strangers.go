package proxy

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/gate"
)

// Strangers says whom the log has told of lately: a stranger who knocks all the time
// must not fill the disk. The zero value has told of nobody.
type Strangers struct {
	mu   sync.Mutex
	said map[netip.Addr]time.Time
}

const (
	// StrangerPause is how long the log says nothing more of a stranger.
	StrangerPause = time.Minute
	maxStrangers  = 1000
)

// News reports whether an address is worth a line in the log.
func (s *Strangers) News(addr netip.Addr, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.said[addr]; ok && now.Sub(last) < StrangerPause {
		return false
	}
	if s.said == nil || len(s.said) >= maxStrangers {
		s.said = map[netip.Addr]time.Time{}
	}
	s.said[addr] = now
	return true
}

// TurnAway says, once in a while for each address, in the log and the audit file that a front
// does not let a peer in.
func (p *Proxy) TurnAway(front string, nc net.Conn, why string) {
	if p.strangers.News(gate.AddrOf(nc), time.Now()) {
		peer := nc.RemoteAddr().String()
		p.Refused(front, peer, "", why)
		p.cfg.Log.Warn("connection refused", "front", front, "peer", peer, "why", why, "silent", StrangerPause)
	}
}
