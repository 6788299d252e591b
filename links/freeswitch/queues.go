package freeswitch

import (
	"maps"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A call that waits is one for as long as it waits, whoever lets it wait: mod_callcenter, mod_fifo,
// a valet's parking lot, or the dialplan.

// local is a name of FreeSWITCH's without what stands behind an @.
func local(name string) string {
	name, _, _ = strings.Cut(name, "@")
	return name
}

// queueDevice is the device number of a queue.
func (l *Link) queueDevice(name string) string { return l.cfg.QueuePrefix + local(name) }

// trunkDevice is the device number of a gateway, or of what the dialplan calls one.
func (l *Link) trunkDevice(name string) string {
	if !words.MatchString(name) {
		return ""
	}
	return l.cfg.TrunkPrefix + name
}

// queued is the part of the queue that a call waits in; nil: none.
func (c *call) queued() *channel {
	for _, ch := range c.Parties {
		if ch.virtual && ch.State == uacsta.Queued {
			return ch
		}
	}
	return nil
}

// enqueue: a call waits in a queue, or is parked.
func (l *Link) enqueue(c *call, queue string, cause uacsta.EventCause) {
	id := queue + " of " + c.ID
	if !words.MatchString(queue) || c.queued() != nil || l.channels[id] != nil || c.full() || l.full() {
		return
	}
	front := l.parts[queue]
	part := &channel{id: id, Connection: callmodel.Connection{Device: queue}, virtual: true, parked: cause == uacsta.CausePark}
	l.add(c, part)
	l.tell(c.Queue(part, front, cause)...)
}

// waits: a channel that FreeSWITCH answers itself waits in a queue where the number is one's.
func (l *Link) waits(ch *channel, at string) {
	if c := ch.call; ch.Inbound && len(c.Parties) == 1 && l.cfg.Queues != nil && l.cfg.Queues(at) {
		l.enqueue(c, l.queueDevice(at), uacsta.CauseEnteringDistribution)
	}
}

// callcenter takes what mod_callcenter tells.
func (l *Link) callcenter(e event) {
	member, queue := l.channels[e.get("CC-Member-Session-UUID")], l.queueDevice(e.get("CC-Queue"))
	if member == nil || member.virtual {
		return
	}
	switch c := member.call; e.get("CC-Action") {
	case "member-queue-start":
		c.queue = queue
		l.enqueue(c, queue, uacsta.CauseEnteringDistribution)
	case "agent-offering":
		if len(l.offers) >= maxOffers { // some agents were never called
			maps.DeleteFunc(l.offers, func(_, caller string) bool { return l.channels[caller] == nil })
		}
		if len(l.offers) < maxOffers {
			l.offers[local(e.get("CC-Agent"))] = member.id
		}
	case "member-queue-end":
		cause := uacsta.CauseNormalClearing
		if strings.Contains(e.get("CC-Cancel-Reason"), "TIMEOUT") {
			cause = uacsta.CauseQueueTimeOverflow
		}
		l.dequeue(c, cause)
	}
}

// dequeue: a call waits no longer, and nobody has taken it.
func (l *Link) dequeue(c *call, cause uacsta.EventCause) {
	c.queue = ""
	if part := c.queued(); part != nil {
		l.drop(part, cause)
	}
}

// fifo takes what mod_fifo tells. Who takes the call shows when both are bridged.
func (l *Link) fifo(e event) {
	ch := l.channels[e.get("Unique-ID")]
	if ch == nil || ch.virtual {
		return
	}
	switch e.get("FIFO-Action") {
	case "push":
		l.enqueue(ch.call, l.queueDevice(e.get("FIFO-Name")), uacsta.CauseEnteringDistribution)
	case "abort":
		l.dequeue(ch.call, uacsta.CauseNormalClearing)
	}
}

// valet takes what mod_valet_parking tells: a parked call is in a queue of its own.
func (l *Link) valet(e event) {
	if ch := l.channels[e.get("Unique-ID")]; ch != nil && !ch.virtual && e.get("Action") == "hold" {
		l.enqueue(ch.call, e.get("Valet-Extension"), uacsta.CausePark)
	}
}

// forwardCauses are what the dialplan may forward a call for.
var forwardCauses = map[string]uacsta.EventCause{
	"immediate": uacsta.CauseCallForwardImmediate, "busy": uacsta.CauseCallForwardBusy, "no-answer": uacsta.CauseCallForwardNoAnswer, "dnd": uacsta.CauseDoNotDisturb,
}

// forwarded: the dialplan sends a call on, from a device that it does not ring at.
func (l *Link) forwarded(c *call, e event) {
	from, to, cause := e.get("From"), e.get("To"), forwardCauses[e.get("Reason")]
	if !words.MatchString(from) || !words.MatchString(to) || cause == "" {
		return
	}
	l.tell(c.Forward(from, to, cause)...)
}

// dialplan takes what the dialplan tells by its application event: that a call is in a queue, comes
// or goes by a trunk, or is forwarded.
func (l *Link) dialplan(e event) {
	ch := l.channels[e.get("Unique-ID")]
	if ch == nil || ch.virtual {
		return
	}
	trunk := l.trunkDevice(e.get("Trunk"))
	switch c := ch.call; {
	case e.get("Event-Subclass") == "csta::queue":
		l.enqueue(c, l.queueDevice(e.get("Queue")), uacsta.CauseEnteringDistribution)
	case e.get("Event-Subclass") == "csta::forward":
		l.forwarded(c, e)
	case ch.Network:
		l.through(ch, trunk)
	default:
		c.exit = trunk
	}
}

// gateway: one has come, or gone.
func (l *Link) gateway(e event) {
	state := e.get("State")
	up := (state == "REGED" || state == "NOREG") && e.get("Ping-Status") != "DOWN"
	l.service(l.trunkDevice(e.get("Gateway")), up)
}

// unanswered: a telephone that was called for a queue has not answered. The call goes on waiting
// when no other one rings. It reports false where that is not so.
func (l *Link) unanswered(ch *channel) bool {
	c := ch.call
	if c.queue == "" || ch.Inbound || ch.virtual || ch.State != uacsta.Alerting {
		return false
	}
	waits := false
	for _, o := range c.Parties {
		if o != ch && (o.virtual || o.State == uacsta.Alerting) {
			return false
		}
		waits = waits || o != ch && o.State == uacsta.Connected
	}
	if !waits {
		return false
	}
	l.divert(ch, c.queue, uacsta.CauseRedirected)
	l.enqueue(c, c.queue, uacsta.CauseNoAvailableAgents)
	return true
}
