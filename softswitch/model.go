package softswitch

import (
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// device is a device with a number. Its fields tell the kind: an extension has a kind; every
// other device has one of hunt, queue, trunk, park, pickup and routeing.
type device struct {
	sw          *Switch
	index       int // position in the configuration
	number      string
	name        string
	category    uacsta.DeviceCategory
	lines       int
	terminal    Terminal
	real        bool // served by Phones: a real telephone or line
	away        bool // out of service
	talks       bool // can be made to answer
	physical    bool // its telephone carries out services itself
	sounds      Sounds
	connections []*connection
	monitors    []*monitor

	// Of extensions.
	kind       Kind
	forwarding forwarding
	dnd        doNotDisturb
	waiting    messageWaiting
	autoAnswer autoAnswer
	private    bool // its calls do not show its number to the network
	lastDialed string
	used       int // calls that ended here
	agents     []*agent
	outside    []string  // prefixes of network numbers it may call
	autoWork   *autoWork // of its agents; nil: the queue's setting
	second     []string  // further directory numbers

	hunt     *hunt
	queue    *queue
	trunk    *Trunk
	park     bool
	pickup   []*device
	routeing *RouteingDevice
}

// station reports whether the device is an extension.
func (d *device) station() bool { return d.category == uacsta.CategoryStation }

// liftable reports whether the switch can take the phone off-hook.
func (d *device) liftable() bool { return d.kind != Virtual && d.kind != Remote && d.kind != CAS }

// active returns the connection the user hears: connected, off-hook without a call, or with the
// tone of a call that failed at once.
func (d *device) active() *connection {
	for _, x := range d.connections {
		if x.state == uacsta.Connected || x.state == uacsta.Initiated || x.state == uacsta.Fail && !x.outside() {
			return x
		}
	}
	return nil
}

// busy reports whether the device takes no further call.
func (d *device) busy() bool { return d.inUse() >= d.lines || d.away || d.terminal.Busy() }

// inUse counts the device's calls, except those whose connection is outside.
func (d *device) inUse() int {
	n := 0
	for _, x := range d.connections {
		if !x.outside() {
			n++
		}
	}
	return n
}

// idle reports whether the phone is free for a call that needs all of it.
func (d *device) idle() bool { return d.active() == nil && !d.busy() }

// call is a set of connections.
type call struct {
	sw          *Switch
	id          string
	connections []*connection
	calling     end
	private     bool                       // the caller withholds the number from the network
	called      string                     // number first dialled
	redirecting string                     // last device that diverted the call; "" if none
	redirected  uacsta.RedirectionDeviceID // last one that redirected it before it came in
	history     []uacsta.DeviceHistoryListItem
	further     []destination // where it goes if the device that rings does not take it
	returning   *returning    // where it returns to if nobody takes it
	trunkIn     *device       // trunk it came in by
	outbound    *connection   // connection of the trunk it last went out by
	channels    int           // how many dynamic identifiers its connections have had
	data        data
	followers   []*monitor  // call-type monitors
	predictive  *predictive // until the calling device is connected
	route       *dialogue   // routeing dialogue that decides its destination
	messages    []*message
	presenting  int // recursion depth of present
	over        bool
}

// data is what computing functions attached to a call.
type data struct {
	account, auth, qualifying string // octets in hexadecimal
	correlator                uacsta.Data
	subject, languages        string
	characteristics           *uacsta.CallCharacteristics
}

// connection is one device in one call.
type connection struct {
	call   *call
	device *device
	local  uacsta.DeviceID       // what identifies it in the call
	former []uacsta.ConnectionID // of a trunk's line: what identified it in calls that have become this one
	state  uacsta.LocalConnectionState
	timers []*time.Timer
	order  int // sequence number of joining the call

	cause     uacsta.EventCause       // why it failed, was prompted or returned
	refused   bool                    // refused by the device: busy or do not disturb
	group     *device                 // hunt group or queue for which it rings
	among     int                     // order of the connection that was deflected to it and others; 0: none
	agent     *agent                  // agent who rings or talks for a queue
	parker    *device                 // device that parked the call here
	presented string                  // number of its extension that the caller presents; "" for the own
	far       uacsta.ExtendedDeviceID // of a trunk: who is beyond it
	reached   bool                    // of a trunk: the far end has answered
	silent    bool                    // listens only

	coming  *coming // on its way to a real telephone or the network; nil: clients know its state
	leg     any     // telephone's leg, if the telephone opened the connection
	ringing bool    // Phones has been told to ring
	auto    bool    // to be lifted as soon as possible
}

func (x *connection) id() uacsta.ConnectionID {
	return uacsta.ConnectionID{CallID: x.call.id, DeviceID: x.local}
}

// is reports whether an identifier in which the callID is that of the call, or of one that has become the call
// ([Switch.callNow]), is that of the connection. The lines of a trunk may change their identifiers with the call.
func (x *connection) is(id uacsta.ConnectionID) bool {
	if x.device.trunk == nil || id.CallID == x.call.id {
		return id.DeviceID.ID == x.local.ID
	}
	return slices.ContainsFunc(x.former, func(was uacsta.ConnectionID) bool {
		return was.CallID == id.CallID && was.DeviceID.ID == id.DeviceID.ID
	})
}

// end is who is at one end of a call, as others may know it.
type end struct {
	who uacsta.ExtendedDeviceID // notKnown if nobody gave a number
	nid *device                 // trunk that it is reached by; nil for a device of the switch
}

// end returns the party of the connection: the device, or who is beyond a trunk.
func (x *connection) end() end {
	if x.device.trunk != nil {
		return end{who: x.far, nid: x.device}
	}
	return end{who: uacsta.Ext(x.device.number)}
}

// item returns the entry for the party in a list of connections (ECMA-269, connection list): its connection now and
// before, nil if it had none.
func (e end) item(now uacsta.ConnectionID, before *uacsta.ConnectionID) uacsta.ConnectionListItem {
	item := uacsta.ConnectionListItem{
		NewConnection: &now, OldConnection: before, Endpoint: &uacsta.ConnectionListEnd{DeviceID: e.who.Device, Restricted: e.who.Restricted},
	}
	if e.nid != nil {
		item.AssociatedNID = &uacsta.ConnectionListEnd{DeviceID: uacsta.Dev(e.nid.number)}
	}
	return item
}

// outside reports whether the connection stands for a call the extension has not taken: it was
// busy, do not disturb was on, or the call is camped on it. Its user does not notice it.
func (x *connection) outside() bool {
	return x.refused || x.campsOn()
}

// campsOn reports whether the call waits for a busy extension.
func (x *connection) campsOn() bool { return x.state == uacsta.Queued && x.device.station() }

func (x *connection) stopTimers() {
	for _, t := range x.timers {
		t.Stop()
	}
	x.timers = nil
}

// after runs change later, unless the connection has left its state by then.
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

// become changes the connection's state and stops the timers of the old one.
func (x *connection) become(state uacsta.LocalConnectionState) {
	x.stopTimers()
	if x.rings() {
		x.device.terminal.Stop(x.order)
	}
	delete(x.device.sw.patient, x)
	if q := x.device.queue; q != nil {
		q.waiting = slices.DeleteFunc(q.waiting, func(y *connection) bool { return y == x })
	}
	x.state, x.ringing, x.auto = state, false, false
	if state != uacsta.Null { // how it was known decides about the events of its end
		x.coming = nil
	}
	x.call.touch()
}

// ringPhone makes the telephone ring.
func (x *connection) ringPhone() {
	x.ringing = true
	x.device.terminal.Alert(x.order)
	x.call.touch()
}

// pickUp makes the telephone answer. A virtual phone answers at once; a real one is told to,
// and answers later.
func (x *connection) pickUp() error {
	if !x.device.real {
		return x.lift()
	}
	x.auto = true
	x.call.touch()
	return nil
}

// rings reports whether the terminal was told of the call and has not taken it.
func (x *connection) rings() bool { return x.state == uacsta.Initiated || x.alerts() }

// alerts reports whether the call rings, here or beyond a trunk.
func (x *connection) alerts() bool { return x.state == uacsta.Alerting || x.farEndRings() }

// farEndRings reports whether the network has the call and the far end has not answered.
func (x *connection) farEndRings() bool {
	return x.device.trunk != nil && x.state == uacsta.Connected && !x.reached
}

// of returns the device's connection in the call, the first of a trunk's, or nil.
func (c *call) of(d *device) *connection {
	for _, x := range c.connections {
		if x.device == d {
			return x
		}
	}
	return nil
}

// others returns the connections other than x.
func (c *call) others(x *connection) []*connection {
	var rest []*connection
	for _, y := range c.connections {
		if y != x {
			rest = append(rest, y)
		}
	}
	return rest
}

// established reports whether every party talks or is on hold.
func (c *call) established() bool {
	for _, y := range c.connections {
		if !y.talking() {
			return false
		}
	}
	return len(c.connections) > 1
}

// talking reports whether the device talks or is on hold.
func (x *connection) talking() bool {
	return (x.state == uacsta.Connected || x.state == uacsta.Hold) && !x.farEndRings()
}

// converses reports whether clients can lead the call from here: from an extension, or from a queue, where the call waits or
// a client has answered it.
func (x *connection) converses() bool {
	return x.state == uacsta.Connected && (x.device.station() || x.device.queue != nil) || x.state == uacsta.Queued && x.device.queue != nil
}

func (s *Switch) newCall(calling end, called string) *call {
	c := &call{sw: s, id: s.newCallID(), calling: calling, called: called}
	s.calls[c.id] = c
	return c
}

// merged creates the call that other calls become when they are joined or a party is replaced.
// It inherits their data and their monitors.
func (s *Switch) merged(calling end, called string, from ...*call) *call {
	z := s.newCall(calling, called)
	for _, c := range from {
		c.silence(func(*message) bool { return true }, uacsta.CauseNormal)
		for _, m := range c.followers {
			m.follow(z)
		}
		z.private = z.private || c.private
		if z.trunkIn == nil {
			z.trunkIn = c.trunkIn
		}
	}
	z.data = from[0].data
	return z
}

// join adds a device to the call.
func (c *call) join(d *device, state uacsta.LocalConnectionState) *connection {
	c.sw.changes++
	x := &connection{device: d, state: state, order: c.sw.changes}
	c.take(x)
	d.connections = append(d.connections, x)
	c.touch()
	return x
}

// leave removes a connection from its call and device. It sends no event but Stop for the messages
// over the connection.
func (x *connection) leave() {
	x.hush()
	x.become(uacsta.Null)
	remove := func(list []*connection) []*connection {
		return slices.DeleteFunc(list, func(y *connection) bool { return y == x })
	}
	x.call.connections = remove(x.call.connections)
	x.device.connections = remove(x.device.connections)
	x.device.used++
	if p := x.call.predictive; p != nil && p.own == x {
		x.call.predictive = nil // no one is left to connect
	}
	if x.agent != nil {
		x.call.sw.freed = append(x.call.sw.freed, x.agent)
		x.agent = nil
	}
}

// hush stops the messages over a connection that its call loses.
func (x *connection) hush() {
	x.call.silence(func(m *message) bool { return m.over == x }, uacsta.CauseNormal)
}

// move moves a connection to another call.
func (x *connection) move(to *call) {
	x.hush()
	from := x.call
	if x.rings() {
		x.device.terminal.Stop(x.order)
	}
	from.connections = slices.DeleteFunc(from.connections, func(y *connection) bool { return y == x })
	if x.device.trunk != nil {
		x.former = append(x.former[max(0, len(x.former)-maxHistory):], x.id())
	}
	to.take(x)
	from.touch()
	to.touch()
}

// end removes a call without connections from the switch. into is the call that it has become, or nil.
func (c *call) end(cause uacsta.EventCause, into *call) {
	if c.over || len(c.connections) > 0 {
		return
	}
	c.over = true
	c.touch()
	delete(c.sw.calls, c.id)
	if c.route != nil {
		c.route.close("")
	}
	if into != nil {
		c.sw.former.add(c.id, into.id, time.Now())
	} else {
		c.sw.emit(c, nil, uacsta.CallClearedEvent{ClearedCall: uacsta.ConnectionID{CallID: c.id}, Cause: cause})
	}
	for _, m := range c.followers {
		m.unfollow(c)
	}
	c.followers = nil
}

// clear removes a device from a call and sends the event. If no remaining party can continue
// the call, the others are cleared, too (ECMA-269: the call ends when the last but one
// connection becomes null).
func (x *connection) clear(cause uacsta.EventCause) { x.clearWith(cause, uacsta.CauseNormalClearing) }

// clearWith is clear, with the cause for the parties that follow.
func (x *connection) clearWith(cause, follow uacsta.EventCause) {
	c := x.call
	if x.hidden() { // only the parties that follow show why
		follow = cause
	}
	x.leave()
	c.notifyCleared(x, cause)
	if !c.lives() {
		for len(c.connections) > 0 {
			y := c.connections[0]
			y.leave()
			c.notifyCleared(y, follow)
		}
	}
	c.end(follow, nil)
}

// lives reports whether the call continues: it has at least two connections, one of which is
// connected, on hold or off-hook.
func (c *call) lives() bool {
	return len(c.connections) > 1 && slices.ContainsFunc(c.connections, func(x *connection) bool {
		return x.talking() || x.state == uacsta.Initiated
	})
}

func (c *call) notifyCleared(x *connection, cause uacsta.EventCause) {
	if x.hidden() {
		return
	}
	c.sw.emit(c, []*device{x.device}, uacsta.ConnectionClearedEvent{
		DroppedConnection: x.id(), ReleasingDevice: uacsta.Ext(x.device.number), Cause: cause,
	})
}
