package policy

import (
	"sync"
	"time"
)

// Meter counts how often something happens, for each key, and says when it is too often.
// The zero value has counted nothing.
type Meter[K comparable] struct {
	mu      sync.Mutex
	buckets map[K]*bucket
}

// bucket holds what is left: it fills again as time goes by.
type bucket struct {
	left float64
	at   time.Time
}

const maxBuckets = 50000

// Take takes one from a rate, if there is one left.
func (m *Meter[K]) Take(key K, rate Rate, now time.Time) bool {
	if rate.Count <= 0 {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.buckets[key]
	if b == nil {
		if len(m.buckets) >= maxBuckets || m.buckets == nil { // those that are forgotten begin anew
			m.buckets = map[K]*bucket{}
		}
		b = &bucket{left: float64(rate.Count), at: now}
		m.buckets[key] = b
	}
	b.left = min(float64(rate.Count), b.left+now.Sub(b.at).Seconds()*float64(rate.Count)/rate.Per.Seconds())
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
