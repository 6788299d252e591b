package softswitch

import (
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// device is one extension.
type device struct {
	sw          *Switch
	number      string
	name        string
	lines       int
	terminal    Terminal
	connections []*connection
	monitors    map[string]struct{} // cross references
	forwarding  forwarding
	dnd         bool
}

// refs returns the device's cross references in a fixed order.
func (d *device) refs() []string {
	refs := make([]string, 0, len(d.monitors))
	for ref := range d.monitors {
		refs = append(refs, ref)
	}
	slices.Sort(refs)
	return refs
}

// active returns the connection that has the device's ear: connected, off-hook
// without a call yet, or listening to the tone of a call that failed at once.
func (d *device) active() *connection {
	for _, x := range d.connections {
		if x.state == uacsta.Connected || x.state == uacsta.Initiated || x.state == uacsta.Fail && !x.refused() {
			return x
		}
	}
	return nil
}

// refused reports whether a connection stands for a call that this device did not
// take, being busy or not to be disturbed: its user knows nothing of it.
func (x *connection) refused() bool {
	return x.state == uacsta.Fail && len(x.call.connections) > 1
}

// call is a set of connections.
type call struct {
	sw          *Switch
	id          string
	connections []*connection
	calling     string // who called
	called      string // what was dialled first
	redirecting string // who sent the call on last, "" for nobody
	cause       uacsta.EventCause
	timer       *time.Timer // of a failed call
}

// connection is one device's part in one call.
type connection struct {
	call   *call
	device *device
	state  uacsta.LocalConnectionState
	timers []*time.Timer // of ringing and prompting
}

func (x *connection) id() uacsta.ConnectionID { return uacsta.Conn(x.call.id, x.device.number) }

func (x *connection) stopTimers() {
	for _, t := range x.timers {
		t.Stop()
	}
	x.timers = nil
}

// after runs a change later, unless the connection has left its state by then.
func (x *connection) after(wait time.Duration, change func()) {
	state, c := x.state, x.call
	x.timers = append(x.timers, time.AfterFunc(wait, func() {
		x.device.sw.do(func() {
			if x.state == state && x.call == c {
				change()
			}
		})
	}))
}

// become changes a connection's state; timers of the old one stop.
func (x *connection) become(state uacsta.LocalConnectionState) {
	x.stopTimers()
	if x.state == uacsta.Alerting || x.state == uacsta.Initiated {
		x.device.terminal.Stop(x.call.id)
	}
	x.state = state
}

func (c *call) stopTimers() {
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, x := range c.connections {
		x.stopTimers()
	}
}

// of returns a device's connection in the call, nil when it has none.
func (c *call) of(d *device) *connection {
	for _, x := range c.connections {
		if x.device == d {
			return x
		}
	}
	return nil
}

// others returns the connections that are not x.
func (c *call) others(x *connection) []*connection {
	var rest []*connection
	for _, y := range c.connections {
		if y != x {
			rest = append(rest, y)
		}
	}
	return rest
}

func (s *Switch) newCall(calling, called string) *call {
	c := &call{sw: s, id: s.newCallID(), calling: calling, called: called, cause: uacsta.CauseNewCall}
	s.calls[c.id] = c
	return c
}

// join adds a device to the call.
func (c *call) join(d *device, state uacsta.LocalConnectionState) *connection {
	x := &connection{call: c, device: d, state: state}
	c.connections = append(c.connections, x)
	d.connections = append(d.connections, x)
	return x
}

// leave takes a connection out of its call and its device; the event is the
// caller's. A call without connections is over.
func (x *connection) leave() {
	x.become(uacsta.Null)
	remove := func(list []*connection) []*connection {
		return slices.DeleteFunc(list, func(y *connection) bool { return y == x })
	}
	x.call.connections = remove(x.call.connections)
	x.device.connections = remove(x.device.connections)
	if len(x.call.connections) == 0 {
		x.call.stopTimers()
		delete(x.call.sw.calls, x.call.id)
	}
}

// move carries a connection over into another call.
func (x *connection) move(to *call) {
	from := x.call
	if x.state == uacsta.Alerting {
		x.device.terminal.Stop(from.id)
	}
	from.connections = slices.DeleteFunc(from.connections, func(y *connection) bool { return y == x })
	x.call = to
	to.connections = append(to.connections, x)
	if len(from.connections) == 0 {
		from.stopTimers()
		delete(from.sw.calls, from.id)
	}
}

// clear takes a device out of a call and tells everybody. When one connection is
// left, it follows (ECMA-269: the last but one going null ends the call).
func (x *connection) clear(cause uacsta.EventCause) {
	c := x.call
	rest := c.others(x)
	follow := uacsta.CauseNormalClearing
	if cause == uacsta.CauseCallCancelled {
		follow = uacsta.CauseCallNotAnswered
	}
	x.leave()
	c.tellCleared(x, cause)
	if len(rest) == 1 {
		rest[0].leave()
		c.tellCleared(rest[0], follow)
	}
}

func (c *call) tellCleared(x *connection, cause uacsta.EventCause) {
	c.sw.emit(c, []*device{x.device}, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.ConnectionClearedEvent{
			MonitorCrossRefID: ref, DroppedConnection: uacsta.Conn(c.id, x.device.number), ReleasingDevice: uacsta.Ext(x.device.number),
			LocalConnectionInfo: local, Cause: cause,
		}
	})
}

// redirection is the lastRedirectionDevice of the call's events.
func (c *call) redirection() uacsta.RedirectionDeviceID {
	return uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev(c.redirecting)}
}

// originate sends the caller's call on its way.
func (x *connection) originate(cause uacsta.EventCause) {
	c := x.call
	x.become(uacsta.Connected)
	c.sw.emit(c, nil, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.OriginatedEvent{
			MonitorCrossRefID: ref, OriginatedConnection: x.id(), CallingDevice: uacsta.Ext(c.calling), CalledDevice: uacsta.Ext(c.called),
			LocalConnectionInfo: local, Cause: cause,
		}
	})
	c.present(x, c.called, cause)
}

const maxDiversions = 5

// present brings the call to a number: it rings there, is sent on, or fails. from
// is the connection that would fail when there is no such number.
func (c *call) present(from *connection, number string, cause uacsta.EventCause) {
	for range maxDiversions {
		d := c.sw.devices[number]
		switch {
		case d == nil:
			c.failAt(from, uacsta.CauseDestNotObtainable)
			return
		case c.of(d) != nil: // it called itself, or is sent back to who is there already
			c.failAt(from, uacsta.CauseBusy)
			return
		case d.dnd:
			c.failAt(c.join(d, uacsta.Fail), uacsta.CauseDoNotDisturb)
			return
		}
		to, why := d.forwarding.target(d.busy())
		switch {
		case to != "":
			c.divert(d, to, why)
			number, cause = to, why
			continue
		case d.busy():
			c.failAt(c.join(d, uacsta.Fail), uacsta.CauseBusy)
			return
		}
		c.ring(d, cause)
		return
	}
	c.failAt(from, uacsta.CauseDestNotObtainable) // it was sent round in a circle
}

func (d *device) busy() bool { return d.inUse() >= d.lines || d.terminal.Busy() }

// inUse counts the device's calls, without those it refused.
func (d *device) inUse() int {
	n := 0
	for _, x := range d.connections {
		if !x.refused() {
			n++
		}
	}
	return n
}

// divert tells that a call leaves a device for another before or instead of
// ringing there.
func (c *call) divert(d *device, to string, cause uacsta.EventCause) {
	last := c.redirection()
	c.sw.emit(c, []*device{d}, func(ref string, local uacsta.LocalConnectionState) any {
		calling, called := uacsta.Ext(c.calling), uacsta.Ext(c.called)
		return uacsta.DivertedEvent{
			MonitorCrossRefID: ref, Connection: uacsta.Conn(c.id, d.number), DivertingDevice: uacsta.Ext(d.number), NewDestination: uacsta.Ext(to),
			CallingDevice: &calling, CalledDevice: &called, LastRedirectionDevice: last, LocalConnectionInfo: local, Cause: cause,
		}
	})
	c.redirecting = d.number
}

// ring alerts a device.
func (c *call) ring(d *device, cause uacsta.EventCause) {
	x := c.join(d, uacsta.Alerting)
	c.cause = cause
	c.sw.emit(c, nil, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.DeliveredEvent{
			MonitorCrossRefID: ref, Connection: x.id(), AlertingDevice: uacsta.Ext(d.number), CallingDevice: uacsta.Ext(c.calling), CalledDevice: uacsta.Ext(c.called),
			LastRedirectionDevice: c.redirection(), LocalConnectionInfo: local, Cause: cause,
		}
	})
	if to, rings := d.forwarding.noAnswer(); to != "" {
		x.after(c.ringTime(rings), func() { x.sendOn(to, uacsta.CauseCallForwardNoAnswer) })
	}
	x.after(c.sw.cfg.AlertTime, func() { x.clear(uacsta.CauseCallNotAnswered) })
	d.terminal.Alert(c.id)
}

// sendOn takes an alerting call away from its device and to another.
func (x *connection) sendOn(to string, cause uacsta.EventCause) {
	c := x.call
	x.leave()
	c.divert(x.device, to, cause)
	c.present(c.connections[0], to, cause)
}

// failAt tells that the call came to nothing at a connection, which is in state
// fail from now on; after a while it is cleared.
func (c *call) failAt(x *connection, cause uacsta.EventCause) {
	x.become(uacsta.Fail)
	c.sw.emit(c, nil, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.FailedEvent{
			MonitorCrossRefID: ref, FailedConnection: x.id(), FailingDevice: uacsta.Ext(x.device.number), CallingDevice: uacsta.Ext(c.calling), CalledDevice: uacsta.Ext(c.called),
			LastRedirectionDevice: c.redirection(), LocalConnectionInfo: local, Cause: cause,
		}
	})
	x.after(c.sw.cfg.FailTime, func() { x.clear(uacsta.CauseNormalClearing) })
}

// establish answers an alerting connection.
func (x *connection) establish(cause uacsta.EventCause) {
	c := x.call
	x.become(uacsta.Connected)
	c.sw.emit(c, nil, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.EstablishedEvent{
			MonitorCrossRefID: ref, EstablishedConnection: x.id(), AnsweringDevice: uacsta.Ext(x.device.number), CallingDevice: uacsta.Ext(c.calling), CalledDevice: uacsta.Ext(c.called),
			LastRedirectionDevice: c.redirection(), LocalConnectionInfo: local, Cause: cause,
		}
	})
}

// hold and retrieve change a connection and tell everybody.

func (x *connection) hold(cause uacsta.EventCause) {
	x.become(uacsta.Hold)
	x.call.sw.emit(x.call, nil, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.HeldEvent{MonitorCrossRefID: ref, HeldConnection: x.id(), HoldingDevice: uacsta.Ext(x.device.number), LocalConnectionInfo: local, Cause: cause}
	})
}

func (x *connection) retrieve(cause uacsta.EventCause) {
	x.become(uacsta.Connected)
	x.call.sw.emit(x.call, nil, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.RetrievedEvent{MonitorCrossRefID: ref, RetrievedConnection: x.id(), RetrievingDevice: uacsta.Ext(x.device.number), LocalConnectionInfo: local, Cause: cause}
	})
}
