package proxy

import (
	"container/list"
	"iter"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// party is a connection: a device in a call, both as the link writes them.
type party struct{ call, device string }

// picture is what whoever sees a monitor's events knows of the calls of its device:
// the state of each connection that an event named. A device whose calls never end does not
// make it grow: the call that was heard of longest ago gives way.
type picture struct {
	own    string // the device of the monitor; "" for one on a call
	most   int    // calls
	claim  claim  // for what is in it
	calls  map[string]*seenCall
	recent list.List // of *seenCall, the last heard of in front
	gone   int       // calls that gave way, and connections that there was no room for
}

// seenCall is one call in a picture. In that of a device the device itself is in each call: no
// event tells of others.
type seenCall struct {
	id      string
	parties map[string]uacsta.LocalConnectionState // by device
	place   *list.Element
}

// unclear is the state of a connection that is known to be there, and nothing else.
const unclear uacsta.LocalConnectionState = "unclear"

const (
	maxSeen        = 1000 // calls of a device that its picture has
	maxSeenOfCall  = 16   // calls in the picture of a monitor on a call: it may become another
	maxSeenParties = 256  // of one call
	// What they take in memory, apart from their texts.
	seenCallSize  = 400
	seenPartySize = 100
)

func newPicture(own string, of *budget) *picture {
	most := maxSeen
	if own == "" {
		most = maxSeenOfCall
	}
	return &picture{own: own, most: most, claim: claim{budget: of}, calls: map[string]*seenCall{}}
}

// state returns the state of a connection, "" where there is none.
func (p *picture) state(id party) uacsta.LocalConnectionState {
	if c := p.calls[id.call]; c != nil {
		return c.parties[id.device]
	}
	return ""
}

// set takes in the state of a connection, and reports whether the picture has it now.
func (p *picture) set(id party, state uacsta.LocalConnectionState) bool {
	c := p.calls[id.call]
	octets := seenPartySize + len(id.device)
	if c != nil {
		p.recent.MoveToFront(c.place)
		if _, known := c.parties[id.device]; known {
			c.parties[id.device] = state
			return true
		}
		if len(c.parties) >= maxSeenParties {
			p.gone++
			return false
		}
	} else {
		if p.own != "" && id.device != p.own {
			return false
		}
		octets += seenCallSize + len(id.call)
		if len(p.calls) >= p.most {
			p.giveWay()
		}
	}
	for !p.claim.take(octets) {
		if oldest := p.recent.Back(); oldest == nil || oldest.Value == c {
			p.gone++ // what is heard now: there is nothing else
			return false
		}
		p.giveWay()
	}
	if c == nil {
		c = &seenCall{id: id.call, parties: map[string]uacsta.LocalConnectionState{}}
		p.calls[c.id], c.place = c, p.recent.PushFront(c)
	}
	c.parties[strings.Clone(id.device)] = state // a part of the message would keep all of it
	return true
}

// giveWay drops the call that was heard of longest ago.
func (p *picture) giveWay() {
	p.drop(p.recent.Back().Value.(*seenCall).id)
	p.gone++
}

// unset takes a connection out.
func (p *picture) unset(id party) {
	c := p.calls[id.call]
	if c == nil {
		return
	}
	if _, known := c.parties[id.device]; known {
		delete(c.parties, id.device)
		p.claim.give(seenPartySize + len(id.device))
	}
	if len(c.parties) == 0 || id.device == p.own {
		p.drop(c.id)
	}
}

// drop takes a call out.
func (p *picture) drop(call string) {
	c := p.calls[call]
	if c == nil {
		return
	}
	octets := seenCallSize + len(c.id)
	for device := range c.parties {
		octets += seenPartySize + len(device)
	}
	p.claim.give(octets)
	p.recent.Remove(c.place)
	delete(p.calls, call)
}

// clear forgets all.
func (p *picture) clear() {
	clear(p.calls)
	p.recent.Init()
	p.claim.release()
}

// parties are the connections in the picture.
func (p *picture) parties() iter.Seq[party] {
	return func(yield func(party) bool) {
		for call, c := range p.calls {
			for device := range c.parties {
				if !yield(party{call, device}) {
					return
				}
			}
		}
	}
}

// ownStates are the states of the device itself in its calls.
func (p *picture) ownStates() map[string]uacsta.LocalConnectionState {
	states := map[string]uacsta.LocalConnectionState{}
	for call, c := range p.calls {
		if state := c.parties[p.own]; state != "" {
			states[call] = state
		}
	}
	return states
}

// changes are the events that change one connection: where they name it, and the
// state it has then; "" is none (the table of connection states and events of
// ECMA-269).
var changes = map[string]struct {
	path  string
	state uacsta.LocalConnectionState
}{
	"ServiceInitiatedEvent":  {"initiatedConnection", uacsta.Initiated},
	"DigitsDialedEvent":      {"dialingConnection", uacsta.Initiated},
	"OriginatedEvent":        {"originatedConnection", uacsta.Connected},
	"OfferedEvent":           {"offeredConnection", uacsta.Alerting},
	"DeliveredEvent":         {"connection", uacsta.Alerting},
	"EstablishedEvent":       {"establishedConnection", uacsta.Connected},
	"NetworkReachedEvent":    {"outboundConnection", uacsta.Connected},
	"HeldEvent":              {"heldConnection", uacsta.Hold},
	"RetrievedEvent":         {"retrievedConnection", uacsta.Connected},
	"QueuedEvent":            {"queuedConnection", uacsta.Queued},
	"BridgedEvent":           {"bridgedConnection", uacsta.Queued},
	"FailedEvent":            {"failedConnection", uacsta.Fail},
	"DivertedEvent":          {"connection", ""},
	"ConnectionClearedEvent": {"droppedConnection", ""},
}

// apply takes an event in, and reports whether the picture is another one now.
func (p *picture) apply(ev *uacsta.Message) bool {
	change, one := changes[ev.Name()]
	if !one {
		return p.regroup(ev)
	}
	id := party{ev.Text(change.path + "/callID"), ev.Text(change.path + "/deviceID")}
	before := p.state(id)
	switch {
	case change.state == "":
		p.unset(id)
	case ev.Name() == "DeliveredEvent" && before == uacsta.Connected: // a trunk is connected while it rings beyond it
	default:
		p.set(id, change.state)
	}
	return p.state(id) != before
}

// regroup takes in what makes calls of calls: Transfered and Conferenced; and
// CallCleared.
func (p *picture) regroup(ev *uacsta.Message) bool {
	switch ev.Name() {
	case "CallClearedEvent":
		call := ev.Text("clearedCall/callID")
		known := p.calls[call] != nil
		p.drop(call)
		return known
	case "TransferedEvent", "ConferencedEvent":
	default:
		return false
	}
	joined := map[party]uacsta.LocalConnectionState{}
	before := map[party]uacsta.LocalConnectionState{} // of the calls that it names
	var last party
	for _, c := range ev.Connections() {
		id := party{c.CallID(), c.DeviceID()}
		if seen := p.calls[id.call]; seen != nil {
			for device, state := range seen.parties {
				before[party{id.call, device}] = state
			}
		}
		switch path := c.Path(); {
		case strings.HasSuffix(path, "newConnection"):
			last = id
			if ev.Name() == "ConferencedEvent" {
				joined[id] = uacsta.Connected
			}
		case strings.HasSuffix(path, "oldConnection"):
			if state := p.state(id); state != "" {
				joined[last] = state
			} else if _, set := joined[last]; !set {
				joined[last] = uacsta.Connected
			}
		}
	}
	p.drop(ev.Text("primaryOldCall/callID"))
	p.drop(ev.Text("secondaryOldCall/callID"))
	for _, own := range [2]bool{true, false} { // the device itself first: others are in its calls
		for id, state := range joined {
			if (id.device == p.own) == own {
				p.set(id, state)
			}
		}
	}
	for id := range joined {
		if _, named := before[id]; !named {
			before[id] = ""
		}
	}
	for id, state := range before {
		if p.state(id) != state {
			return true
		}
	}
	return false
}

// scene is one call of a device, as a snapshot shows it.
type scene struct {
	call            string
	parties         []party         // in the order of the snapshot
	devices         map[string]bool // all, also those whose state the snapshot does not say; nil where nobody asks
	calling, called *uacsta.ExtendedDeviceID
}

// since returns the events that lead from the old picture to the new one: a call that
// ended is cleared, one that began appears, one that changed gets the event of its new
// state. Of the others in a call only what the device's monitor would have told.
func (p *picture) since(old *picture, scenes []scene) []any {
	own := p.own
	var events []any
	for _, id := range slices.SortedFunc(old.parties(), func(a, b party) int { return strings.Compare(a.call+" "+a.device, b.call+" "+b.device) }) {
		if p.state(id) == "" && (id.device == own || own == "") {
			local := uacsta.Null
			if own == "" { // a monitor on a call has no side of its own
				local = ""
			}
			events = append(events, cleared(id, local))
		}
	}
	for _, s := range scenes {
		self := party{s.call, own}
		local, was := p.state(self), old.state(self)
		if local == unclear && was != "" { // the snapshot does not say
			p.set(self, was)
		}
		if local == unclear || was == unclear { // clients know the call, as far as they do, from a snapshot
			continue
		}
		first, caller := s.parties, true
		if own != "" {
			first = append([]party{self}, slices.DeleteFunc(slices.Clone(s.parties), func(id party) bool { return id == self })...)
			caller = s.calling != nil && s.calling.Device.ID == own
		}
		for _, id := range first {
			state, before := p.state(id), old.state(id)
			implied := own != "" && id != self && before == "" && state == uacsta.Connected && (!caller || was == local && was != "")
			if state != before && !implied {
				events = append(events, s.become(id, before, state, local, caller)...)
			}
		}
		if c := old.calls[s.call]; c != nil && own != "" {
			for device := range c.parties {
				if id := (party{s.call, device}); p.state(id) == "" && id != self {
					events = append(events, cleared(id, local))
				}
			}
		}
	}
	return events
}

// cleared tells that a connection is no more.
func cleared(id party, local uacsta.LocalConnectionState) uacsta.ConnectionClearedEvent {
	return uacsta.ConnectionClearedEvent{DroppedConnection: id.connection(), ReleasingDevice: uacsta.Ext(id.device), LocalConnectionInfo: local, Cause: uacsta.CauseNormalClearing}
}

func (id party) connection() uacsta.ConnectionID { return uacsta.Conn(id.call, id.device) }

// become returns the events by which a connection comes into a state.
func (s *scene) become(id party, before, state, local uacsta.LocalConnectionState, caller bool) []any {
	device, connection := uacsta.Ext(id.device), id.connection()
	var calling, called uacsta.ExtendedDeviceID
	if s.calling != nil {
		calling = *s.calling
	}
	if s.called != nil {
		called = *s.called
	}
	const cause = uacsta.CauseNormal
	switch state {
	case uacsta.Initiated:
		return []any{uacsta.ServiceInitiatedEvent{InitiatedConnection: connection, InitiatingDevice: device, LocalConnectionInfo: local, Cause: cause}}
	case uacsta.Alerting:
		return []any{uacsta.DeliveredEvent{Connection: connection, AlertingDevice: device, CallingDevice: calling, CalledDevice: called, LocalConnectionInfo: local, Cause: cause}}
	case uacsta.Connected:
		switch {
		case before == uacsta.Hold:
			return []any{uacsta.RetrievedEvent{RetrievedConnection: connection, RetrievingDevice: device, LocalConnectionInfo: local, Cause: cause}}
		case caller && calling.Device.ID == id.device:
			return []any{uacsta.OriginatedEvent{OriginatedConnection: connection, CallingDevice: calling, CalledDevice: called, LocalConnectionInfo: local, Cause: cause}}
		}
		return []any{uacsta.EstablishedEvent{EstablishedConnection: connection, AnsweringDevice: device, CallingDevice: calling, CalledDevice: called, LocalConnectionInfo: local, Cause: cause}}
	case uacsta.Hold:
		held := uacsta.HeldEvent{HeldConnection: connection, HoldingDevice: device, LocalConnectionInfo: local, Cause: cause}
		if before == uacsta.Connected {
			return []any{held}
		}
		return append(s.become(id, before, uacsta.Connected, local, caller), held)
	case uacsta.Queued:
		return []any{uacsta.QueuedEvent{QueuedConnection: connection, Queue: device, CallingDevice: calling, CalledDevice: called, LocalConnectionInfo: local, Cause: cause}}
	case uacsta.Fail:
		return []any{uacsta.FailedEvent{FailedConnection: connection, FailingDevice: device, CallingDevice: calling, CalledDevice: called, LocalConnectionInfo: local, Cause: cause}}
	}
	return nil
}
