package policy

import (
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Meter counts how often something happens, for each key, and says when it is too often.
// The zero value has counted nothing.
type Meter[K comparable] struct{ keys share.Meter[K] }

// Take takes one from a rate, if there is one left.
func (m *Meter[K]) Take(key K, rate Rate, now time.Time) bool {
	return rate.Count <= 0 || m.keys.Take(key, float64(rate.Count)/rate.Per.Seconds(), rate.Count, now)
}
