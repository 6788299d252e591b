package freeswitch

import (
	"encoding/json"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// channel is one leg of a call, as FreeSWITCH has it: a device's part in the call.
type channel struct {
	id      string
	number  string // of the device, or at the other side of the network
	network bool   // it is no telephone of the directory
	inbound bool   // the telephone, or the network, has called
	call    *call
	state   uacsta.LocalConnectionState // "" before it rings
	kept    *channel                    // its part in the call that waits while it consults; nil: none
	parks   bool                        // FreeSWITCH keeps it when the other one leaves
}

// call is what CSTA calls one: channels that belong together.
type call struct {
	id              string
	calling, called string
	redirected      string // the device that sent it on last
	prompted        string // the channel of the calling telephone, which rings first
	channels        []*channel
	sending         *sending // a service that sends it elsewhere; nil: none
	failed          bool     // Failed has been told
}

// sending is a call on its way to another device: deflected, or transferred.
type sending struct {
	from *channel
	to   string
}

// connection is the channel's part in its call.
func (ch *channel) connection() uacsta.ConnectionID { return uacsta.Conn(ch.call.id, ch.number) }

// add puts a channel into a call.
func (l *Link) add(c *call, ch *channel) {
	ch.call = c
	c.channels = append(c.channels, ch)
	l.channels[ch.id] = ch
	l.calls[c.id] = c
}

// remove takes a channel out of its call; a call without channels is over.
func (l *Link) remove(ch *channel) {
	if active := l.channels[ch.id]; active == ch {
		delete(l.channels, ch.id)
	} else if active != nil && active.kept == ch {
		active.kept = nil
	}
	c := ch.call
	for i, other := range c.channels {
		if other == ch {
			c.channels = append(c.channels[:i:i], c.channels[i+1:]...)
			break
		}
	}
	if len(c.channels) == 0 {
		delete(l.calls, c.id)
	}
}

// find finds the channel that a connection names; nil when there is none.
func (l *Link) find(id uacsta.ConnectionID) *channel {
	c := l.calls[id.CallID]
	if c == nil {
		return nil
	}
	for _, ch := range c.channels {
		if ch.number == id.DeviceID.ID {
			return ch
		}
	}
	return nil
}

// other is another channel of the call, which talks or rings; nil when there is none.
func (ch *channel) other() *channel {
	for _, o := range ch.call.channels {
		if o != ch {
			return o
		}
	}
	return nil
}

// tell tells every telephone of a call; make makes the event, with the state that the telephone
// has in the call.
func (l *Link) tell(c *call, event func(ref string, local uacsta.LocalConnectionState) any) {
	told := map[string]bool{}
	for _, ch := range c.channels {
		if ch.network || ch.state == "" || told[ch.number] {
			continue
		}
		told[ch.number] = true
		l.watch.Tell(ch.number, func(ref string) any { return event(ref, ch.state) })
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

// shown is a line of "show channels as json".
type shown struct {
	UUID, Direction, Dest, CallState string
	PresenceID                       string `json:"presence_id"`
	CallUUID                         string `json:"call_uuid"`
	CallerNumber                     string `json:"cid_num"`
}

// learn takes the channels that there are, when the link begins.
func (l *Link) learn(text string) error {
	var list struct{ Rows []shown }
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return errBroken
	}
	for _, row := range list.Rows {
		if l.channels[row.UUID] != nil || !words.MatchString(row.UUID) || len(l.channels) >= maxChannels {
			continue // its event was faster; or it could not stand in a command
		}
		e := event{headers: map[string]string{
			"Channel-Presence-ID": row.PresenceID, "Call-Direction": row.Direction, "Caller-Caller-ID-Number": row.CallerNumber, "Caller-Destination-Number": row.Dest,
		}}
		ch := &channel{id: row.UUID, inbound: row.Direction == "inbound"}
		ch.number, ch.network = numberOf(e)
		c := l.calls[row.CallUUID]
		if c == nil {
			c = &call{id: row.CallUUID, calling: row.CallerNumber, called: row.Dest}
		}
		switch {
		case row.CallState == "HELD":
			ch.state = uacsta.Hold
		case ch.inbound || row.CallState == "ACTIVE" || row.CallState == "UNHELD":
			ch.state = uacsta.Connected
		case row.CallState == "RINGING" || row.CallState == "EARLY":
			ch.state = uacsta.Alerting
		}
		l.add(c, ch)
	}
	return nil
}
