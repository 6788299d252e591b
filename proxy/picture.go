package proxy

import (
	"container/list"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// party identifies a connection: a device in a call, both as the link writes them.
type party = callmodel.ID

// picture is what a client knows about the calls of a device after the events of its monitor: the
// state of each connection that an event named. Its size is limited even if calls never seem to end:
// the call that was reported longest ago is evicted.
type picture struct {
	own     string                     // the device of the monitor; "" for a monitor on a call
	static  func(device string) string // the device that has a connection: a trunk has several in one call
	most    int                        // limit of calls
	claim   claim                      // the memory of the picture
	calls   map[string]*seenCall
	recent  list.List // of *seenCall, the most recently reported first
	dropped int       // evicted calls, and connections for which there was no room
}

// seenCall is one call in a picture. The picture of a device has calls only in which the device is:
// events report no others.
type seenCall struct {
	id      string
	parties map[string]callmodel.State // by device
	place   *list.Element
}

const (
	maxSeen        = 1000 // calls in the picture of a device
	maxSeenOfCall  = 16   // calls in the picture of a monitor on a call, which may become another call
	maxSeenParties = 256  // connections of one call
	// Their size in memory, without their texts.
	seenCallSize  = 400
	seenPartySize = 100
)

func newPicture(own string, static func(string) string, of *budget) *picture {
	most := maxSeen
	if own == "" {
		most = maxSeenOfCall
	}
	return &picture{own: own, static: static, most: most, claim: claim{budget: of}, calls: map[string]*seenCall{}}
}

// State implements callmodel.View.
func (p *picture) State(id party) callmodel.State {
	if c := p.calls[id.Call]; c != nil {
		return c.parties[id.Device]
	}
	return ""
}

// set sets the state of a connection and reports whether the picture has room for it.
func (p *picture) set(id party, state callmodel.State) bool {
	c := p.calls[id.Call]
	octets := seenPartySize + len(id.Device)
	if c != nil {
		p.recent.MoveToFront(c.place)
		if _, known := c.parties[id.Device]; known {
			c.parties[id.Device] = state
			return true
		}
		if len(c.parties) >= maxSeenParties {
			p.dropped++
			return false
		}
	} else {
		if p.own != "" && !p.owns(id.Device) {
			return false
		}
		octets += seenCallSize + len(id.Call)
		if len(p.calls) >= p.most {
			p.evict()
		}
	}
	for !p.claim.take(octets) {
		if oldest := p.recent.Back(); oldest == nil || oldest.Value == c {
			p.dropped++ // there is nothing else to evict
			return false
		}
		p.evict()
	}
	if c == nil {
		c = &seenCall{id: id.Call, parties: map[string]callmodel.State{}}
		p.calls[c.id], c.place = c, p.recent.PushFront(c)
	}
	c.parties[strings.Clone(id.Device)] = state // the original would keep its whole message in memory
	return true
}

// owns reports whether a connection is one of the monitored device.
func (p *picture) owns(device string) bool { return p.own != "" && p.static(device) == p.own }

// evict drops the call that was reported longest ago.
func (p *picture) evict() {
	p.drop(p.recent.Back().Value.(*seenCall).id)
	p.dropped++
}

// unset removes a connection.
func (p *picture) unset(id party) {
	c := p.calls[id.Call]
	if c == nil {
		return
	}
	if _, known := c.parties[id.Device]; known {
		delete(c.parties, id.Device)
		p.claim.give(seenPartySize + len(id.Device))
	}
	if p.owns(id.Device) {
		for device := range c.parties {
			if p.owns(device) {
				return
			}
		}
		p.drop(c.id)
	} else if len(c.parties) == 0 {
		p.drop(c.id)
	}
}

// drop removes a call.
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

// clear empties the picture and returns its memory.
func (p *picture) clear() {
	clear(p.calls)
	p.recent.Init()
	p.claim.release()
}

// Connections implements callmodel.View.
func (p *picture) Connections() iter.Seq[party] {
	return func(yield func(party) bool) {
		for call, c := range p.calls {
			for device := range c.parties {
				if !yield(party{Call: call, Device: device}) {
					return
				}
			}
		}
	}
}

// complete replaces unclear states by those of an older picture.
func (p *picture) complete(old *picture) {
	for id := range old.Connections() {
		if p.State(id) == callmodel.Unclear {
			p.set(id, old.State(id))
		}
	}
}

// ownStates returns the states of the device's own connections.
func (p *picture) ownStates() map[party]callmodel.State {
	states := map[party]callmodel.State{}
	for id := range p.Connections() {
		if p.owns(id.Device) {
			states[id] = p.State(id)
		}
	}
	return states
}

// Devices implements callmodel.View.
func (p *picture) Devices(call string) iter.Seq[string] {
	if c := p.calls[call]; c != nil {
		return maps.Keys(c.parties)
	}
	return func(func(string) bool) {}
}

// apply applies an event and reports whether the picture has changed.
func (p *picture) apply(ev *uacsta.Message) (changed bool) {
	changes := callmodel.Changes(ev, p.before(ev))
	if len(changes) == 1 && changes[0].Device != "" {
		before := p.State(changes[0].ID)
		p.change(changes[0])
		return p.State(changes[0].ID) != before
	}
	before := map[party]callmodel.State{} // of all connections that the event may change
	for _, c := range changes {
		for device := range p.Devices(c.Call) {
			id := party{Call: c.Call, Device: device}
			before[id] = p.State(id)
		}
		if c.Device != "" {
			before[c.ID] = p.State(c.ID)
		}
	}
	// before returns a function that returns the states of connections before an event. A
	// TransferedEvent or ConferencedEvent itself reports the state of the device in the new call, if
	// nothing else does.
	slices.SortStableFunc(changes, func(a, b callmodel.Change) int { return p.turn(a) - p.turn(b) })
	for _, c := range changes {
		p.change(c)
	}
	for id, state := range before {
		changed = changed || p.State(id) != state
	}
	return changed
}

// before returns the states that connections had before an event. One that makes one call of others
// says itself what state the device has in that, where nothing else does.
func (p *picture) before(ev *uacsta.Message) func(party) callmodel.State {
	local := callmodel.State(ev.Text("localConnectionInfo"))
	if name := ev.Name(); p.own == "" || local == uacsta.Null || name != uacsta.NameTransferedEvent && name != uacsta.NameConferencedEvent {
		return p.State
	}
	connections := ev.Connections()
	i := slices.IndexFunc(connections, func(c uacsta.Connection) bool { return p.owns(c.DeviceID()) && c.Name() == "newConnection" })
	if i < 0 {
		return p.State
	}
	own := party{Call: connections[i].CallID(), Device: connections[i].DeviceID()}
	return func(id party) callmodel.State {
		if state := p.State(id); state != "" || id != own {
			return state
		}
		return local
	}
}

// change applies one change of an event.
func (p *picture) change(c callmodel.Change) {
	switch {
	case c.Device == "":
		p.drop(c.Call)
	case c.State == "":
		p.unset(c.ID)
	default:
		p.set(c.ID, c.State)
	}
}

// turn orders the changes of one event: ended calls, the device itself, others.
func (p *picture) turn(c callmodel.Change) int {
	switch {
	case c.Device == "":
		return 0
	case p.owns(c.Device):
		return 1
	}
	return 2
}

// scene is one call of a device in a snapshot.
type scene struct {
	callmodel.Scene
	named   uacsta.ConnectionID // the connection by which the link is asked for the call
	devices map[string]bool     // all devices, also those without a state in the snapshot; nil: not needed
}
