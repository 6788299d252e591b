package softswitch

import (
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The course of a call: off-hook, dialled, ringing or diverted, answered or failed.

// initiate takes a device off-hook for a new call.
func (s *Switch) initiate(d *device, number string, cause uacsta.EventCause) *connection {
	return s.newCall(d.caller(), number).initiate(d, cause)
}

// initiate takes the calling device off-hook.
func (c *call) initiate(d *device, cause uacsta.EventCause) *connection {
	c.private = d.private
	if d.trunk != nil {
		c.trunkIn = d
	}
	x := c.join(d, uacsta.Initiated)
	c.sw.emit(c, nil, uacsta.ServiceInitiatedEvent{InitiatedConnection: x.id(), InitiatingDevice: uacsta.Ext(d.number), Cause: cause})
	return x
}

// presents makes the caller present a second number of its extension.
func (x *connection) presents(number string) {
	if slices.Contains(x.device.second, number) {
		x.presented = number
		x.call.calling.who = uacsta.Ext(number)
	}
}

// caller returns whom the device shows as the caller.
func (d *device) caller() end {
	if d.trunk != nil {
		return end{who: uacsta.Ext(d.trunk.Caller), nid: d}
	}
	return end{who: uacsta.Ext(d.number)}
}

// prompt rings the caller's own phone, which must be lifted before the call proceeds.
func (x *connection) prompt(cause uacsta.EventCause) {
	x.cause = cause
	x.after(x.call.sw.cfg.PromptTime, func() { x.clear(uacsta.CauseCallNotAnswered) })
	x.ringPhone()
}

// originate sends the caller's call to its destination.
func (x *connection) originate(cause uacsta.EventCause) {
	c := x.call
	x.become(uacsta.Connected)
	if x.device.trunk != nil {
		x.far, x.reached = c.calling.who, true
	}
	x.device.lastDialed = c.called
	c.sw.emit(c, nil, uacsta.OriginatedEvent{OriginatedConnection: x.id(), Cause: cause})
	c.present(x, c.called, cause)
}

// target returns the device that a number leads to: one of the switch, or the first trunk for such
// numbers. from is the trunk of an incoming call, which can reach only the numbers in the
// trunk's Inward.
func (s *Switch) target(number string, from *device) *device {
	if from != nil {
		return s.devices[from.trunk.Inward[number]]
	}
	if d := s.devices[number]; d != nil && d.trunk == nil {
		return d
	}
	if ways := s.waysOut(number); len(ways) > 0 {
		return ways[0]
	}
	return nil
}

// present offers the call to a number: it rings there, waits, is diverted, or fails. from is
// the connection that fails if there is no such number. Without one the call ends.
func (c *call) present(from *connection, number string, cause uacsta.EventCause) {
	if from == nil {
		c.end(cause, nil)
		return
	}
	c.presenting++ // queues that overflow call present recursively
	defer func() { c.presenting-- }()
	for range maxDiversions - c.presenting {
		d := c.sw.target(number, c.fromNetwork(from))
		switch {
		case d == nil || d.park || d.pickup != nil:
			c.failAt(from, uacsta.CauseDestNotObtainable)
			return
		case !c.admits(d): // the caller called itself, or the call was sent to a party
			c.failAt(from, uacsta.CauseBusy)
			return
		case d.trunk != nil && !c.mayGoOut(from, number):
			c.failAt(from, uacsta.CauseBlocked)
			return
		case d.trunk != nil:
			c.goOut(from, number, cause)
			return
		case d.hunt != nil:
			c.huntIn(d)
			return
		case d.queue != nil:
			c.enter(d)
			return
		case d.routeing != nil:
			if c.askRoute(d) {
				return
			}
			c.divert(d, d.routeing.Default, uacsta.CauseDistributed)
			number, cause = d.routeing.Default, uacsta.CauseDistributed
			continue
		}
		to, why := d.diverts(c)
		switch {
		case to != "":
			c.divert(d, to, why)
			number, cause = to, why
		case d.dnd.refuses(c):
			c.refuse(d, uacsta.CauseDoNotDisturb)
			return
		case d.away:
			c.refuse(d, uacsta.CauseDestOutOfOrder)
			return
		case d.busy():
			c.refuse(d, uacsta.CauseBusy)
			return
		default:
			c.ring(d, cause, nil)
			return
		}
	}
	c.failAt(from, uacsta.CauseDestNotObtainable) // forwarding loop
}

// fromNetwork returns the trunk over which the call came in, until a device of the switch
// diverts it. Until then, numbers have the network's meaning.
func (c *call) fromNetwork(from *connection) *device {
	if from != nil && c.trunkIn == from.device && c.redirecting == "" {
		return c.trunkIn
	}
	return nil
}

// divert reports that a call leaves a device for another one, instead of ringing there.
func (c *call) divert(d *device, to string, cause uacsta.EventCause) {
	c.divertFrom(uacsta.Conn(c.id, d.number), d, to, cause)
}

// divert reports that a call leaves a connection, which has left it, for another device.
func (x *connection) divert(to string, cause uacsta.EventCause) {
	x.call.divertFrom(x.id(), x.device, to, cause)
}

func (c *call) divertFrom(left uacsta.ConnectionID, d *device, to string, cause uacsta.EventCause) {
	c.notifyDiverted(left, d, to, cause)
	c.diverted(left, d, cause)
}

func (c *call) notifyDiverted(left uacsta.ConnectionID, d *device, to string, cause uacsta.EventCause) {
	c.sw.emit(c, []*device{d}, uacsta.DivertedEvent{Connection: left, DivertingDevice: uacsta.Ext(d.number), NewDestination: uacsta.Ext(to), Cause: cause})
}

// diverted records that a device has diverted a call.
func (c *call) diverted(left uacsta.ConnectionID, d *device, cause uacsta.EventCause) {
	c.redirecting = d.number
	if len(c.history) == maxHistory {
		c.history = c.history[1:]
	}
	c.history = append(slices.Clip(c.history), uacsta.DeviceHistoryListItem{
		OldDeviceID: uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev(d.number)}, EventCause: cause, OldConnectionID: &left,
	})
}

// ring alerts a device. group is the hunt group or queue for which it rings.
func (c *call) ring(d *device, cause uacsta.EventCause, group *device) {
	x := c.join(d, uacsta.Null)
	x.group = group
	x.alert(cause)
}

// arm sets the timers of a ringing connection and rings the phone.
func (x *connection) arm() {
	x.stopTimers()
	c, d := x.call, x.device
	limit := c.sw.cfg.AlertTime
	if c.predictive != nil && c.predictive.alertTime > 0 {
		limit = c.predictive.alertTime
	}
	x.after(limit, func() {
		if !c.returns(x, uacsta.CauseCallNotAnswered) {
			x.clear(uacsta.CauseCallNotAnswered)
		}
	})
	switch {
	case x.group != nil && x.group.hunt != nil:
		x.after(c.ringTime(x.group.hunt.rings), func() { x.group.hunt.next(x) })
	case x.group != nil && x.group.queue != nil:
		x.after(x.group.queue.AnswerTime, func() { x.group.queue.missed(x) })
	case x.among != 0:
	default:
		if to, rings := d.forwarding.noAnswer(c); to != "" {
			x.after(c.ringTime(rings), func() { x.sendOn(to, uacsta.CauseCallForwardNoAnswer) })
		} else if len(c.further) > 0 {
			x.after(c.ringTime(defaultRings), func() { x.goFurther() })
		}
	}
	if d.autoAnswer.on {
		x.after(c.ringTime(d.autoAnswer.rings), func() { c.sw.patient[x] = struct{}{} })
	}
	x.ringPhone()
}

func (c *call) ringTime(rings int) time.Duration { return time.Duration(rings) * c.sw.cfg.RingCycle }

// sendOn diverts a ringing or waiting call to another number.
func (x *connection) sendOn(to string, cause uacsta.EventCause) {
	c := x.call
	x.leave()
	x.divert(to, cause)
	x.stopOthers()
	c.present(c.remaining(), to, cause)
}

// remaining returns the connection that fails if the call cannot proceed: the oldest one. It is
// nil if no one is left.
func (c *call) remaining() *connection {
	if len(c.connections) == 0 {
		return nil
	}
	return c.connections[0]
}

// refuse fails the call at a device that does not take it.
func (c *call) refuse(d *device, cause uacsta.EventCause) {
	if c.tryFurther(func(to string) { c.divert(d, to, uacsta.CauseRedirected) }, c.remaining()) {
		return
	}
	x := c.join(d, uacsta.Fail)
	x.refused = true
	c.failAt(x, cause)
}

// failAt puts a connection into state fail and sends the event; one that nobody has answered is cleared. A failed one is
// cleared after Config.FailTime. A call that a telephone has redirected goes to the next destination instead, and one that
// was transferred returns.
func (c *call) failAt(x *connection, cause uacsta.EventCause) {
	if c.tryFurther(nil, x) || c.returns(x, cause) {
		return
	}
	if x.state == uacsta.Hold { // its user does not hear it: the call fails where it came from
		for _, number := range []string{c.redirecting, c.called} {
			if d := c.sw.devices[number]; d != nil && c.of(d) == nil {
				c.refuse(d, cause)
				return
			}
		}
		x.clear(cause)
		return
	}
	switch {
	case x.unanswered() && !x.refused: // nobody is there to hear it
		x.clear(cause)
		return
	case x.state == uacsta.Fail && x.cause != "": // it has failed already
		return
	}
	x.become(uacsta.Fail)
	x.cause = cause
	c.sw.emit(c, nil, uacsta.FailedEvent{FailedConnection: x.id(), FailingDevice: uacsta.Ext(x.device.number), Cause: cause})
	x.after(c.sw.cfg.FailTime, func() { x.clear(uacsta.CauseNormalClearing) })
}

// lift answers a connection, as lifting the phone does.
func (x *connection) lift() error {
	if other := x.device.active(); other != nil && other != x && x.state == uacsta.Alerting {
		return errConnected
	}
	x.arrive()
	switch {
	case x.state == uacsta.Initiated && x.call.predictive != nil:
		if x.call.predictive.waits {
			return errNoAnswer
		}
		x.call.predictive = nil
		x.establish(uacsta.CauseMakePredictiveCall)
	case x.state == uacsta.Initiated && x.cause == uacsta.CauseJoinCall:
		x.joinConference()
	case x.state == uacsta.Initiated && x.cause == uacsta.CauseCallBack:
		x.originate(uacsta.CauseCallBack)
	case x.state == uacsta.Initiated:
		x.originate(uacsta.CauseNewCall)
	case x.state == uacsta.Alerting, x.state == uacsta.Queued && x.device.queue != nil: // a queue's call is not distributed any more
		x.establish(uacsta.CauseNewCall)
	case x.device.trunk != nil && x.state == uacsta.Connected && !x.reached:
		x.farEndAnswers()
	default:
		return errNoAnswer
	}
	return nil
}

// establish puts a connection into state connected and sends the event.
func (x *connection) establish(cause uacsta.EventCause) {
	c := x.call
	x.become(uacsta.Connected)
	c.further, c.returning = nil, nil
	c.sw.emit(c, nil, uacsta.EstablishedEvent{EstablishedConnection: x.id(), AnsweringDevice: uacsta.Ext(x.device.number), Cause: cause})
	x.stopOthers()
	if x.agent != nil {
		x.agent.busy()
	}
	c.conditionMet(uacsta.SignallingCallEstablished)
}

// stopOthers stops the other members of the hunt group, and others of several destinations, from ringing.
func (x *connection) stopOthers() {
	for _, y := range x.call.others(x) {
		if x.ringsWith(y) {
			y.leave()
			x.call.notifyCleared(y, uacsta.CauseNormalClearing)
			if x.call.outbound == y {
				x.call.outbound = nil
			}
		}
	}
}

// hold and retrieve change a connection's state and send the event.

func (x *connection) hold(cause uacsta.EventCause) {
	x.become(uacsta.Hold)
	x.call.sw.emit(x.call, nil, uacsta.HeldEvent{HeldConnection: x.id(), HoldingDevice: uacsta.Ext(x.device.number), Cause: cause})
}

func (x *connection) retrieve(cause uacsta.EventCause) {
	x.become(uacsta.Connected)
	x.call.sw.emit(x.call, nil, uacsta.RetrievedEvent{RetrievedConnection: x.id(), RetrievingDevice: uacsta.Ext(x.device.number), Cause: cause})
}
