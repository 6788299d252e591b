package share

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Complaints writes lines in a log that peers can cause as often as they like: of each kind one a
// second about each peer, and ten a second about all of them, with how many were not written as the
// attribute untold. The zero value remembers 1000 kinds and peers.
type Complaints[P comparable] struct {
	Most int // kinds and peers that are remembered; 1000

	each Hush[complaint[P]]

	mu    sync.Mutex
	kinds map[string]*kind // there are few: they are texts of ours
}

// complaint is a kind of line, and the peer that causes it.
type complaint[P comparable] struct {
	peer P
	text string
}

// kind is a kind of line about all peers.
type kind struct {
	rate   *rate.Limiter
	untold int
}

// kindRate is how many lines there are of one kind in a second.
const kindRate = 10

// Log writes a line about a peer, if it is not one too many. text is what kind of line it is, and
// must not be the peer's.
func (c *Complaints[P]) Log(log *slog.Logger, level slog.Level, peer P, text string, args ...any) {
	now := time.Now()
	c.mu.Lock()
	c.each.Most = c.Most
	tell, untold := c.each.Tell(complaint[P]{peer, text}, now)
	if tell {
		tell, untold = c.ofAll(text, untold, now)
	}
	c.mu.Unlock()
	if tell {
		log.Log(context.Background(), level, text, counted(args, untold)...)
	}
}

// ofAll is Hush.Tell for all peers together; untold are the lines about the peer that were not
// told. c.mu is held.
func (c *Complaints[P]) ofAll(text string, untold int, now time.Time) (bool, int) {
	k := c.kinds[text]
	if k == nil {
		if c.kinds == nil {
			c.kinds = map[string]*kind{}
		}
		k = &kind{rate: rate.NewLimiter(kindRate, kindRate)}
		c.kinds[text] = k
	}
	k.untold += untold
	if !k.rate.AllowN(now, 1) {
		k.untold++
		return false, 0
	}
	untold, k.untold = k.untold, 0
	return true, untold
}
