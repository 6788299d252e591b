package callmodel

import "github.com/tr87proxy/tr87proxy/uacsta"

// Member is a party of one call.
type Member[P Party] struct {
	Call  *Call[P]
	Party P
}

func (m Member[P]) connection() uacsta.ConnectionID { return m.Call.Connection(m.Party) }

// gather moves members into one call and returns their old and new connections. A member that did not
// take part before has no old connection.
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

// leave removes members from their calls.
func leave[P Party](members ...Member[P]) {
	for _, m := range members {
		m.Party.Part().State = uacsta.Null
		m.Call.Remove(m.Party)
	}
}

// SingleStepTransfer removes a party and sends the others of its call to another device. It returns
// their old and new connections.
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
	notices := c.Notices(newEvent(ev))
	c.Redirected, c.Why = by.Device, uacsta.CauseRedirected
	c.Remove(p)
	return notices
}

// Transfer removes a device from the call that it holds and the one that it talks in, and joins the
// rest in this call. It returns their old and new connections.
func (c *Call[P]) Transfer(held, active Member[P], to string, stay ...Member[P]) ([]uacsta.ConnectionListItem, []Notice) {
	by := held.Party.Part()
	primary, secondary := held.connection(), active.connection()
	leave(held, active)
	list := c.gather(stay)
	event := newEvent(uacsta.TransferedEvent{
		PrimaryOldCall: primary, SecondaryOldCall: &secondary, TransferringDevice: uacsta.Ext(by.Device), TransferredToDevice: uacsta.Ext(to),
		TransferredConnections: list, Cause: uacsta.CauseTransfer,
	})
	c.Redirected, c.Why = by.Device, uacsta.CauseRedirected
	return list, append([]Notice{{by.MonitoredDevice(), uacsta.Null, event}}, c.Notices(event)...)
}

// Joining describes how a conference comes about.
type Joining struct {
	By, Added string               // the conferencing device, and the added one
	Primary   uacsta.ConnectionID  // of By in the existing call
	Secondary *uacsta.ConnectionID // of By in the other call; nil if there was none
	Cause     uacsta.EventCause
}

// Conference adds members of other calls to this call, and connects those that are new. It returns
// their old and new connections.
func (c *Call[P]) Conference(j Joining, members ...Member[P]) ([]uacsta.ConnectionListItem, []Notice) {
	list := c.gather(members)
	for _, m := range members {
		if x := m.Party.Part(); !x.there() {
			x.State = uacsta.Connected
		}
	}
	return list, c.Notices(newEvent(uacsta.ConferencedEvent{
		PrimaryOldCall: j.Primary, SecondaryOldCall: j.Secondary, ConferencingDevice: uacsta.Ext(j.By), AddedParty: uacsta.Ext(j.Added),
		ConferenceConnections: list, Cause: j.Cause,
	}))
}
