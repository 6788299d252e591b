package webhook

import (
	"math/rand/v2"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
)

// row is what waits of a device, or of a call.
type row struct {
	key      string
	items    []item
	due      time.Time
	attempts int // of the first item
	failed   time.Time
	busy     bool            // a request is under way
	entry    *eventlog.Entry // the first item, after it has failed
	body     []byte          // what a template has made of it; nil if others need the room
}

type item struct {
	seq  uint64
	at   time.Time
	body []byte
}

// rows is a heap of rows whose first item waits; on top is the one that is due first.
type rows []*row

func (r rows) Len() int           { return len(r) }
func (r rows) Less(i, j int) bool { return r[i].due.Before(r[j].due) }
func (r rows) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *rows) Push(x any)        { *r = append(*r, x.(*row)) }
func (r *rows) Pop() any {
	last := (*r)[len(*r)-1]
	(*r)[len(*r)-1] = nil
	*r = (*r)[:len(*r)-1]
	return last
}

// backOff returns the time before the next attempt after so many: twice as long each time, and up to a half less by
// chance, so that hooks do not all try at once.
func backOff(attempts int) time.Duration {
	pause := min(firstPause<<min(attempts-1, 20), longPause)
	return pause/2 + rand.N(pause/2+1) //nolint:gosec // jitter
}
