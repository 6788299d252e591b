package callmodel

import (
	"cmp"
	"iter"
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// View is a picture of calls.
type View interface {
	// State is the state of a connection, "" where there is none.
	State(ID) State
	// Connections are all that the picture has.
	Connections() iter.Seq[ID]
	// Devices are those in one call.
	Devices(call string) iter.Seq[string]
}

// Scene is one call, as a snapshot shows it.
type Scene struct {
	ID              string
	Parties         []ID // in the order of the snapshot
	Calling, Called *uacsta.ExtendedDeviceID
}

// about is what events say of the call.
func (s *Scene) about() *About {
	a := &About{ID: s.ID}
	if s.Calling != nil {
		a.Calling = *s.Calling
	}
	if s.Called != nil {
		a.Called = *s.Called
	}
	return a
}

// Difference returns the events that lead from the old picture to the new one, without cross
// references: a call that ended is cleared, one that began appears, one that changed gets the
// event of its new state. own is the device of a device-type monitor, which is told of the others
// in a call only what its events would have told; "" is a monitor on a call, which has no side of
// its own.
func Difference(own string, old, now View, scenes []Scene) []any {
	var events []any
	tell := func(local State, made ...Event) {
		for _, event := range made {
			events = append(events, event("", local))
		}
	}
	byName := func(a, b ID) int { return cmp.Or(cmp.Compare(a.Call, b.Call), cmp.Compare(a.Device, b.Device)) }
	over := uacsta.Null
	if own == "" {
		over = none
	}
	for _, id := range slices.SortedFunc(old.Connections(), byName) {
		if now.State(id) == none && (id.Device == own || own == "") {
			tell(over, (&About{ID: id.Call}).cleared(id.Device, uacsta.CauseNormalClearing))
		}
	}
	for _, s := range scenes {
		a, self := s.about(), ID{s.ID, own}
		local, was := now.State(self), old.State(self)
		if local == Unclear || was == Unclear {
			continue
		}
		parties, calls := s.Parties, true // whether own has called
		if own != "" {
			parties = append([]ID{self}, slices.DeleteFunc(slices.Clone(parties), func(id ID) bool { return id == self })...)
			calls = a.Calling.Device.ID == own
		}
		for _, id := range parties {
			state, before := now.State(id), old.State(id)
			implied := own != "" && id != self && before == none && state == uacsta.Connected && (!calls || was == local && was != none)
			if state != before && !implied {
				tell(local, a.become(id.Device, before, state, calls)...)
			}
		}
		if own == "" {
			continue
		}
		for _, device := range slices.Sorted(old.Devices(s.ID)) {
			if id := (ID{s.ID, device}); id != self && now.State(id) == none {
				tell(local, a.cleared(device, uacsta.CauseNormalClearing))
			}
		}
	}
	return events
}

// become returns the events by which a connection comes into a state. calls says that the calling
// device of the call is known to have called.
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
