package proxy

import (
	"maps"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// condition is the status of a link and its switch as clients are told it. It may change often:
// clients get changes once a second at most, and always the last one.
type condition struct {
	publishing lock // held while clients are told, so that the last status sent is the current one

	// guarded by managedLink.mu
	publishedAt  time.Time                // when clients last got the switch's status
	pending      *time.Timer              // publishes what has changed since; nil: nothing has
	published    uacsta.SystemStatusValue // the status that clients got last
	messagesLost bool                     // the switch has lost messages and clients do not know it
	eventsMissed bool                     // the switch may have sent no events for a while
}

// statusPause is the shortest time between two changes of the status that clients get.
const statusPause = time.Second

// statusReported handles the switch's report of its status and notifies clients. After a time in which
// the switch may have sent no events, its devices are resynchronised.
func (t *managedLink) statusReported(status uacsta.SystemStatusValue) {
	c := &t.condition
	t.mu.Lock()
	before := t.status
	switch {
	case !t.life.active(): // publishLinkState covers that
		t.mu.Unlock()
		return
	case status == uacsta.StatusMessagesLost: // reports the past, not a state
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

// publishStatus sends clients the status that the switch has reported.
func (t *managedLink) publishStatus() {
	p, c := t.proxy, &t.condition
	c.publishing.Lock()
	defer c.publishing.Unlock()
	t.mu.Lock()
	if !t.life.active() { // clients know that already
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
		t.calls.forget() // devices may have left calls without an event
		for _, m := range monitors {
			m.resyncNow()
		}
	}
}

// clearPending discards what is waiting to be published. The caller holds t.mu.
func (c *condition) clearPending() {
	if c.pending != nil {
		c.pending.Stop()
		c.pending = nil
	}
	c.messagesLost, c.eventsMissed = false, false
}

// publishLinkState tells clients at once that the link has come up or gone down.
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

// reportedStatus returns the status of the link that clients get.
func (t *managedLink) reportedStatus() uacsta.SystemStatusValue {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.life.active() {
		return uacsta.StatusDisabled
	}
	return t.status
}

// sendStatus sends SystemStatus to the sessions that use a link.
func (p *Proxy) sendStatus(t *managedLink, status uacsta.SystemStatusValue) {
	for _, s := range p.sessionList() {
		if s.uses(t) {
			s.status(status)
		}
	}
}
