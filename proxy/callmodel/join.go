package callmodel

import "github.com/tr87proxy/tr87proxy/uacsta"

// Member is a party of one call.
type Member[P Party] struct {
	Call  *Call[P]
	Party P
}

func (m Member[P]) connection() uacsta.ConnectionID { return m.Call.Connection(m.Party) }

// gather moves members into one call, and returns what has become of their connections. One that
// has not taken part before has no old connection.
func (c *Call[P]) gather(members []Member[P]) []uacsta.ConnectionListItem {
	list := make([]uacsta.ConnectionListItem, len(members))
	for i, m := range members {
		before, now := m.connection(), c.Connection(m.Party)
		list[i].NewConnection = &now
		if x := m.Party.Part(); x.there() {
			list[i].OldConnection = &before
		}
		if m.Call != c {
			m.Call.Remove(m.Party)
		}
	}
	for _, m := range members {
		c.Add(m.Party)
	}
	return list
}

// leave takes members out of their calls: they have no connection any more.
func leave[P Party](members ...Member[P]) {
	for _, m := range members {
		m.Party.Part().State = uacsta.Null
		m.Call.Remove(m.Party)
	}
}

// SingleStepTransfer has a party leave the call, and those that it was in it with go to another device.
func (c *Call[P]) SingleStepTransfer(p P, to string) []Notice {
	by := p.Part()
	by.State = uacsta.Null
	ev := uacsta.TransferedEvent{
		PrimaryOldCall: c.Connection(p), TransferringDevice: uacsta.Ext(by.Device), TransferredToDevice: uacsta.Ext(to), Cause: uacsta.CauseSingleStepTransfer,
	}
	for _, stays := range c.Parties {
		if stays != p {
			id := c.Connection(stays)
			ev.TransferredConnections = append(ev.TransferredConnections, uacsta.ConnectionListItem{NewConnection: &id, OldConnection: &id})
		}
	}
	notices := c.Notices(told(ev))
	c.Redirected, c.Why = by.Device, uacsta.CauseRedirected
	c.Remove(p)
	return notices
}

// Transfer has a device leave the call that it holds and the one that it talks in; those that stay
// are in this one now. It returns what has become of their connections.
func (c *Call[P]) Transfer(held, active Member[P], to string, stay ...Member[P]) ([]uacsta.ConnectionListItem, []Notice) {
	by := held.Party.Part()
	primary, secondary := held.connection(), active.connection()
	leave(held, active)
	list := c.gather(stay)
	event := told(uacsta.TransferedEvent{
		PrimaryOldCall: primary, SecondaryOldCall: &secondary, TransferringDevice: uacsta.Ext(by.Device), TransferredToDevice: uacsta.Ext(to),
		TransferredConnections: list, Cause: uacsta.CauseTransfer,
	})
	c.Redirected, c.Why = by.Device, uacsta.CauseRedirected
	return list, append([]Notice{{by.MonitoredDevice(), uacsta.Null, event}}, c.Notices(event)...)
}

// Joining is how a conference comes about.
type Joining struct {
	By, Added string               // the devices that have made it, and that has come to it
	Primary   uacsta.ConnectionID  // of the device that has made it, in the call that there was
	Secondary *uacsta.ConnectionID // in the other one; nil: there was none
	Cause     uacsta.EventCause
}

// Conference has members of other calls, and some that come newly and are connected, in this call.
// It returns what has become of their connections.
func (c *Call[P]) Conference(j Joining, members ...Member[P]) ([]uacsta.ConnectionListItem, []Notice) {
	list := c.gather(members)
	for _, m := range members {
		if x := m.Party.Part(); !x.there() {
			x.State = uacsta.Connected
		}
	}
	return list, c.Notices(told(uacsta.ConferencedEvent{
		PrimaryOldCall: j.Primary, SecondaryOldCall: j.Secondary, ConferencingDevice: uacsta.Ext(j.By), AddedParty: uacsta.Ext(j.Added),
		ConferenceConnections: list, Cause: j.Cause,
	}))
}
