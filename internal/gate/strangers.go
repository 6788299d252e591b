package gate

import (
	"container/list"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Strangers bounds the memory that all peers together take that are not proved, at every gate of
// a process, and counts what becomes of connections.
type Strangers struct {
	Refused atomic.Int64 // connections that were not taken
	Evicted atomic.Int64 // that were closed to make room for others
	Struck  atomic.Int64 // that were closed for what the peer sent

	most int

	mu      sync.Mutex
	entered uint64 // connections, ever
	taken   int
	peers   map[netip.Prefix]*stranger
}

// stranger is a peer that is not proved, with its connections.
type stranger struct {
	taken  int
	guests list.List // of *Guest, the oldest first
}

// What a connection takes while nothing comes, stacks and buffers included.
const (
	plainCost  = 24 << 10
	secureCost = 64 << 10
)

// equalShare is up to what peers count as equal: a connection over TLS with the longest login.
const equalShare = secureCost + 256<<10

// NewStrangers lets peers that are not proved take so many octets in all; 0 is 64 MiB.
func NewStrangers(octets int) *Strangers {
	if octets == 0 {
		octets = 64 << 20
	}
	return &Strangers{most: octets, peers: map[netip.Prefix]*stranger{}}
}

// SetMost changes how many octets peers that are not proved may take in all. What they have taken above that is given
// back when one of them takes more.
func (s *Strangers) SetMost(octets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = octets
}

// Counts returns how many connections are of peers that are not proved, and the octets that were
// counted for them.
func (s *Strangers) Counts() (connections, octets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		connections += p.guests.Len()
	}
	return connections, s.taken
}

// enter counts a connection.
func (s *Strangers) enter(g *Guest, secure bool) {
	cost := plainCost
	if secure {
		cost = secureCost
	}
	s.mu.Lock()
	p := s.peers[g.peer]
	if p == nil {
		p = &stranger{}
		s.peers[g.peer] = p
	}
	s.entered++
	g.number = s.entered
	g.among = p.guests.PushBack(g)
	s.mu.Unlock()
	s.take(g, cost)
}

func (s *Strangers) take(g *Guest, octets int) {
	s.mu.Lock()
	if g.among != nil {
		s.add(g, octets)
	}
	var out []*Guest
	for s.taken > s.most && len(s.peers) > 0 {
		g := s.victim()
		s.drop(g)
		out = append(out, g)
	}
	s.mu.Unlock()
	for _, g := range out {
		g.evict(errMemory, " (limits.strangers-mib)")
	}
}

func (s *Strangers) give(g *Guest, octets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.among != nil {
		s.add(g, -octets)
	}
}

// leave takes a connection out, with all that it has taken.
func (s *Strangers) leave(g *Guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(g)
}

// add changes what a connection has taken; s.mu is held.
func (s *Strangers) add(g *Guest, octets int) {
	s.taken += octets
	s.peers[g.peer].taken += octets
	g.taken += octets
}

// drop takes a connection out; s.mu is held.
func (s *Strangers) drop(g *Guest) {
	if g.among == nil {
		return
	}
	s.add(g, -g.taken)
	p := s.peers[g.peer]
	p.guests.Remove(g.among)
	g.among = nil
	if p.guests.Len() == 0 {
		delete(s.peers, g.peer)
	}
}

// victim is the connection that gives way: the oldest of the peer that takes most. Peers that take no
// more than equalShare are equal, and of equal peers the oldest connection goes: who has come to log in
// does not give way to idle connections. s.mu is held.
func (s *Strangers) victim() *Guest {
	var victim *Guest
	most := 0
	for _, p := range s.peers {
		oldest, size := p.guests.Front().Value.(*Guest), max(p.taken, equalShare)
		if size > most || size == most && oldest.number < victim.number {
			victim, most = oldest, size
		}
	}
	return victim
}
