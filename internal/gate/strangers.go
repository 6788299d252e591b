package gate

import (
	"container/list"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Strangers limits the memory of all strangers together, at every gate that shares it, and
// counts what happens to connections. It is safe for concurrent use.
type Strangers struct {
	Refused atomic.Int64 // connections refused
	Evicted atomic.Int64 // connections closed to make room
	Struck  atomic.Int64 // connections closed for what the peer sent

	most int

	mu      sync.Mutex
	entered uint64 // connections so far
	taken   int
	peers   map[netip.Prefix]*stranger
}

// stranger is a peer that has not logged in, with its connections.
type stranger struct {
	taken  int
	guests list.List // of *Guest, the oldest first
}

// Memory of an idle connection in octets, including stacks and buffers.
const (
	plainCost  = 24 << 10
	secureCost = 64 << 10
)

// equalShare is the memory up to which peers count as equal: a TLS connection with the longest
// login.
const equalShare = secureCost + 256<<10

// NewStrangers returns a limit of octets for all strangers together; 0 means 64 MiB.
func NewStrangers(octets int) *Strangers {
	if octets == 0 {
		octets = 64 << 20
	}
	return &Strangers{most: octets, peers: map[netip.Prefix]*stranger{}}
}

// SetMost changes the number of octets that strangers may take in all. Those that have more keep it until one of
// them takes more.
func (s *Strangers) SetMost(octets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = octets
}

// Counts returns the number of strangers' connections and the octets counted for them.
func (s *Strangers) Counts() (connections, octets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		connections += p.guests.Len()
	}
	return connections, s.taken
}

// enter adds a connection.
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

// leave removes a connection with its memory.
func (s *Strangers) leave(g *Guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(g)
}

// add changes the memory counted for a connection. Callers hold s.mu.
func (s *Strangers) add(g *Guest, octets int) {
	s.taken += octets
	s.peers[g.peer].taken += octets
	g.taken += octets
}

// drop removes a connection. Callers hold s.mu.
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

// victim returns the connection to close: the oldest of the peer with the most memory. Peers
// with at most equalShare count as equal, and among equals the oldest connection is closed, so
// that idle connections do not displace a client that logs in. Callers hold s.mu.
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
