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
	publishing lock // held while clients are told, so that the last thing told is the last that was

	// guarded by trunk.mu
	publishedAt  time.Time                // when clients were told last what the switching function says
	pending      *time.Timer              // tells what came since; nil: nothing did
	published    uacsta.SystemStatusValue // to clients
	messagesLost bool                     // messages, and clients have not been told of it
	eventsMissed bool                     // for a time in which it may have forgotten to tell events
}

// statusPause is the time between two changes of the status that clients are told of.
const statusPause = time.Second

// says takes note of what the switching function says of itself, and tells the clients.
// After a time in which it may have forgotten to tell events, its devices are looked at.
func (t *managedLink) statusReported(status uacsta.SystemStatusValue) {
	c := &t.condition
	t.mu.Lock()
	before := t.status
	switch {
	case !t.life.active(): // that it is up, says more
		t.mu.Unlock()
		return
	case status == uacsta.StatusMessagesLost: // which says what was, not what is
		c.messagesLost, c.eventsMissed = true, true
	case status == before: // a sign of life
		t.mu.Unlock()
		return
	default:
		t.status = status
		c.eventsMissed = c.eventsMissed || before == uacsta.StatusDisabled || before == uacsta.StatusPartiallyDisabled
	}
	wait := statusPause - time.Since(c.publishedAt)
	if c.pending == nil && wait > 0 {
		c.pending = time.AfterFunc(wait, t.publishStatus)
	}
	now := wait <= 0
	t.mu.Unlock()
	if now {
		t.publishStatus()
	}
}

// publishStatus tells the clients what the switching function has said.
func (t *managedLink) publishStatus() {
	p, c := t.proxy, &t.condition
	c.publishing.Lock()
	defer c.publishing.Unlock()
	t.mu.Lock()
	if !t.life.active() { // which clients have been told
		t.mu.Unlock()
		return
	}
	lost, blind := c.messagesLost, c.eventsMissed
	c.clearPending()
	c.publishedAt = time.Now()
	status, before := t.status, c.published
	c.published = status
	monitors := slices.Collect(maps.Values(t.monitors))
	t.mu.Unlock()
	if lost {
		t.log.Info("switch reports lost messages")
		p.sendStatus(t, uacsta.StatusMessagesLost)
	}
	if status != before {
		t.log.Info("switch status changed", "status", string(status))
		p.sendStatus(t, status)
	}
	if blind {
		t.calls.forget() // who has left a call meanwhile, nobody has told
		for _, m := range monitors {
			m.resyncNow()
		}
	}
}

// quiet forgets what there is to tell; t.mu is held.
func (c *condition) clearPending() {
	if c.pending != nil {
		c.pending.Stop()
		c.pending = nil
	}
	c.messagesLost, c.eventsMissed = false, false
}

// publishLinkState tells the clients at once that the link has come up, or gone down.
func (t *managedLink) publishLinkState() {
	p, c := t.proxy, &t.condition
	c.publishing.Lock()
	defer c.publishing.Unlock()
	t.mu.Lock()
	status := uacsta.StatusDisabled
	if t.life.active() {
		status = t.status
	}
	c.clearPending()
	before := c.published
	c.published = status
	t.mu.Unlock()
	if status != before {
		p.sendStatus(t, status)
	}
}

// reportedStatus is what clients are told of the link.
func (t *managedLink) reportedStatus() uacsta.SystemStatusValue {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.life.active() {
		return uacsta.StatusDisabled
	}
	return t.status
}

// sendStatus sends SystemStatus to the sessions that a link concerns.
func (p *Proxy) sendStatus(t *managedLink, status uacsta.SystemStatusValue) {
	for _, s := range p.sessionList() {
		if s.uses(t) {
			s.status(status)
		}
	}
}
