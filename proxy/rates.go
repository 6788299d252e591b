package proxy

import (
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
)

// rates counts how often identities make use of rules that limit it. The zero value has
// counted nothing.
type rates struct {
	mu      sync.Mutex
	buckets map[rateKey]*bucket
}

type rateKey struct{ who, rule string }

// bucket holds what is left: it fills again as time goes by.
type bucket struct {
	left float64
	at   time.Time
}

const maxBuckets = 50000

// take takes one from the rate of a rule, if there is one left.
func (r *rates) take(who string, rule *policy.Rule, now time.Time) bool {
	limit := rule.Rate
	r.mu.Lock()
	defer r.mu.Unlock()
	key := rateKey{who, rule.Name}
	b := r.buckets[key]
	if b == nil {
		if len(r.buckets) >= maxBuckets || r.buckets == nil { // those who were forgotten may begin anew
			r.buckets = map[rateKey]*bucket{}
		}
		b = &bucket{left: float64(limit.Count), at: now}
		r.buckets[key] = b
	}
	b.left = min(float64(limit.Count), b.left+now.Sub(b.at).Seconds()*float64(limit.Count)/limit.Per.Seconds())
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
