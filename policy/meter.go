package policy

import (
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Meter enforces rates, for each key separately. The zero value is ready for use, also by several
// goroutines.
type Meter[K comparable] struct{ keys share.Meter[K] }

// Take counts one use at time now, and returns false if that exceeds the rate. A zero rate permits
// every use.
func (m *Meter[K]) Take(key K, rate Rate, now time.Time) bool {
	return rate.Count <= 0 || m.keys.Take(key, float64(rate.Count)/rate.Per.Seconds(), rate.Count, now)
}
