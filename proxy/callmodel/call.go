package callmodel

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Connection is a device's part in a call.
type Connection struct {
	Device  string // its number, as events name it
	Network bool   // the device is beyond the network
	Trunk   string // the device that the network is reached through; "" where that is not known
	Inbound bool   // the device has called: it is on the calling side; with Network and Trunk, events name the trunk that the call came by
	State   State  // "" before it takes part
}

// Part returns the connection itself: what embeds one is a [Party].
func (x *Connection) Part() *Connection { return x }

// Watched is the device whose monitors see the call from this side: behind the network, the
// trunk; "" is none.
func (x *Connection) MonitoredDevice() string {
	if x.Network {
		return x.Trunk
	}
	return x.Device
}

// there reports whether the connection has a state.
func (x *Connection) there() bool { return x.State != none && x.State != uacsta.Null }

// Party is what a switching function has for a connection.
type Party interface {
	comparable
	Part() *Connection
}

// Call is a call: connections that belong together. Its parties are in it from before they take
// part, when their state is "", until they leave.
type Call[P Party] struct {
	ID              string
	Calling, Called string
	Redirected      string            // the device that sent it on last
	Why             uacsta.EventCause // what did; "": nothing, it is a new call
	Parties         []P               // in the order in which they came
}

// Notice is an event for the monitors of one device.
type Notice struct {
	Device string
	Local  State // of the device in the call
	event  Event
}

// For makes the event for the monitor that has a cross reference.
func (n Notice) For(ref string) any { return n.event(ref, n.Local) }

// Cause is the cause of what happens at a device that the call comes to.
func (c *Call[P]) Cause() uacsta.EventCause {
	if c.Why != "" {
		return c.Why
	}
	return uacsta.CauseNewCall
}

// about is what events say of the call now.
func (c *Call[P]) about() *About {
	a := &About{ID: c.ID, Calling: uacsta.Ext(c.Calling), Called: uacsta.Ext(c.Called), Redirected: uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev(c.Redirected)}}
	for _, p := range c.Parties {
		if x := p.Part(); x.Network && x.Inbound && x.Trunk != "" {
			trunk := uacsta.Ext(x.Trunk)
			a.Trunk = &trunk
			break
		}
	}
	return a
}

// Tell addresses an event to every device that takes part, and to those that have just left, once.
func (c *Call[P]) Notices(event Event) []Notice {
	notices := make([]Notice, 0, len(c.Parties))
	for _, p := range c.Parties {
		x := p.Part()
		if device := x.MonitoredDevice(); device != "" && x.State != none && !slices.ContainsFunc(notices, func(n Notice) bool { return n.Device == device }) {
			notices = append(notices, Notice{device, x.State, event})
		}
	}
	return notices
}

// Connection is the identifier of a party's connection in the call.
func (c *Call[P]) Connection(p P) uacsta.ConnectionID { return uacsta.Conn(c.ID, p.Part().Device) }

// Add has a party belong to the call, before it takes part.
func (c *Call[P]) Add(p P) {
	if !slices.Contains(c.Parties, p) {
		c.Parties = append(c.Parties, p)
	}
}

// Remove takes a party out of the call, and tells nobody.
func (c *Call[P]) Remove(p P) {
	if i := slices.Index(c.Parties, p); i >= 0 {
		c.Parties = append(c.Parties[:i:i], c.Parties[i+1:]...) // whoever walks the list still sees the old one
	}
}

// Initiate has a telephone taken off its hook, or asking its user for it: initiated.
func (c *Call[P]) Initiate(p P, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Initiated
	return c.Notices(c.about().initiated(p.Part().Device, cause))
}

// Originate has a device call: connected.
func (c *Call[P]) Originate(p P, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Connected
	return c.Notices(c.about().originated(p.Part().Device, cause))
}

// Reach has the call leave by the network interface of a device. The party is connected from then
// on, while it rings beyond, too.
func (c *Call[P]) Reach(p P, through string, cause uacsta.EventCause) []Notice {
	x := p.Part()
	x.State = uacsta.Connected
	return c.Notices(c.about().reached(x.Device, through, cause))
}

// Leave tells that the call leaves by the network interface of a device, for a switching function
// that says by itself how it goes on there: the party gets its state by that. The monitors of the
// interface are told, too.
func (c *Call[P]) Leave(p P, through string, cause uacsta.EventCause) []Notice {
	event := c.about().reached(p.Part().Device, through, cause)
	return append(c.Notices(event), Notice{through, p.Part().State, event})
}

// Deliver has a device ring: alerting. One that the network has been reached for stays connected.
func (c *Call[P]) Deliver(p P, cause uacsta.EventCause) []Notice {
	x := p.Part()
	if x.State != uacsta.Connected {
		x.State = uacsta.Alerting
	}
	return c.Notices(c.about().delivered(x.Device, cause))
}

// Establish has a device answer: connected.
func (c *Call[P]) Establish(p P, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Connected
	return c.Notices(c.about().established(p.Part().Device, cause))
}

// Hold has a device hold the call.
func (c *Call[P]) Hold(p P, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Hold
	return c.Notices(c.about().held(p.Part().Device, cause))
}

// Retrieve has a device take back the call that it held: connected.
func (c *Call[P]) Retrieve(p P, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Connected
	return c.Notices(c.about().retrieved(p.Part().Device, cause))
}

// Queue has the call wait at a device, behind front others: queued.
func (c *Call[P]) Queue(p P, front int, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Queued
	return c.Notices(c.about().queued(p.Part().Device, &front, cause))
}

// Fail has a party's attempt come to nothing: fail, until it is cleared.
func (c *Call[P]) Fail(p P, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Fail
	return c.Notices(c.about().failed(p.Part().Device, cause))
}

// Unreached tells those who take part that another device could not be reached.
func (c *Call[P]) Unreached(device string, cause uacsta.EventCause) []Notice {
	return c.Notices(c.about().failed(device, cause))
}

// Missed tells the monitors of a device that does not take part that it could not be reached.
func (c *Call[P]) Missed(device string, cause uacsta.EventCause) Notice {
	return Notice{device, uacsta.Null, c.about().failed(device, cause)}
}

// Divert has the call leave a party for another device.
func (c *Call[P]) Divert(p P, to string, cause uacsta.EventCause) []Notice {
	x := p.Part()
	x.State = uacsta.Null
	notices := c.Notices(c.about().diverted(x.Device, to, cause))
	c.Redirected, c.Why = x.Device, cause
	c.Remove(p)
	return notices
}

// Forward has the call sent on from a device that it does not ring at, whose monitors are told,
// too.
func (c *Call[P]) Forward(from, to string, cause uacsta.EventCause) []Notice {
	event := c.about().diverted(from, to, cause)
	notices := append(c.Notices(event), Notice{from, uacsta.Null, event})
	c.Redirected, c.Why = from, cause
	return notices
}

// Clear has a party leave the call.
func (c *Call[P]) Clear(p P, cause uacsta.EventCause) []Notice {
	x := p.Part()
	x.State = uacsta.Null
	notices := c.Notices(c.about().cleared(x.Device, cause))
	c.Remove(p)
	return notices
}
