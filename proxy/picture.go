package proxy

import (
	"maps"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// party is a connection: a device in a call, both as the link writes them.
type party struct{ call, device string }

// picture is what whoever sees a monitor's events knows of the calls of its device:
// the state of each connection that an event named.
type picture map[party]uacsta.LocalConnectionState

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

// apply takes an event in; own is the device of the monitor, "" for one on a call.
func (p picture) apply(ev *uacsta.Message, own string) {
	if change, ok := changes[ev.Name()]; ok {
		id := party{ev.Text(change.path + "/callID"), ev.Text(change.path + "/deviceID")}
		switch {
		case change.state == "":
			delete(p, id)
		case ev.Name() == "DeliveredEvent" && p[id] == uacsta.Connected: // a trunk is connected while it rings beyond it
		default:
			p[id] = change.state
		}
	} else {
		p.regroup(ev)
	}
	p.forget(own)
}

// regroup takes in what makes calls of calls: Transfered and Conferenced; and
// CallCleared.
func (p picture) regroup(ev *uacsta.Message) {
	switch ev.Name() {
	case "CallClearedEvent":
		p.drop(ev.Text("clearedCall/callID"))
		return
	case "TransferedEvent", "ConferencedEvent":
	default:
		return
	}
	joined := picture{}
	var last party
	for _, c := range ev.Connections() {
		id := party{c.CallID(), c.DeviceID()}
		switch path := c.Path(); {
		case strings.HasSuffix(path, "newConnection"):
			last = id
			if ev.Name() == "ConferencedEvent" {
				joined[id] = uacsta.Connected
			}
		case strings.HasSuffix(path, "oldConnection"):
			if state, known := p[id]; known {
				joined[last] = state
			} else if _, set := joined[last]; !set {
				joined[last] = uacsta.Connected
			}
		}
	}
	p.drop(ev.Text("primaryOldCall/callID"))
	p.drop(ev.Text("secondaryOldCall/callID"))
	maps.Copy(p, joined)
}

func (p picture) drop(call string) {
	maps.DeleteFunc(p, func(id party, _ uacsta.LocalConnectionState) bool { return id.call == call })
}

// forget drops the calls that the device itself is not in: no event tells of them.
func (p picture) forget(own string) {
	if own == "" {
		return
	}
	maps.DeleteFunc(p, func(id party, _ uacsta.LocalConnectionState) bool { _, in := p[party{id.call, own}]; return !in })
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
func (p picture) since(old picture, own string, scenes []scene) []any {
	var events []any
	for _, id := range slices.SortedFunc(maps.Keys(old), func(a, b party) int { return strings.Compare(a.call+" "+a.device, b.call+" "+b.device) }) {
		if _, still := p[id]; !still && (id.device == own || own == "") {
			cleared := uacsta.ConnectionClearedEvent{DroppedConnection: id.connection(), ReleasingDevice: uacsta.Ext(id.device), Cause: uacsta.CauseNormalClearing}
			if own != "" { // a monitor on a call has no side of its own
				cleared.LocalConnectionInfo = uacsta.Null
			}
			events = append(events, cleared)
		}
	}
	for _, s := range scenes {
		self := party{s.call, own}
		local, was := p[self], old[self]
		first, caller := s.parties, true
		if own != "" {
			first = append([]party{self}, slices.DeleteFunc(slices.Clone(s.parties), func(id party) bool { return id == self })...)
			caller = s.calling != nil && s.calling.Device.ID == own
		}
		for _, id := range first {
			state, before := p[id], old[id]
			implied := own != "" && id != self && before == "" && state == uacsta.Connected && (!caller || was == local && was != "")
			if state != before && !implied {
				events = append(events, s.become(id, before, state, local, caller)...)
			}
		}
		for id := range old {
			if _, still := p[id]; own != "" && id.call == s.call && !still && id != self {
				events = append(events, uacsta.ConnectionClearedEvent{
					DroppedConnection: id.connection(), ReleasingDevice: uacsta.Ext(id.device), LocalConnectionInfo: local, Cause: uacsta.CauseNormalClearing,
				})
			}
		}
	}
	return events
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
