package share

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// PeerLog logs what peers can cause at will, at a limited rate: of each message, one line a
// second for each peer and ten a second in all. The attribute suppressed counts the lines
// omitted before. The zero value remembers 1000 pairs of message and peer. It is safe for
// concurrent use.
type PeerLog[P comparable] struct {
	Most int // pairs of message and peer remembered; 0 means 1000

	each LogLimit[lineAbout[P]]

	mu    sync.Mutex
	kinds map[string]*kind // few, since messages are fixed
}

// lineAbout is a message and the peer that caused it.
type lineAbout[P comparable] struct {
	peer P
	text string
}

// kind is the state of one message for all peers.
type kind struct {
	rate       *rate.Limiter
	suppressed int
}

// kindRate is the number of lines per second with one message.
const kindRate = 10

// Log writes a line about a peer unless that exceeds a rate. text is the message, which must be
// fixed: nothing in it may come from the peer.
func (c *PeerLog[P]) Log(log *slog.Logger, level slog.Level, peer P, text string, args ...any) {
	if ok, suppressed := c.allow(peer, text, time.Now()); ok {
		log.Log(context.Background(), level, text, counted(args, suppressed)...)
	}
}

// allow reports whether to log a line now, and how many were suppressed before it.
func (c *PeerLog[P]) allow(peer P, text string, now time.Time) (ok bool, suppressed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.each.Most = c.Most
	if ok, suppressed = c.each.Allow(lineAbout[P]{peer, text}, now); ok {
		return c.ofAll(text, suppressed, now)
	}
	return false, 0
}

// ofAll is LogLimit.Allow for all peers together. suppressed counts the suppressed lines about
// the peer. Callers hold c.mu.
func (c *PeerLog[P]) ofAll(text string, suppressed int, now time.Time) (bool, int) {
	k := c.kinds[text]
	if k == nil {
		if c.kinds == nil {
			c.kinds = map[string]*kind{}
		}
		k = &kind{rate: rate.NewLimiter(kindRate, kindRate)}
		c.kinds[text] = k
	}
	k.suppressed += suppressed
	if !k.rate.AllowN(now, 1) {
		k.suppressed++
		return false, 0
	}
	suppressed, k.suppressed = k.suppressed, 0
	return true, suppressed
}
