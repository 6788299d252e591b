package proxy

import (
	"maps"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// condition is what a link, and the switching function behind it, is fit for, as clients are told.
// It may change as often as it likes: clients are told once a second, the last of it for certain.
type condition struct {
	telling lock // held while clients are told, so that the last thing told is the last that was

	// guarded by trunk.mu
	said  time.Time                // when clients were told last what the switching function says
	later *time.Timer              // tells what came since; nil: nothing did
	told  uacsta.SystemStatusValue // to clients
	lost  bool                     // messages, and clients have not been told of it
	blind bool                     // for a time in which it may have forgotten to tell events
}

// statusPause is the time between two changes of the status that clients are told of.
const statusPause = time.Second

// says takes note of what the switching function says of itself, and tells the clients.
// After a time in which it may have forgotten to tell events, its devices are looked at.
func (t *trunk) says(status uacsta.SystemStatusValue) {
	c := &t.condition
	t.mu.Lock()
	before := t.status
	switch {
	case !t.life.lasts(): // that it is up, says more
		t.mu.Unlock()
		return
	case status == uacsta.StatusMessagesLost: // which says what was, not what is
		c.lost, c.blind = true, true
	case status == before: // a sign of life
		t.mu.Unlock()
		return
	default:
		t.status = status
		c.blind = c.blind || before == uacsta.StatusDisabled || before == uacsta.StatusPartiallyDisabled
	}
	wait := statusPause - time.Since(c.said)
	if c.later == nil && wait > 0 {
		c.later = time.AfterFunc(wait, t.tellSaid)
	}
	now := wait <= 0
	t.mu.Unlock()
	if now {
		t.tellSaid()
	}
}

// tellSaid tells the clients what the switching function has said.
func (t *trunk) tellSaid() {
	p, c := t.proxy, &t.condition
	c.telling.Lock()
	defer c.telling.Unlock()
	t.mu.Lock()
	if !t.life.lasts() { // which clients have been told
		t.mu.Unlock()
		return
	}
	lost, blind := c.lost, c.blind
	c.quiet()
	c.said = time.Now()
	status, before := t.status, c.told
	c.told = status
	monitors := slices.Collect(maps.Values(t.monitors))
	t.mu.Unlock()
	if lost {
		t.log.Info("switch reports lost messages")
		p.tellStatus(t, uacsta.StatusMessagesLost)
	}
	if status != before {
		t.log.Info("switch status changed", "status", string(status))
		p.tellStatus(t, status)
	}
	if blind {
		t.calls.forget() // who has left a call meanwhile, nobody has told
		for _, m := range monitors {
			m.lookAgain()
		}
	}
}

// quiet forgets what there is to tell; t.mu is held.
func (c *condition) quiet() {
	if c.later != nil {
		c.later.Stop()
		c.later = nil
	}
	c.lost, c.blind = false, false
}

// tellUp tells the clients at once that the link has come up, or gone down.
func (t *trunk) tellUp() {
	p, c := t.proxy, &t.condition
	c.telling.Lock()
	defer c.telling.Unlock()
	t.mu.Lock()
	status := uacsta.StatusDisabled
	if t.life.lasts() {
		status = t.status
	}
	c.quiet()
	before := c.told
	c.told = status
	t.mu.Unlock()
	if status != before {
		p.tellStatus(t, status)
	}
}

// fitness is what clients are told of the link.
func (t *trunk) fitness() uacsta.SystemStatusValue {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.life.lasts() {
		return uacsta.StatusDisabled
	}
	return t.status
}

// tellStatus sends SystemStatus to the sessions that a link concerns.
func (p *Proxy) tellStatus(t *trunk, status uacsta.SystemStatusValue) {
	for _, s := range p.sessionList() {
		if s.uses(t) {
			s.status(status)
		}
	}
}
