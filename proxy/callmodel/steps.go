package callmodel

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// State is a connection state; "" and null both say that there is no connection.
type State = uacsta.LocalConnectionState

// ID names a connection: a device in a call.
type ID struct{ Call, Device string }

// Connection returns the identifier as messages have it.
func (id ID) Connection() uacsta.ConnectionID { return uacsta.Conn(id.Call, id.Device) }

// step is an event that changes the state of one connection.
type step struct {
	path string  // where the event names the connection
	to   State   // the state that the connection has then; "" is none
	from []State // the states that it may have before; "" is none
}

const none State = ""

// Unclear is the state, in a picture, of a connection that is known to be there and nothing else: no
// event tells of it until more is known, but that it is over.
const Unclear State = "unclear"

// steps are the events that change one connection (the table of connection states and events of
// ECMA-269).
var steps = map[string]step{
	uacsta.NameServiceInitiatedEvent:  {"initiatedConnection", uacsta.Initiated, []State{none}},
	uacsta.NameDigitsDialedEvent:      {"dialingConnection", uacsta.Initiated, []State{uacsta.Initiated}},
	uacsta.NameOriginatedEvent:        {"originatedConnection", uacsta.Connected, []State{none, uacsta.Initiated}},
	uacsta.NameOfferedEvent:           {"offeredConnection", uacsta.Alerting, []State{none}},
	uacsta.NameDeliveredEvent:         {"connection", uacsta.Alerting, []State{none, uacsta.Alerting, uacsta.Queued, uacsta.Fail}},
	uacsta.NameEstablishedEvent:       {"establishedConnection", uacsta.Connected, []State{none, uacsta.Initiated, uacsta.Alerting, uacsta.Queued}},
	uacsta.NameNetworkReachedEvent:    {"outboundConnection", uacsta.Connected, []State{none}},
	uacsta.NameHeldEvent:              {"heldConnection", uacsta.Hold, []State{uacsta.Connected}},
	uacsta.NameRetrievedEvent:         {"retrievedConnection", uacsta.Connected, []State{uacsta.Hold, uacsta.Queued}},
	uacsta.NameQueuedEvent:            {"queuedConnection", uacsta.Queued, []State{none, uacsta.Alerting, uacsta.Connected, uacsta.Queued, uacsta.Fail}},
	uacsta.NameBridgedEvent:           {"bridgedConnection", uacsta.Queued, []State{none, uacsta.Alerting, uacsta.Connected, uacsta.Hold}},
	uacsta.NameFailedEvent:            {"failedConnection", uacsta.Fail, []State{none, uacsta.Initiated, uacsta.Alerting, uacsta.Connected, uacsta.Queued}},
	uacsta.NameDivertedEvent:          {"connection", none, []State{none, uacsta.Alerting, uacsta.Queued, uacsta.Connected, uacsta.Hold, uacsta.Fail}},
	uacsta.NameConnectionClearedEvent: {"droppedConnection", none, []State{uacsta.Initiated, uacsta.Alerting, uacsta.Queued, uacsta.Connected, uacsta.Hold, uacsta.Fail}},
}

// Concerns reports whether an event changes connections, or makes calls of calls.
func Concerns(ev *uacsta.Message) bool {
	_, one := steps[ev.Name()]
	return one || ev.Name() == uacsta.NameTransferedEvent || ev.Name() == uacsta.NameConferencedEvent
}

// Says returns the state that an event says the connection is in that it names in an element; "" where
// it says none, or that the connection is over.
func StateAfter(event, element string) State {
	if s := steps[event]; s.path == element {
		return s.to
	}
	return none
}

// Permits reports whether the event named leads a connection from one state to another. A
// connection with the network beyond the switch is connected while it rings and answers there.
func Permits(event string, from, to State) bool {
	s, known := steps[event]
	if from == uacsta.Connected && (event == uacsta.NameDeliveredEvent || event == uacsta.NameEstablishedEvent) {
		return to == uacsta.Connected
	}
	return known && s.to == to && slices.Contains(s.from, from)
}

// Change is what an event changes: the connection has the state from now on, and is gone where
// State is "". A change without a device ends the whole call.
type Change struct {
	ID
	State State
}

// Changes returns what an event changes, in the order in which it is to be done. state says
// what state a connection had before, "" where there was none. An event that changes no
// connection has no changes.
func Changes(ev *uacsta.Message, state func(ID) State) []Change {
	if s, one := steps[ev.Name()]; one {
		id := ID{ev.Text(s.path + "/callID"), ev.Text(s.path + "/deviceID")}
		if ev.Name() == uacsta.NameDeliveredEvent && state(id) == uacsta.Connected { // beyond a trunk, which is connected
			return []Change{{id, uacsta.Connected}}
		}
		return []Change{{id, s.to}}
	}
	switch ev.Name() {
	case uacsta.NameCallClearedEvent:
		return []Change{{ID: ID{Call: ev.Text("clearedCall/callID")}}}
	case uacsta.NameTransferedEvent, uacsta.NameConferencedEvent:
		return regrouped(ev, state)
	}
	return nil
}

// regrouped returns what an event changes that makes one call of others: each connection of the
// new one has the state that its old connection had. Where that is not known, it has the one that it
// is known to have, from a snapshot that was taken after the event, or is connected. One that a transfer
// names without an old connection is none yet: the call is on its way there.
func regrouped(ev *uacsta.Message, state func(ID) State) []Change {
	var changes, joined []Change
	for _, old := range []string{ev.Text("primaryOldCall/callID"), ev.Text("secondaryOldCall/callID")} {
		if old != "" {
			changes = append(changes, Change{ID: ID{Call: old}})
		}
	}
	for _, c := range ev.Connections() {
		id := ID{c.CallID(), c.DeviceID()}
		switch path := c.Path(); {
		case strings.HasSuffix(path, "newConnection"):
			joined = append(joined, Change{ID: id})
			if ev.Name() == uacsta.NameConferencedEvent {
				joined[len(joined)-1].State = uacsta.Connected
			}
		case strings.HasSuffix(path, "oldConnection") && len(joined) > 0:
			last := &joined[len(joined)-1]
			last.State = cmp.Or(state(id), state(last.ID), uacsta.Connected)
		}
	}
	for _, c := range joined {
		if c.State != none {
			changes = append(changes, c)
		}
	}
	return changes
}
