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

// party is a connection: a device in a call, both as the link writes them.
type party = callmodel.ID

// picture is what whoever sees a monitor's events knows of the calls of its device:
// the state of each connection that an event named. A device whose calls never end does not
// make it grow: the call that was heard of longest ago gives way.
type picture struct {
	own     string // the device of the monitor; "" for one on a call
	most    int    // calls
	claim   claim  // for what is in it
	calls   map[string]*seenCall
	recent  list.List // of *seenCall, the last heard of in front
	dropped int       // calls that gave way, and connections that there was no room for
}

// seenCall is one call in a picture. In that of a device the device itself is in each call: no
// event tells of others.
type seenCall struct {
	id      string
	parties map[string]callmodel.State // by device
	place   *list.Element
}

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

// State implements callmodel.View.
func (p *picture) State(id party) callmodel.State {
	if c := p.calls[id.Call]; c != nil {
		return c.parties[id.Device]
	}
	return ""
}

// set takes in the state of a connection, and reports whether the picture has it now.
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
		if p.own != "" && id.Device != p.own {
			return false
		}
		octets += seenCallSize + len(id.Call)
		if len(p.calls) >= p.most {
			p.evict()
		}
	}
	for !p.claim.take(octets) {
		if oldest := p.recent.Back(); oldest == nil || oldest.Value == c {
			p.dropped++ // what is heard now: there is nothing else
			return false
		}
		p.evict()
	}
	if c == nil {
		c = &seenCall{id: id.Call, parties: map[string]callmodel.State{}}
		p.calls[c.id], c.place = c, p.recent.PushFront(c)
	}
	c.parties[strings.Clone(id.Device)] = state // a part of the message would keep all of it
	return true
}

// evict drops the call that was heard of longest ago.
func (p *picture) evict() {
	p.drop(p.recent.Back().Value.(*seenCall).id)
	p.dropped++
}

// unset takes a connection out.
func (p *picture) unset(id party) {
	c := p.calls[id.Call]
	if c == nil {
		return
	}
	if _, known := c.parties[id.Device]; known {
		delete(c.parties, id.Device)
		p.claim.give(seenPartySize + len(id.Device))
	}
	if len(c.parties) == 0 || id.Device == p.own {
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

// complete takes states that are not clear from an older picture.
func (p *picture) complete(old *picture) {
	for id := range old.Connections() {
		if p.State(id) == callmodel.Unclear {
			p.set(id, old.State(id))
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

// Devices implements callmodel.View.
func (p *picture) Devices(call string) iter.Seq[string] {
	if c := p.calls[call]; c != nil {
		return maps.Keys(c.parties)
	}
	return func(func(string) bool) {}
}

// apply takes an event in, and reports whether the picture is another one now.
func (p *picture) apply(ev *uacsta.Message) (changed bool) {
	changes := callmodel.Changes(ev, p.before(ev))
	if len(changes) == 1 && changes[0].Device != "" {
		before := p.State(changes[0].ID)
		p.change(changes[0])
		return p.State(changes[0].ID) != before
	}
	before := map[party]callmodel.State{} // of all that they may change
	for _, c := range changes {
		for device := range p.Devices(c.Call) {
			id := party{Call: c.Call, Device: device}
			before[id] = p.State(id)
		}
		if c.Device != "" {
			before[c.ID] = p.State(c.ID)
		}
	}
	// The device itself comes first: others are in its calls.
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
	i := slices.IndexFunc(connections, func(c uacsta.Connection) bool { return c.DeviceID() == p.own && c.Name() == "newConnection" })
	if i < 0 {
		return p.State
	}
	own := party{Call: connections[i].CallID(), Device: p.own}
	return func(id party) callmodel.State {
		if state := p.State(id); state != "" || id != own {
			return state
		}
		return local
	}
}

// change takes in what an event changes.
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

// turn is when a change has its turn among those of one event.
func (p *picture) turn(c callmodel.Change) int {
	switch c.Device {
	case "":
		return 0
	case p.own:
		return 1
	}
	return 2
}

// scene is one call of a device, as a snapshot shows it.
type scene struct {
	callmodel.Scene
	devices map[string]bool // all, also those whose state the snapshot does not say; nil where nobody asks
}
