package share

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rates gives each peer a rate of its own. Peers that have been idle longest are forgotten
// first, so that whoever comes from very many addresses pushes out idle ones, not busy ones.
type Rates struct {
	every rate.Limit
	burst int
	most  int

	mu    sync.Mutex
	peers map[netip.Prefix]*list.Element
	used  list.List // of *rated, the one idle longest first
}

type rated struct {
	key     netip.Prefix
	limiter *rate.Limiter
}

// NewRates allows each of most peers so many things a second, and burst at once.
func NewRates(perSecond float64, burst, most int) *Rates {
	return &Rates{every: rate.Limit(perSecond), burst: burst, most: most, peers: map[netip.Prefix]*list.Element{}}
}

// Allow reports whether the peer at an address may do one more thing now.
func (r *Rates) Allow(addr netip.Addr, now time.Time) bool {
	key := Of(addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.peers[key]
	if e == nil {
		if len(r.peers) >= r.most {
			delete(r.peers, r.used.Remove(r.used.Front()).(*rated).key)
		}
		e = r.used.PushBack(&rated{key: key, limiter: rate.NewLimiter(r.every, r.burst)})
		r.peers[key] = e
	}
	r.used.MoveToBack(e)
	return e.Value.(*rated).limiter.AllowN(now, 1)
}
