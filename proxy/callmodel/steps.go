package callmodel

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// State is a connection state. Both "" and null mean that there is no connection.
type State = uacsta.LocalConnectionState

// ID identifies a connection: a device in a call.
type ID struct{ Call, Device string }

// Connection returns the identifier as messages contain it.
func (id ID) Connection() uacsta.ConnectionID { return uacsta.Conn(id.Call, id.Device) }

// Compare orders connections by call, then by device.
func (id ID) Compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Call, other.Call), cmp.Compare(id.Device, other.Device))
}

// step is an event that changes the state of one connection.
type step struct {
	path string  // of the connection in the event
	to   State   // the state after the event; "" is none
	from []State // permitted states before the event; "" is none
}

const none State = ""

// Unclear is the state, in a picture, of a connection that exists in an unknown state. Until the state
// is known, no event reports it but that it is cleared.
const Unclear State = "unclear"

// steps are the events that change one connection (ECMA-269, table of connection states and events).
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

// Concerns reports whether an event changes connections or joins calls.
func Concerns(ev *uacsta.Message) bool {
	_, one := steps[ev.Name()]
	return one || ev.Name() == uacsta.NameTransferedEvent || ev.Name() == uacsta.NameConferencedEvent
}

// StateAfter returns the state that an event gives the connection in one of its elements. It returns
// "" if the event gives none or ends the connection.
func StateAfter(event, element string) State {
	if s := steps[event]; s.path == element {
		return s.to
	}
	return none
}

// Permits reports whether an event may lead a connection from one state to another. A connection with
// the network stays connected while the far end alerts and answers.
func Permits(event string, from, to State) bool {
	s, known := steps[event]
	if from == uacsta.Connected && (event == uacsta.NameDeliveredEvent || event == uacsta.NameEstablishedEvent) {
		return to == uacsta.Connected
	}
	return known && s.to == to && slices.Contains(s.from, from)
}

// Change is one change of an event: the connection has State from now on; "" means that it is cleared.
// A change without a device clears the whole call.
type Change struct {
	ID
	State State
}

// Changes returns the changes of an event in the order in which they apply; none if the event changes
// no connection. state returns the state of a connection before the event, or "".
func Changes(ev *uacsta.Message, state func(ID) State) []Change {
	if s, one := steps[ev.Name()]; one {
		id := ID{ev.Text(s.path + "/callID"), ev.Text(s.path + "/deviceID")}
		if ev.Name() == uacsta.NameDeliveredEvent && state(id) == uacsta.Connected { // a trunk connection stays connected
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

// regrouped returns the changes of an event that joins calls. Each connection of the new call takes
// the state of its old connection, or else the state that it is known to have (from a snapshot taken
// after the event), or else connected. A connection without an old one is not there yet after a
// transfer: the call is on its way.
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
