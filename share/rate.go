package share

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Meter gives each of many keys a rate of its own. Keys that have been idle longest are
// forgotten first, so that whoever comes with very many keys pushes out idle ones, not busy
// ones. The zero value remembers 50 000 keys.
type Meter[K comparable] struct {
	Most int // keys that are remembered; 50 000

	mu   sync.Mutex
	keys map[K]*list.Element
	used list.List // of *metered[K], the one idle longest first
}

type metered[K comparable] struct {
	key     K
	limiter *rate.Limiter
}

// Take takes one of what a key may do, so many a second and burst at once, and reports whether
// there was one left. A key whose rate is another than before goes on with what it has left.
func (m *Meter[K]) Take(key K, perSecond float64, burst int, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.keys[key]
	if e == nil {
		e = m.enter(&metered[K]{key, rate.NewLimiter(rate.Limit(perSecond), burst)})
	}
	m.used.MoveToBack(e)
	l := e.Value.(*metered[K]).limiter
	if l.Limit() != rate.Limit(perSecond) {
		l.SetLimitAt(now, rate.Limit(perSecond))
	}
	if l.Burst() != burst {
		l.SetBurstAt(now, burst)
	}
	return l.AllowN(now, 1)
}

// enter makes room for a key. Callers hold m.mu.
func (m *Meter[K]) enter(one *metered[K]) *list.Element {
	most := m.Most
	if most == 0 {
		most = 50000
	}
	if m.keys == nil {
		m.keys = map[K]*list.Element{}
	}
	if len(m.keys) >= most {
		delete(m.keys, m.used.Remove(m.used.Front()).(*metered[K]).key)
	}
	e := m.used.PushBack(one)
	m.keys[one.key] = e
	return e
}

// Left reports whether a key has one left, and takes none.
func (m *Meter[K]) Left(key K, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.keys[key]
	return e == nil || e.Value.(*metered[K]).limiter.TokensAt(now) >= 1
}

// Rates gives each peer the same rate.
type Rates struct {
	perSecond float64
	burst     int
	meter     Meter[netip.Prefix]
}

// NewRates allows each of most peers so many things a second, and burst at once.
func NewRates(perSecond float64, burst, most int) *Rates {
	return &Rates{perSecond: perSecond, burst: burst, meter: Meter[netip.Prefix]{Most: most}}
}

// Allow reports whether the peer at an address may do one more thing now, and counts it.
func (r *Rates) Allow(addr netip.Addr, now time.Time) bool {
	return r.meter.Take(Of(addr), r.perSecond, r.burst, now)
}

// Left reports whether the peer at an address may do one more thing now.
func (r *Rates) Left(addr netip.Addr, now time.Time) bool { return r.meter.Left(Of(addr), now) }
