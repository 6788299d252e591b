package share

import (
	"container/heap"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Meter limits the rate of each of many keys. When it has too many keys, it forgets the one
// whose full burst is available first: an idle key loses nothing, and no key that has used up
// its rate is forgotten before one that has used less. The zero value remembers 50 000 keys. It
// is safe for concurrent use.
type Meter[K comparable] struct {
	Most int // keys remembered; 0 means 50 000

	mu    sync.Mutex
	keys  map[K]*metered[K]
	whole byTime[K] // the keys again, ordered
}

// metered is the state of one key.
type metered[K comparable] struct {
	key     K
	limiter *rate.Limiter
	whole   time.Time // when its full burst is available
	place   int       // in Meter.whole
}

// Take takes one token of a key, whose rate is perSecond with the given burst, and reports
// whether there was one. If the rate of a key changes, the key keeps its tokens.
func (m *Meter[K]) Take(key K, perSecond float64, burst int, now time.Time) bool {
	return m.TakeN(key, 1, perSecond, burst, now)
}

// TakeN takes n tokens as Take takes one, all or none.
func (m *Meter[K]) TakeN(key K, n int, perSecond float64, burst int, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.keys[key]
	if k == nil {
		k = m.enter(&metered[K]{key: key, limiter: rate.NewLimiter(rate.Limit(perSecond), burst)})
	}
	l := k.limiter
	if l.Limit() != rate.Limit(perSecond) {
		l.SetLimitAt(now, rate.Limit(perSecond))
	}
	if l.Burst() != burst {
		l.SetBurstAt(now, burst)
	}
	taken := l.AllowN(now, n)
	k.whole = now.Add(time.Duration((float64(burst) - l.TokensAt(now)) / perSecond * float64(time.Second)))
	heap.Fix(&m.whole, k.place)
	return taken
}

// enter adds a key and makes room for it. Callers hold m.mu.
func (m *Meter[K]) enter(k *metered[K]) *metered[K] {
	most := m.Most
	if most == 0 {
		most = 50000
	}
	if m.keys == nil {
		m.keys = map[K]*metered[K]{}
	}
	if len(m.keys) >= most {
		delete(m.keys, heap.Pop(&m.whole).(*metered[K]).key)
	}
	heap.Push(&m.whole, k)
	m.keys[k.key] = k
	return k
}

// byTime is a heap of keys: the one whose full burst is available first is on top.
type byTime[K comparable] []*metered[K]

func (h byTime[K]) Len() int           { return len(h) }
func (h byTime[K]) Less(i, j int) bool { return h[i].whole.Before(h[j].whole) }
func (h byTime[K]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *byTime[K]) Push(x any) {
	k := x.(*metered[K])
	k.place = len(*h)
	*h = append(*h, k)
}

// Pop implements heap.Interface.
func (h *byTime[K]) Pop() any {
	last := len(*h) - 1
	k := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return k
}

// Left reports whether a key has a token, without taking it.
func (m *Meter[K]) Left(key K, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.keys[key]
	return k == nil || k.limiter.TokensAt(now) >= 1
}

// Rates limits each peer to the same rate.
type Rates struct {
	perSecond float64
	burst     int
	meter     Meter[netip.Prefix]
}

// NewRates returns limits of perSecond with the given burst for each peer. It remembers most
// peers.
func NewRates(perSecond float64, burst, most int) *Rates {
	return &Rates{perSecond: perSecond, burst: burst, meter: Meter[netip.Prefix]{Most: most}}
}

// Allow reports whether the peer at an address may do one more thing now, and counts it.
func (r *Rates) Allow(addr netip.Addr, now time.Time) bool {
	return r.meter.Take(Of(addr), r.perSecond, r.burst, now)
}

// Left reports whether the peer at an address may do one more thing now, without counting it.
func (r *Rates) Left(addr netip.Addr, now time.Time) bool { return r.meter.Left(Of(addr), now) }
