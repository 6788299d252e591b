package freeswitch

import (
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Calls that wait, in mod_callcenter, mod_fifo, a valet parking lot or the dialplan.

// queueDevice returns the device number of a queue.
func (l *Link) queueDevice(name string) string {
	name, domain, _ := strings.Cut(name, "@")
	return l.cfg.QueuePrefix + l.deviceOf(name, domain)
}

// queues reports whether a device is a queue: by the prefix, or because it is no telephone.
func (l *Link) queues(device string) bool {
	if l.cfg.QueuePrefix != "" {
		return strings.HasPrefix(device, l.cfg.QueuePrefix)
	}
	return !l.telephones(device)
}

// trunkDevice returns the device number of a gateway, or of what the dialplan calls a trunk.
func (l *Link) trunkDevice(name string) string {
	if !words.MatchString(name) {
		return ""
	}
	return l.cfg.TrunkPrefix + name
}

// queued returns the connection of the queue in which a call waits, or which has answered it, or nil.
func (c *call) queued() *channel {
	for _, ch := range c.Parties {
		if ch.virtual && !ch.isRoom() {
			return ch
		}
	}
	return nil
}

// enqueue reports that a call waits in a queue, or is parked.
func (l *Link) enqueue(c *call, queue string, cause uacsta.EventCause) {
	id := queue + " of " + c.ID
	if !l.isDevice(queue) || l.channels[id] != nil || c.full() || l.full() {
		return
	}
	if part := c.queued(); part != nil {
		l.divert(part, queue, uacsta.CauseRedirected)
	}
	front := l.parts[queue]
	part := &channel{id: id, Connection: callmodel.Connection{Device: queue}, virtual: true, parked: cause == uacsta.CausePark}
	l.add(c, part)
	l.deliver(c.Queue(part, front, cause)...)
}

// waits handles a channel that FreeSWITCH answered itself: it waits in a queue if the number is
// a queue's.
func (l *Link) waits(ch *channel, at string) {
	if c := ch.call; ch.Inbound && len(c.Parties) == 1 && l.cfg.Queues != nil && l.cfg.Queues(at) {
		l.enqueue(c, l.queueDevice(at), uacsta.CauseEnteringDistribution)
	}
}

// callcenter handles events of mod_callcenter.
func (l *Link) callcenter(e event) {
	member, queue := l.channels[e.get("CC-Member-Session-UUID")], l.queueDevice(e.get("CC-Queue"))
	if member == nil || member.virtual {
		return
	}
	switch c := member.call; e.get("CC-Action") {
	case "member-queue-start":
		c.queue = queue
		l.enqueue(c, queue, uacsta.CauseEnteringDistribution)
	case "member-queue-end":
		cause := uacsta.CauseNormalClearing
		if strings.Contains(e.get("CC-Cancel-Reason"), "TIMEOUT") {
			cause = uacsta.CauseQueueTimeOverflow
		}
		l.dequeue(c, cause)
	}
}

// dequeue reports that a call stopped waiting and no one took it.
func (l *Link) dequeue(c *call, cause uacsta.EventCause) {
	c.queue = ""
	if part := c.queued(); part != nil {
		l.drop(part, cause)
	}
}

// fifo handles events of mod_fifo. CHANNEL_BRIDGE shows who takes a call.
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

// valet handles events of mod_valet_parking. Each parked call is in a queue of its own.
func (l *Link) valet(e event) {
	if ch := l.channels[e.get("Unique-ID")]; ch != nil && !ch.virtual && e.get("Action") == "hold" {
		l.enqueue(ch.call, e.get("Valet-Extension"), uacsta.CausePark)
	}
}

// forwardCauses maps the dialplan's reasons for forwarding to causes.
var forwardCauses = map[string]uacsta.EventCause{
	"immediate": uacsta.CauseCallForwardImmediate, "busy": uacsta.CauseCallForwardBusy, "no-answer": uacsta.CauseCallForwardNoAnswer, "dnd": uacsta.CauseDoNotDisturb,
}

// forwarded handles a call that the dialplan forwards from a device that does not ring.
func (l *Link) forwarded(c *call, e event) {
	from, to, cause := e.get("From"), e.get("To"), forwardCauses[e.get("Reason")]
	if !words.MatchString(from) || !words.MatchString(to) || cause == "" {
		return
	}
	l.deliver(c.Forward(from, to, cause)...)
}

// dialplan handles the dialplan's application events: a call enters a queue, uses a trunk, or
// is forwarded.
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
		l.named(ch, trunk)
	default:
		c.exit = trunk
	}
}

// named handles a call through what the dialplan calls a trunk. One that comes in does so there, and nowhere else.
func (l *Link) named(ch *channel, trunk string) {
	c, was := ch.call, ch.Trunk
	if trunk == "" || trunk == was {
		return
	}
	if ch.Inbound && was != "" {
		l.deliver(only(was, c.Clear(ch, uacsta.CauseRedirected))...)
		c.Add(ch)
	}
	l.through(ch, trunk)
	if ch.Inbound {
		l.deliver(only(trunk, c.Initiate(ch, uacsta.CauseNormal))...)
		l.deliver(only(trunk, c.Originate(ch, uacsta.CauseNewCall))...)
	}
}

// only returns the notices for one device.
func only(device string, notices []callmodel.Notice) []callmodel.Notice {
	return slices.DeleteFunc(notices, func(n callmodel.Notice) bool { return n.Device != device })
}

// gateway handles the state of a gateway.
func (l *Link) gateway(e event) {
	state := e.get("State") // none of a gateway that is deleted
	up := (state == "REGED" || state == "NOREG") && e.get("Ping-Status") != "DOWN"
	l.service(l.trunkDevice(e.get("Gateway")), up)
}

// unanswered handles a telephone that did not answer a call from a queue. The call waits again
// unless another telephone rings. It returns false if this is not the case.
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
