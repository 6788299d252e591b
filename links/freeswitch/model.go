package freeswitch

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// channel is a FreeSWITCH channel: one device's connection in a call. The connections of queues
// and conferences are channels, too, which FreeSWITCH does not have (virtual).
type channel struct {
	id string
	callmodel.Connection
	virtual  bool // connection of a queue or conference
	parked   bool // connection of a parking space
	call     *call
	rang     time.Time // when it started to ring
	kept     *channel  // its connection in the waiting call while it consults; nil if it does not
	apart    bool      // the call waits: FreeSWITCH has parked the other party
	back     bool      // it consults, and FreeSWITCH has parked it: the active call is over
	holds    bool      // held by a service, not by its user
	parks    bool      // FreeSWITCH keeps it when the other party leaves
	leaves   bool      // a service ends it and reports that itself
	comes    *awaited  // joins the call after it has answered; nil if it already has joined
	sip      string    // Call-ID of its INVITE
	made     *awaited  // a service placed the call to it; nil if none did
	others   []leg     // ring, too: the device is registered more than once
	messages []*sound  // being played or recorded, in the order of the requests
}

// call is a CSTA call: channels that belong together.
type call struct {
	callmodel.Call[*channel]
	predicts bool     // called for a queue, with no caller yet
	sending  *sending // service that is sending it elsewhere; nil if none
	failed   bool     // Failed was reported
	met      bool     // it has had two parties
	joining  bool     // a service is joining it with another call
	queue    string   // queue that has it, also while agents are called
	picked   *channel // rang until an unknown party took the call
	taker    *channel // channel of another call bridged with one of this call for an unknown reason
	room     string   // conference that services made of it
	exit     string   // trunk named by the dialplan
}

// newCall returns a call without parties.
func newCall(id, calling, called string) *call {
	return &call{Call: callmodel.Call[*channel]{ID: id, Calling: calling, Called: called}}
}

// member returns a channel in its call.
func (ch *channel) member() callmodel.Member[*channel] {
	return callmodel.Member[*channel]{Call: &ch.call.Call, Party: ch}
}

// sending is the diversion, transfer or parking of a call by a service.
type sending struct {
	from  *channel
	to    string
	cause uacsta.EventCause
}

// leg is a further FreeSWITCH channel of a connection: one of several telephones that ring for a device.
type leg struct {
	id  string
	sip string // Call-ID of its INVITE
}

// awaited is a call to a device that a service makes FreeSWITCH place. FreeSWITCH creates a channel for each
// registration of the device.
type awaited struct {
	call    *call
	device  string
	prompts bool              // the device calls: it rings first
	recalls bool              // the device held the call that waits for it: only the link ends it when the other party leaves
	by      *channel          // device it takes the call from, or whose conference it joins; nil: it calls
	why     uacsta.EventCause // of joining
	until   time.Time         // when it has failed at the latest
	seen    bool              // a channel was created
	done    bool              // FreeSWITCH has reported the result
}

// connection returns the identifier of the channel's connection.
func (ch *channel) connection() uacsta.ConnectionID { return ch.call.Connection(ch) }

// add adds a channel to a call.
func (l *Link) add(c *call, ch *channel) {
	ch.call = c
	c.Add(ch)
	c.met = c.met || len(c.Parties) > 1
	l.channels[ch.id] = ch
	l.calls[c.ID] = c
	l.index(ch.Device, ch)
	l.index(ch.Trunk, ch)
	if ch.virtual {
		l.parts[ch.Device]++
	}
}

// shares makes a channel one of those that ring for a connection, instead of a connection of its own, if its
// device already rings in the call.
func (l *Link) shares(c *call, ch *channel) bool {
	for _, o := range c.Parties {
		if o.Device == ch.Device && o.Network == ch.Network && o.Trunk == ch.Trunk && !o.virtual && o.calls() && o.comes == ch.comes {
			o.others = append(o.others, leg{ch.id, ch.sip})
			l.channels[ch.id] = o
			return true
		}
	}
	return false
}

// prompted reports whether the channel is the calling telephone of MakeCall, which rings first.
func (ch *channel) prompted() bool { return ch.made != nil && ch.made.prompts }

// calls reports whether FreeSWITCH calls the channel and it has not answered.
func (ch *channel) calls() bool {
	return !ch.Inbound && !ch.virtual && (ch.State == "" || ch.State == uacsta.Alerting || ch.State == uacsta.Initiated)
}

// leave removes a FreeSWITCH channel from those of a connection, and returns false if it was the last.
func (l *Link) leave(ch *channel, id string) bool {
	if len(ch.others) == 0 {
		return false
	}
	if ch.id == id {
		l.lead(ch, ch.others[0].id)
	}
	ch.others = slices.DeleteFunc(ch.others, func(o leg) bool { return o.id == id })
	delete(l.channels, id)
	return true
}

// lead makes one of the FreeSWITCH channels of a connection the one that commands go to.
func (l *Link) lead(ch *channel, id string) {
	if i := slices.IndexFunc(ch.others, func(o leg) bool { return o.id == id }); i >= 0 {
		o := ch.others[i]
		ch.others[i] = leg{ch.id, ch.sip}
		ch.id, ch.sip = o.id, o.sip
	}
}

// deviceOf returns the device number of a user, which has the domain if that is one of several that may have the
// same users.
func (l *Link) deviceOf(user, domain string) string {
	if slices.Contains(l.cfg.Domains, domain) {
		return user + "@" + domain
	}
	return user
}

// userOf returns the user and the domain of a device, as a command names them.
func (l *Link) userOf(device string) (user, domain string) {
	if user, domain, found := strings.Cut(device, "@"); found {
		return user, domain
	}
	return device, l.cfg.Domain
}

// isDevice reports whether text is a device number that a command can name.
func (l *Link) isDevice(text string) bool {
	user, domain, other := strings.Cut(text, "@")
	return words.MatchString(user) && (!other || slices.Contains(l.cfg.Domains, domain))
}

// device returns a device number as part of a command that takes it whole.
func (l *Link) device(number string) part { return part{number, l.isDevice(number)} }

// index makes a channel findable by a device.
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

// of returns the connections of a device, or through it, in order of arrival.
func (l *Link) of(device string) []*channel {
	came := l.parties[device]
	return slices.SortedFunc(maps.Keys(came), func(a, b *channel) int { return came[a] - came[b] })
}

func (l *Link) unindex(device string, ch *channel) {
	if delete(l.parties[device], ch); len(l.parties[device]) == 0 {
		delete(l.parties, device)
	}
}

// through records the trunk by which a channel is reached.
func (l *Link) through(ch *channel, trunk string) {
	l.unindex(ch.Trunk, ch)
	ch.Trunk = trunk
	l.index(ch.Device, ch)
	l.index(trunk, ch)
}

// full reports whether the link follows its maximum of channels.
func (l *Link) full() bool {
	if len(l.channels) < maxChannels {
		return false
	}
	l.crowded("channels", maxChannels)
	return true
}

// full reports whether a call has the maximum of connections.
func (c *call) full() bool { return c != nil && len(c.Parties) >= maxParties }

// remove removes a channel from its call, and the call when it is empty.
func (l *Link) remove(ch *channel) {
	if active := l.channels[ch.id]; active == ch {
		delete(l.channels, ch.id)
		for _, o := range ch.others {
			delete(l.channels, o.id)
		}
	} else if active != nil && active.kept == ch {
		active.kept = nil
	}
	l.unindex(ch.Device, ch)
	l.unindex(ch.Trunk, ch)
	ch.call.Remove(ch)
	l.discard(ch.call)
	if ch.virtual {
		if l.parts[ch.Device]--; l.parts[ch.Device] == 0 {
			delete(l.parts, ch.Device)
		}
	}
}

// loopback handles a channel of mod_loopback: what it calls, the channel that called it calls.
func (l *Link) loopback(e event) {
	id := e.get("Unique-ID")
	switch e.get("Event-Name") {
	case "CHANNEL_CREATE":
		if of := cmp.Or(e.get("Other-Leg-Unique-ID"), e.get("variable_other_loopback_from_uuid"), e.get("variable_other_loopback_leg_uuid")); len(l.loops) < maxChannels {
			l.loops[id] = of
		}
	case "CHANNEL_HANGUP":
		delete(l.loops, id)
	}
}

// channel returns the channel with an identifier, or that which called by a channel of mod_loopback; nil if there is none.
func (l *Link) channel(id string) *channel {
	for range maxLoops {
		of, loop := l.loops[id]
		if !loop {
			break
		}
		id = of
	}
	return l.channels[id]
}

// discard forgets a call without connections.
func (l *Link) discard(c *call) {
	if len(c.Parties) == 0 {
		delete(l.calls, c.ID)
	}
}

// find returns the channel of a connection by callID and device, or nil. A caller from the
// network is not the telephone whose number it presents.
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

// telephones reports whether a number belongs to a known telephone of the directory.
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

// other returns another channel of the call that talks or rings, or nil.
func (ch *channel) other() *channel {
	for _, o := range ch.call.Parties {
		if o != ch && !o.virtual {
			return o
		}
	}
	return nil
}

// leg returns FreeSWITCH's channel for a connection. For a queue it is the waiting channel.
func (ch *channel) leg() *channel {
	if ch.virtual {
		return ch.other()
	}
	return ch
}

// deliver passes events to the monitors of their devices.
func (l *Link) deliver(notices ...callmodel.Notice) {
	for _, n := range notices {
		l.watch.Send(n.Device, n.For)
	}
}

// move moves channels to a call.
func (l *Link) move(c *call, channels ...*channel) {
	for _, ch := range channels {
		l.remove(ch)
		l.add(c, ch)
	}
}

// numberOf returns the number of the device that a channel belongs to.
func (l *Link) numberOf(e event) (number string, network bool) {
	if user, domain, found := strings.Cut(e.get("Channel-Presence-ID"), "@"); found && user != "" {
		return l.deviceOf(user, domain), false
	}
	if e.get("Call-Direction") == "inbound" {
		return e.get("Caller-Caller-ID-Number"), true
	}
	return e.get("Caller-Destination-Number"), true
}
