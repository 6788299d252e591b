package freeswitch

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// channel is one leg of a call, as FreeSWITCH has it: a device's part in the call. Queues and
// conferences take part, too, without one.
type channel struct {
	id string
	callmodel.Connection
	virtual  bool // the part of a queue or a conference: FreeSWITCH has no such channel
	parked   bool // the part of a place where calls are parked
	call     *call
	rang     time.Time         // when it began to ring
	kept     *channel          // its part in the call that waits while it consults; nil: none
	holds    bool              // a service has it hold, not its user
	parks    bool              // FreeSWITCH keeps it when the other one leaves
	leaves   bool              // a service ends it, and tells what that means
	comes    *awaited          // it takes part once it has answered; nil: at once
	sip      string            // Call-ID of its INVITE
	messages map[string]*sound // that services play or record, by FreeSWITCH's name
}

// call is what CSTA calls one: channels that belong together.
type call struct {
	callmodel.Call[*channel]
	prompted string   // the channel of the calling telephone, which rings first
	predicts bool     // a queue has called, before anybody was in it
	sending  *sending // a service that sends it elsewhere; nil: none
	failed   bool     // Failed has been told
	joining  bool     // a service joins it with another call
	queue    string   // that FreeSWITCH has it in, also while agents are called
	picked   *channel // rang until somebody took the call who is not known yet
	taker    *channel // of another call, is bridged with one of this; why, is not known yet
	room     string   // the conference that services have made of it
	exit     string   // the trunk that the dialplan has named
}

// newCall makes a call without anybody in it.
func newCall(id, calling, called string) *call {
	return &call{Call: callmodel.Call[*channel]{ID: id, Calling: calling, Called: called}}
}

// member is a channel in its call.
func (ch *channel) member() callmodel.Member[*channel] {
	return callmodel.Member[*channel]{Call: &ch.call.Call, Party: ch}
}

// sending is a call on its way to another device: deflected, transferred, or parked.
type sending struct {
	from  *channel
	to    string
	cause uacsta.EventCause
}

// job is a command of ours that goes on in the background: a channel is made.
type job struct {
	until   time.Time // when its outcome is overdue
	channel string
	done    func(result string)
}

// awaited is a channel that a service has FreeSWITCH make.
type awaited struct {
	call *call
	by   *channel          // whom it takes the call from, or whose conference it comes to; nil: it calls
	why  uacsta.EventCause // of its taking part
}

// connection is the channel's part in its call.
func (ch *channel) connection() uacsta.ConnectionID { return ch.call.Connection(ch) }

// add puts a channel into a call.
func (l *Link) add(c *call, ch *channel) {
	ch.call = c
	c.Add(ch)
	l.channels[ch.id] = ch
	l.calls[c.ID] = c
	l.index(ch.Device, ch)
	l.index(ch.Trunk, ch)
	if ch.virtual {
		l.parts[ch.Device]++
	}
}

// index has a channel found by a device that it belongs to.
func (l *Link) index(device string, ch *channel) {
	if device == "" || l.parties[device][ch] != 0 {
		return
	}
	if l.parties[device] == nil {
		l.parties[device] = map[*channel]int{}
	}
	l.arrivals++
	l.parties[device][ch] = l.arrivals
}

// of are the connections of a device, or through it, in the order in which they came.
func (l *Link) of(device string) []*channel {
	came := l.parties[device]
	return slices.SortedFunc(maps.Keys(came), func(a, b *channel) int { return came[a] - came[b] })
}

func (l *Link) unindex(device string, ch *channel) {
	if delete(l.parties[device], ch); len(l.parties[device]) == 0 {
		delete(l.parties, device)
	}
}

// through: a channel is reached through a trunk.
func (l *Link) through(ch *channel, trunk string) {
	l.unindex(ch.Trunk, ch)
	ch.Trunk = trunk
	l.index(ch.Device, ch)
	l.index(trunk, ch)
}

// full reports whether there are as many channels as are followed.
func (l *Link) full() bool {
	if len(l.channels) < maxChannels {
		return false
	}
	l.crowded("channels", maxChannels)
	return true
}

// full reports whether a call has as many connections as an event can list.
func (c *call) full() bool { return c != nil && len(c.Parties) >= maxParties }

// remove takes a channel out of its call; a call without channels is over.
func (l *Link) remove(ch *channel) {
	if active := l.channels[ch.id]; active == ch {
		delete(l.channels, ch.id)
	} else if active != nil && active.kept == ch {
		active.kept = nil
	}
	l.unindex(ch.Device, ch)
	l.unindex(ch.Trunk, ch)
	c := ch.call
	c.Remove(ch)
	if len(c.Parties) == 0 {
		delete(l.calls, c.ID)
	}
	if ch.virtual {
		if l.parts[ch.Device]--; l.parts[ch.Device] == 0 {
			delete(l.parts, ch.Device)
		}
	}
}

// find finds the channel that a connection names, by both its callID and its device; nil when
// there is none. What a caller from the network says its number is makes it no telephone of ours.
func (l *Link) find(id uacsta.ConnectionID) *channel {
	c := l.calls[id.CallID]
	if c == nil || id.DeviceID.ID == "" {
		return nil
	}
	telephone := l.telephones(id.DeviceID.ID)
	for _, ch := range c.Parties {
		if ch.Device == id.DeviceID.ID && (!ch.Network || !telephone) {
			return ch
		}
	}
	return nil
}

// telephones reports whether a number is one of a telephone of the directory, as far as is known.
func (l *Link) telephones(number string) bool {
	if _, registered := l.devices[number]; registered {
		return true
	}
	for ch := range l.parties[number] {
		if ch.Device == number && !ch.Network && !ch.virtual {
			return true
		}
	}
	return false
}

// other is another channel of the call, which talks or rings; nil when there is none.
func (ch *channel) other() *channel {
	for _, o := range ch.call.Parties {
		if o != ch && !o.virtual {
			return o
		}
	}
	return nil
}

// leg is the channel that FreeSWITCH has for a connection: that of a queue is the waiting one.
func (ch *channel) leg() *channel {
	if ch.virtual {
		return ch.other()
	}
	return ch
}

// tell hands events to the monitors of their devices.
func (l *Link) tell(notices ...callmodel.Notice) {
	for _, n := range notices {
		l.watch.Send(n.Device, n.For)
	}
}

// move puts channels into one call, out of those that they are in.
func (l *Link) move(c *call, channels ...*channel) {
	for _, ch := range channels {
		l.remove(ch)
		l.add(c, ch)
	}
}

// numberOf is the number of the device that a channel belongs to.
func numberOf(e event) (number string, network bool) {
	if user, _, found := strings.Cut(e.get("Channel-Presence-ID"), "@"); found && user != "" {
		return user, false
	}
	if e.get("Call-Direction") == "inbound" {
		return e.get("Caller-Caller-ID-Number"), true
	}
	return e.get("Caller-Destination-Number"), true
}
