package softswitch

import (
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// device is whatever has a number. What kind it is, its members tell: an extension
// has a kind, each other device one of hunt, queue, trunk, park, pickup, routeing.
type device struct {
	sw          *Switch
	index       int // its place in the configuration
	number      string
	name        string
	category    uacsta.DeviceCategory
	lines       int
	terminal    Terminal
	real        bool // a telephone, or line, that Phones speak to
	away        bool // it cannot be reached
	talks       bool // it can be made to answer
	physical    bool // its telephone takes services on itself
	connections []*connection
	monitors    []*monitor

	// of extensions
	kind       Kind
	forwarding forwarding
	dnd        doNotDisturb
	waiting    messageWaiting
	autoAnswer autoAnswer
	lastDialed string
	used       int // how often it was used: it counts calls that ended here
	agents     []*agent
	outside    []string  // the prefixes of numbers of the network that it may call
	autoWork   *autoWork // of its agents; nil: as the queue has it

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
func (d *device) liftable() bool { return d.kind != Virtual && d.kind != Remote }

// active returns the connection that has the device's ear: connected, off-hook
// without a call yet, or listening to the tone of a call that failed at once.
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

// inUse counts the device's calls, without those outside it.
func (d *device) inUse() int {
	n := 0
	for _, x := range d.connections {
		if !x.outside() {
			n++
		}
	}
	return n
}

// idle reports whether the phone can be rung, or lifted, for something else than
// an ordinary call.
func (d *device) idle() bool { return d.active() == nil && !d.busy() }

// call is a set of connections.
type call struct {
	sw          *Switch
	id          string
	connections []*connection
	calling     string // who called
	called      string // what was dialled first
	redirecting string // who sent the call on last, "" for nobody
	history     []uacsta.DeviceHistoryListItem
	trunkIn     *device     // it came in here
	outbound    *connection // it went out here, last
	data        data
	followers   []*monitor  // of the call itself
	predictive  *predictive // until the calling device is connected
	route       *dialogue   // of the routeing that decides where it goes
	messages    []*message
	presenting  int // how deep it is in being presented somewhere
	over        bool
}

// data is what the computing function attached to a call.
type data struct {
	account, auth, qualifying string // octets as hexadecimal digits
	correlator                uacsta.Data
	subject, languages        string
	characteristics           *uacsta.CallCharacteristics
}

// connection is one device's part in one call.
type connection struct {
	call   *call
	device *device
	state  uacsta.LocalConnectionState
	timers []*time.Timer
	order  int // when it joined the call

	cause   uacsta.EventCause // why it failed, or was prompted
	refused bool              // the device did not take the call: it was busy, or not to be disturbed
	group   *device           // the hunt group or queue that rings here
	agent   *agent            // who is rung, or talks, for a queue
	parker  *device           // who parked the call here
	far     string            // of a trunk: the number beyond it
	reached bool              // of a trunk: the far end has answered
	silent  bool              // it only listens

	leg  any  // what stands behind it, of those who called by themselves
	told bool // the telephone is to ring
	auto bool // it is to be lifted as soon as it can
}

func (x *connection) id() uacsta.ConnectionID { return uacsta.Conn(x.call.id, x.device.number) }

// number is the number of the party: the device's, or that of whoever is beyond the
// trunk.
func (x *connection) number() string {
	if x.far != "" {
		return x.far
	}
	return x.device.number
}

// outside reports whether a connection stands for a call that an extension has not
// taken: it was busy or not to be disturbed, or the call camps on it. Its user
// knows nothing of it.
func (x *connection) outside() bool {
	return x.refused || x.state == uacsta.Queued && x.device.station()
}

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
	if x.rings() {
		x.device.terminal.Stop(x.call.id)
	}
	delete(x.device.sw.patient, x)
	x.state, x.told, x.auto = state, false, false
	x.call.touch()
}

// ringPhone makes the telephone ring.
func (x *connection) ringPhone() {
	x.told = true
	x.device.terminal.Alert(x.call.id)
	x.call.touch()
}

// pickUp makes a telephone answer: a real one is told to, and answers when it does.
func (x *connection) pickUp() error {
	if !x.device.real {
		return x.lift()
	}
	x.auto = true
	x.call.touch()
	return nil
}

// rings reports whether the terminal has been told of the call and not taken it.
func (x *connection) rings() bool { return x.state == uacsta.Initiated || x.alerts() }

// alerts reports whether the call rings here, or beyond here.
func (x *connection) alerts() bool { return x.state == uacsta.Alerting || x.farEndRings() }

// farEndRings reports whether the network has the call and nobody has answered.
func (x *connection) farEndRings() bool {
	return x.device.trunk != nil && x.state == uacsta.Connected && !x.reached
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

// established reports whether every party of the call talks or is on hold.
func (c *call) established() bool {
	for _, y := range c.connections {
		if !y.talking() {
			return false
		}
	}
	return len(c.connections) > 1
}

// talking reports whether the device takes part: it talks, or is on hold.
func (x *connection) talking() bool {
	return (x.state == uacsta.Connected || x.state == uacsta.Hold) && !x.farEndRings()
}

func (s *Switch) newCall(calling, called string) *call {
	c := &call{sw: s, id: s.newCallID(), calling: calling, called: called}
	s.calls[c.id] = c
	return c
}

// merged makes the call that two others become, or that one becomes when a party
// is replaced: what is known of them is known of it, and who follows them follows
// it.
func (s *Switch) merged(calling, called string, from ...*call) *call {
	z := s.newCall(calling, called)
	for _, c := range from {
		for _, m := range c.followers {
			m.follow(z)
		}
		if z.trunkIn == nil {
			z.trunkIn = c.trunkIn
		}
		if z.outbound == nil {
			z.outbound = c.outbound
		}
	}
	z.data = from[0].data
	return z
}

// join adds a device to the call.
func (c *call) join(d *device, state uacsta.LocalConnectionState) *connection {
	c.sw.changes++
	x := &connection{call: c, device: d, state: state, order: c.sw.changes}
	c.connections = append(c.connections, x)
	d.connections = append(d.connections, x)
	c.touch()
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
	x.device.used++
	if p := x.call.predictive; p != nil && p.own == x {
		x.call.predictive = nil // nobody is left to be connected
	}
	if q := x.device.queue; q != nil {
		q.waiting = remove(q.waiting)
	}
	if x.agent != nil {
		x.call.sw.freed = append(x.call.sw.freed, x.agent)
		x.agent = nil
	}
}

// move carries a connection over into another call.
func (x *connection) move(to *call) {
	from := x.call
	if x.rings() {
		x.device.terminal.Stop(from.id)
	}
	from.connections = slices.DeleteFunc(from.connections, func(y *connection) bool { return y == x })
	x.call = to
	to.connections = append(to.connections, x)
	from.touch()
	to.touch()
}

// end takes a call out of the switch once nobody is in it.
func (c *call) end(cause uacsta.EventCause, replaced bool) {
	if c.over || len(c.connections) > 0 {
		return
	}
	c.over = true
	c.touch()
	delete(c.sw.calls, c.id)
	if c.route != nil {
		c.route.close("")
	}
	if !replaced {
		c.sw.emit(c, nil, uacsta.CallClearedEvent{ClearedCall: uacsta.ConnectionID{CallID: c.id}, Cause: cause})
	}
	for _, m := range c.followers {
		m.unfollow(c)
	}
	c.followers = nil
}

// clear takes a device out of a call and tells everybody. When nobody is left who
// could go on with the call, the others follow (ECMA-269: the last but one going
// null ends the call).
func (x *connection) clear(cause uacsta.EventCause) {
	c := x.call
	follow := uacsta.CauseNormalClearing
	if cause == uacsta.CauseCallCancelled {
		follow = uacsta.CauseCallNotAnswered
	}
	x.leave()
	c.tellCleared(x, cause)
	if !c.lives() {
		for len(c.connections) > 0 {
			y := c.connections[0]
			y.leave()
			c.tellCleared(y, follow)
		}
	}
	c.end(follow, false)
}

// lives reports whether a call goes on: two are in it, and one of them waits for
// the other.
func (c *call) lives() bool {
	if c.predictive != nil && len(c.connections) > 0 {
		return c.connections[0].state != uacsta.Initiated || len(c.connections) > 1
	}
	return len(c.connections) > 1 && slices.ContainsFunc(c.connections, func(x *connection) bool {
		return x.state == uacsta.Connected || x.state == uacsta.Hold || x.state == uacsta.Initiated
	})
}

func (c *call) tellCleared(x *connection, cause uacsta.EventCause) {
	c.sw.emit(c, []*device{x.device}, uacsta.ConnectionClearedEvent{
		DroppedConnection: uacsta.Conn(c.id, x.device.number), ReleasingDevice: uacsta.Ext(x.device.number), Cause: cause,
	})
}
