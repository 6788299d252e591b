package callmodel

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Connection is a device's part in a call.
type Connection struct {
	Device  string // its number, as events name it
	Network bool   // the device is in the network, not on the switch
	Trunk   string // the trunk device to the network; "" if unknown
	Inbound bool   // the device is the caller; with Network and Trunk, events name the trunk that the call came by
	State   State  // "" before the device takes part
}

// Part returns the connection itself. A type that embeds a Connection thereby implements [Party].
func (x *Connection) Part() *Connection { return x }

// MonitoredDevice returns the device whose monitors see the call from this side: for a connection with
// the network the trunk, or "" for none.
func (x *Connection) MonitoredDevice() string {
	if x.Network {
		return x.Trunk
	}
	return x.Device
}

// there reports whether the connection has a state.
func (x *Connection) there() bool { return x.State != none && x.State != uacsta.Null }

// Party is the type in which a link keeps a connection.
type Party interface {
	comparable
	Part() *Connection
}

// Call is a call: the connections that belong together. A party is in Parties from before it takes
// part, when its state is "", until it leaves.
type Call[P Party] struct {
	ID              string
	Calling, Called string
	Redirected      string            // the device that last diverted or transferred the call
	Why             uacsta.EventCause // the cause of that; "" for a new call
	Parties         []P               // in the order in which they were added
}

// Notice is an event for the monitors of one device.
type Notice struct {
	Device string
	Local  State // the state of the device in the call
	event  Event
}

// For returns the event for the monitor with cross reference ref.
func (n Notice) For(ref string) any { return n.event(ref, n.Local) }

// Cause returns the cause for events at a device that the call comes to.
func (c *Call[P]) Cause() uacsta.EventCause {
	if c.Why != "" {
		return c.Why
	}
	return uacsta.CauseNewCall
}

// about returns what events say about the call now.
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

// Notices returns an event for every device that takes part or has just left, once for each.
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

// Connection returns the identifier of a party's connection.
func (c *Call[P]) Connection(p P) uacsta.ConnectionID { return uacsta.Conn(c.ID, p.Part().Device) }

// Add adds a party before it takes part.
func (c *Call[P]) Add(p P) {
	if !slices.Contains(c.Parties, p) {
		c.Parties = append(c.Parties, p)
	}
}

// Remove removes a party without an event.
func (c *Call[P]) Remove(p P) {
	if i := slices.Index(c.Parties, p); i >= 0 {
		c.Parties = append(c.Parties[:i:i], c.Parties[i+1:]...) // a copy: a caller may be ranging over the old slice
	}
}

// Initiate reports that a telephone has gone off hook, or prompts its user to do so: the party is
// initiated.
func (c *Call[P]) Initiate(p P, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Initiated
	return c.Notices(c.about().initiated(p.Part().Device, cause))
}

// Originate reports that a device has placed the call: the party is connected.
func (c *Call[P]) Originate(p P, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Connected
	return c.Notices(c.about().originated(p.Part().Device, cause))
}

// Reach reports that the call has left the switch through a network interface device. The party is
// connected from then on, also while it alerts in the network.
func (c *Call[P]) Reach(p P, through string, cause uacsta.EventCause) []Notice {
	x := p.Part()
	x.State = uacsta.Connected
	return c.Notices(c.about().reached(x.Device, through, cause))
}

// Leave is Reach for a switching function that reports itself how the call proceeds in the network,
// which sets the party's state. The monitors of the interface get the event, too.
func (c *Call[P]) Leave(p P, through string, cause uacsta.EventCause) []Notice {
	event := c.about().reached(p.Part().Device, through, cause)
	return append(c.Notices(event), Notice{through, p.Part().State, event})
}

// Deliver reports that a device alerts. A party that Reach has connected stays connected.
func (c *Call[P]) Deliver(p P, cause uacsta.EventCause) []Notice {
	x := p.Part()
	if x.State != uacsta.Connected {
		x.State = uacsta.Alerting
	}
	return c.Notices(c.about().delivered(x.Device, cause))
}

// Establish reports that a device has answered: the party is connected.
func (c *Call[P]) Establish(p P, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Connected
	return c.Notices(c.about().established(p.Part().Device, cause))
}

// Hold reports that a device holds the call.
func (c *Call[P]) Hold(p P, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Hold
	return c.Notices(c.about().held(p.Part().Device, cause))
}

// Retrieve reports that a device has retrieved the held call: the party is connected.
func (c *Call[P]) Retrieve(p P, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Connected
	return c.Notices(c.about().retrieved(p.Part().Device, cause))
}

// Queue reports that the call waits at a device behind front other calls: the party is queued.
func (c *Call[P]) Queue(p P, front int, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Queued
	return c.Notices(c.about().queued(p.Part().Device, &front, cause))
}

// Fail reports that a connection has failed: the party has state fail until it is cleared.
func (c *Call[P]) Fail(p P, cause uacsta.EventCause) []Notice {
	p.Part().State = uacsta.Fail
	return c.Notices(c.about().failed(p.Part().Device, cause))
}

// Unreached reports to the parties that another device could not be reached.
func (c *Call[P]) Unreached(device string, cause uacsta.EventCause) []Notice {
	return c.Notices(c.about().failed(device, cause))
}

// Missed reports to the monitors of a device that does not take part that it could not be reached.
func (c *Call[P]) Missed(device string, cause uacsta.EventCause) Notice {
	return Notice{device, uacsta.Null, c.about().failed(device, cause)}
}

// Divert reports that the call has left a party for another device.
func (c *Call[P]) Divert(p P, to string, cause uacsta.EventCause) []Notice {
	x := p.Part()
	x.State = uacsta.Null
	notices := c.Notices(c.about().diverted(x.Device, to, cause))
	c.Redirected, c.Why = x.Device, cause
	c.Remove(p)
	return notices
}

// Forward reports that a device at which the call did not alert has forwarded it. The monitors of that
// device get the event, too.
func (c *Call[P]) Forward(from, to string, cause uacsta.EventCause) []Notice {
	event := c.about().diverted(from, to, cause)
	notices := append(c.Notices(event), Notice{from, uacsta.Null, event})
	c.Redirected, c.Why = from, cause
	return notices
}

// Clear reports that a party has left the call.
func (c *Call[P]) Clear(p P, cause uacsta.EventCause) []Notice {
	x := p.Part()
	x.State = uacsta.Null
	notices := c.Notices(c.about().cleared(x.Device, cause))
	c.Remove(p)
	return notices
}
