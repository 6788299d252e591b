package digest

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// nonces records which nonces were used and how often, so that a request cannot be replayed.
// Usage is kept for each user and, within it, for each peer: a peer that uses very many nonces
// makes only its own older ones stale. Memory is bounded by the number of users, since only a
// correct password creates an entry.
type nonces struct {
	start time.Time    // epoch: a nonce is numbered by the monotonic nanoseconds since then
	last  atomic.Int64 // number of the newest nonce

	mu    sync.Mutex
	users map[string]*usage
	swept int64
}

// usage is the nonce usage of one user. Numbers up to floor may have been used by peers that
// were forgotten.
type usage struct {
	floor int64
	peers map[netip.Prefix]*peerUsage
}

// peerUsage is what a user has used from one peer: the latest nonces in order. Numbers up to
// floor are unknown and not accepted.
type peerUsage struct {
	floor int64
	used  []nonceUse
	at    int64 // time of the last use
}

type nonceUse struct {
	nonce int64
	count int // highest nc seen
}

const (
	nonceLife  = 5 * time.Minute
	peerNonces = 128 // for each user and peer
	userPeers  = 16
)

func newNonces() nonces { return nonces{start: time.Now(), users: map[string]*usage{}} }

// next returns the number of a new nonce.
func (n *nonces) next() int64 {
	for {
		last := n.last.Load()
		next := max(int64(time.Since(n.start)), last+1)
		if n.last.CompareAndSwap(last, next) {
			return next
		}
	}
}

// young reports whether a nonce has not expired.
func (n *nonces) young(nonce int64) bool { return nonce > int64(time.Since(n.start)-nonceLife) }

// use records use number count of a nonce by a user. It returns false for a replay, and for a
// nonce whose record was forgotten.
func (n *nonces) use(user string, from netip.Addr, nonce int64, count int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sweep()
	u := n.users[user]
	if u == nil {
		u = &usage{peers: map[netip.Prefix]*peerUsage{}}
		n.users[strings.Clone(user)] = u
	}
	return u.of(share.Of(from)).use(nonce, count, int64(time.Since(n.start)))
}

// of returns the usage from one peer. It forgets the least recently used peer when there are
// too many.
func (u *usage) of(peer netip.Prefix) *peerUsage {
	if p := u.peers[peer]; p != nil {
		return p
	}
	if len(u.peers) >= userPeers {
		var idle netip.Prefix
		for other, p := range u.peers {
			if !idle.IsValid() || p.at < u.peers[idle].at {
				idle = other
			}
		}
		u.floor = max(u.floor, u.peers[idle].newest())
		delete(u.peers, idle)
	}
	p := &peerUsage{floor: u.floor}
	u.peers[peer] = p
	return p
}

func (p *peerUsage) newest() int64 {
	if n := len(p.used); n > 0 {
		return p.used[n-1].nonce
	}
	return p.floor
}

func (p *peerUsage) use(nonce int64, count int, now int64) bool {
	if nonce <= p.floor || count < 1 {
		return false
	}
	p.at = now
	i, known := slices.BinarySearchFunc(p.used, nonce, func(u nonceUse, nonce int64) int { return int(min(max(u.nonce-nonce, -1), 1)) })
	if known {
		if count <= p.used[i].count {
			return false
		}
		p.used[i].count = count
		return true
	}
	p.used = slices.Insert(p.used, i, nonceUse{nonce, count})
	if len(p.used) > peerNonces {
		p.floor = p.used[0].nonce
		p.used = slices.Delete(p.used, 0, 1)
	}
	return true
}

// sweep forgets expired entries, at most once per nonceLife. Callers hold n.mu.
func (n *nonces) sweep() {
	old := int64(time.Since(n.start) - nonceLife)
	if old < n.swept {
		return
	}
	n.swept = old + int64(nonceLife)
	for name, u := range n.users {
		for peer, p := range u.peers {
			if p.newest() <= old {
				delete(u.peers, peer)
			}
		}
		if len(u.peers) == 0 && u.floor <= old {
			delete(n.users, name)
		}
	}
}
