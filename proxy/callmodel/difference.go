package callmodel

import (
	"cmp"
	"iter"
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// View is a picture of calls at one moment.
type View interface {
	// State returns the state of a connection, or "".
	State(ID) State
	// Connections returns all connections of the picture.
	Connections() iter.Seq[ID]
	// Devices returns the devices in a call.
	Devices(call string) iter.Seq[string]
}

// Scene is one call of a snapshot.
type Scene struct {
	ID              string
	Parties         []ID // those of the monitored device first, else in the order of the snapshot
	Calling, Called *uacsta.ExtendedDeviceID
}

// about returns what events say about the call.
func (s *Scene) about(static func(string) string) *About {
	a := &About{ID: s.ID, static: static}
	if s.Calling != nil {
		a.Calling = *s.Calling
	}
	if s.Called != nil {
		a.Called = *s.Called
	}
	return a
}

// Difference returns the events, without cross references, that lead from the old picture to the new
// one: for each call that has ended, has begun or has another state. own is the device of a
// device-type monitor; the result reports other devices in its calls only as events to that monitor
// would have done. An empty own means a monitor on a call. static returns the device that has the
// connections with an identifier.
func Difference(own string, static func(device string) string, old, now View, scenes []Scene) []any {
	var events []any
	tell := func(local State, made ...Event) {
		for _, event := range made {
			events = append(events, event("", local))
		}
	}
	mine := func(device string) bool { return own != "" && static(device) == own }
	firsts := map[string]ID{} // the device's first connection in each call, whose state its events have
	for i := range scenes {
		for _, id := range scenes[i].Parties {
			if _, known := firsts[id.Call]; mine(id.Device) && !known {
				firsts[id.Call] = id
			}
		}
	}
	over := func(call string) State {
		if own == "" {
			return none
		}
		return cmp.Or(now.State(firsts[call]), uacsta.Null)
	}
	for _, id := range slices.SortedFunc(old.Connections(), ID.Compare) {
		if now.State(id) == none && (own == "" || mine(id.Device)) {
			tell(over(id.Call), (&About{ID: id.Call, static: static}).cleared(id.Device, uacsta.CauseNormalClearing))
		}
	}
	for _, s := range scenes {
		a, self := s.about(static), firsts[s.ID]
		local, was := now.State(self), old.State(self)
		if local == Unclear || was == Unclear {
			continue
		}
		calls := own == "" || mine(a.Calling.Device.ID) // the device is the caller
		for _, id := range s.Parties {
			state, before := now.State(id), old.State(id)
			implied := own != "" && !mine(id.Device) && before == none && state == uacsta.Connected && (!calls || was == local && was != none)
			if unclear := mine(id.Device) && before == Unclear; state != before && !implied && !unclear {
				tell(local, a.become(id.Device, before, state, calls)...)
			}
		}
		if own == "" {
			continue
		}
		for _, device := range slices.Sorted(old.Devices(s.ID)) {
			if id := (ID{s.ID, device}); !mine(device) && now.State(id) == none {
				tell(local, a.cleared(device, uacsta.CauseNormalClearing))
			}
		}
	}
	return events
}

// become returns the events that bring a connection into a state. calls says that the calling device
// is known to have called.
func (a *About) become(device string, before, state State, calls bool) []Event {
	const cause = uacsta.CauseNormal
	switch state {
	case uacsta.Initiated:
		return []Event{a.initiated(device, cause)}
	case uacsta.Alerting:
		return []Event{a.delivered(device, cause)}
	case uacsta.Connected:
		switch {
		case before == uacsta.Hold:
			return []Event{a.retrieved(device, cause)}
		case calls && a.Calling.Device.ID == device:
			return []Event{a.originated(device, cause)}
		}
		return []Event{a.established(device, cause)}
	case uacsta.Hold:
		if before == uacsta.Connected {
			return []Event{a.held(device, cause)}
		}
		return append(a.become(device, before, uacsta.Connected, calls), a.held(device, cause))
	case uacsta.Queued:
		return []Event{a.queued(device, nil, cause)}
	case uacsta.Fail:
		return []Event{a.failed(device, cause)}
	}
	return nil
}
