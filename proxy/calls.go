package proxy

import (
	"cmp"
	"container/list"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// calls is what the core knows of the calls at one link: under which callID clients see
// each, and which devices are in it. It learns from all that the link sends: events, answers
// and snapshots. A callID of the link keeps its number for clients while the table has room
// for it; those that nothing was heard of for longest go first, of calls that are over before
// others.
type calls struct {
	refs *references

	mu      lock
	byLink  map[string]*knownCall
	byParty map[string]map[*knownCall]struct{}
	byShown map[string]*knownCall
	living  list.List // of *knownCall, the last heard of in front
	over    list.List
	octets  int // of memory that all take
	most    int // of them
}

// knownCall is one call.
type knownCall struct {
	link, shown string
	parties     map[string]heardParty // by canonical device
	dialled     string                // what clients have dialled in it so far
	dialling    bool                  // more is on its way: what the number is then, the answer says
	place       *list.Element
	in          *list.List
}

// heardParty is what was heard last of a device in a call.
type heardParty struct {
	at    time.Time
	state uacsta.LocalConnectionState // callmodel.Unclear where nobody said
}

const (
	maxLiving = 100000
	maxOver   = 10000
	maxKnown  = 16   // devices of one call that are kept in mind; the link is asked for others
	maxCallID = 1024 // octets; a longer one is of no call that anybody can ask for
	maxDevice = 255  // octets

	maxCallOctets = 96 << 20 // that all calls of a link take in memory
	// What they take apart from their texts.
	knownCallSize  = 600
	knownPartySize = 250
)

func newCalls(refs *references) *calls {
	return &calls{mu: lock{rank: ofLife}, refs: refs, most: maxCallOctets, byLink: map[string]*knownCall{}, byParty: map[string]map[*knownCall]struct{}{}, byShown: map[string]*knownCall{}}
}

// of returns the call with a callID of the link; c.mu is held.
func (c *calls) of(link string) *knownCall {
	k := c.byLink[link]
	if k == nil {
		link = strings.Clone(link) // or the whole message would be kept with it
		k = &knownCall{link: link, shown: c.refs.next(), parties: map[string]heardParty{}}
		c.byLink[link], c.byShown[k.shown] = k, k
		c.octets += knownCallSize + len(link)
	}
	c.file(k)
	return k
}

// file puts a call in front of those of its kind, and forgets what there is no room for;
// c.mu is held.
func (c *calls) file(k *knownCall) {
	in, room := &c.living, maxLiving
	if len(k.parties) == 0 {
		in, room = &c.over, maxOver
	}
	if k.in == in {
		in.MoveToFront(k.place)
	} else {
		if k.in != nil {
			k.in.Remove(k.place)
		}
		k.in, k.place = in, in.PushFront(k)
	}
	if in.Len() > room {
		c.drop(in.Back())
	}
	for c.octets > c.most {
		if oldest := c.over.Back(); oldest != nil && oldest != k.place {
			c.drop(oldest)
		} else {
			c.drop(c.living.Back()) // there are others: no call is that large
		}
	}
}

// drop forgets a call; c.mu is held.
func (c *calls) drop(place *list.Element) {
	k := place.Value.(*knownCall)
	c.empty(k)
	k.in.Remove(place)
	delete(c.byLink, k.link)
	delete(c.byShown, k.shown)
	c.octets -= knownCallSize + len(k.link)
}

// enter notes that a device is in a call, and in which state, where that is said; c.mu is held.
func (c *calls) enter(k *knownCall, device string, state uacsta.LocalConnectionState, now time.Time) {
	before, known := k.parties[device]
	if !known {
		if len(k.parties) == maxKnown {
			return
		}
		before.state = callmodel.Unclear
		device = strings.Clone(device)
		c.octets += knownPartySize + len(device)
		if c.byParty[device] == nil {
			c.byParty[device] = map[*knownCall]struct{}{}
		}
		c.byParty[device][k] = struct{}{}
	}
	k.parties[device] = heardParty{now, cmp.Or(state, before.state)}
}

// leave notes that a device is in a call no more; c.mu is held.
func (c *calls) leave(k *knownCall, device string) {
	if _, known := k.parties[device]; known {
		delete(k.parties, device)
		c.octets -= knownPartySize + len(device)
		delete(c.byParty[device], k)
		if len(c.byParty[device]) == 0 {
			delete(c.byParty, device)
		}
	}
}

// empty forgets who is in a call; c.mu is held.
func (c *calls) empty(k *knownCall) {
	for device := range k.parties {
		c.leave(k, device)
	}
}

// leaves reports whether a connection of a message is no more once the message is told.
func leaves(message, part string) bool {
	switch part {
	case "droppedConnection", "clearedCall", "primaryOldCall", "secondaryOldCall":
		return true
	case "connection":
		return message == uacsta.NameDivertedEvent
	}
	return false
}

// show puts the callIDs that clients see into a message of the link, whose devices are
// canonical, and takes in who is in which call.
func (c *calls) toClient(m *uacsta.Message, now time.Time) {
	connections := m.Connections()
	if len(connections) == 0 {
		return
	}
	name := m.Name()
	whole := name == uacsta.NameCallClearedEvent || name == uacsta.NameTransferedEvent || name == uacsta.NameConferencedEvent
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, leaving := range [2]bool{true, false} { // an old call may go on under its callID
		for _, x := range connections {
			link, part := x.CallID(), x.Name()
			if link == "" || leaves(name, part) != leaving {
				continue
			}
			if len(link) > maxCallID {
				x.SetCallID("0")
				continue
			}
			k := c.of(link)
			device := x.DeviceID()
			switch {
			case leaving && whole:
				c.empty(k)
			case leaving:
				c.leave(k, device)
			case device != "" && len(device) <= maxDevice && part != "oldConnection" && part != "oldConnectionID":
				c.enter(k, device, stateIn(m, x), now)
			}
			c.file(k)
			x.SetCallID(k.shown)
		}
	}
}

// stateIn returns the state that a message says a connection in it is in; "" where it does not.
func stateIn(m *uacsta.Message, x uacsta.Connection) uacsta.LocalConnectionState {
	switch m.Name() {
	case uacsta.NameSnapshotDeviceResponse, uacsta.NameSnapshotDeviceData:
		return uacsta.LocalConnectionState(x.Beside("localCallState/compoundCallState/localConnectionState"))
	case uacsta.NameSnapshotCallResponse, uacsta.NameSnapshotCallData:
		return uacsta.LocalConnectionState(x.Beside("localConnectionInfo"))
	}
	return callmodel.StateAfter(m.Name(), x.Name())
}

// hide puts the callIDs of the link into a message for it; it returns false where the link has
// no such call.
func (c *calls) toLink(m *uacsta.Message) bool {
	connections := m.Connections()
	if len(connections) == 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range connections {
		shown := x.CallID()
		if shown == "" {
			continue
		}
		k := c.byShown[shown]
		if k == nil {
			return false
		}
		x.SetCallID(k.link)
	}
	return true
}

// has reports whether clients know a callID of the link.
func (c *calls) has(shown string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byShown[shown] != nil
}

// dial notes what a client has dialled in a call.
func (c *calls) dial(shown, number string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.byShown[shown]; k != nil {
		k.dialled = number
	}
}

// dialMore adds digits to what clients have dialled in a call, and returns all of it. settle takes
// the answer: digits that were refused were not dialled, and after an answer that does not say
// whether they were, nobody knows the number any more. Until then, and where it is not known, it
// returns false: what is decided on would be another number than what the switch has.
func (c *calls) dialMore(shown, digits string) (all string, settle func(err error), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.byShown[shown]
	switch {
	case k == nil:
		return digits, func(error) {}, true
	case k.dialling:
		return "", nil, false
	}
	k.dialling = true
	all = k.dialled + digits
	return all, func(err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		k.dialling = unanswered(err)
		if err == nil {
			k.dialled = all
		}
	}, true
}

// unanswered reports whether an error leaves open what became of a request: it was not answered in
// time, or the link went down. Every other refusal says that it was not carried out.
func unanswered(err error) bool {
	var refusal *uacsta.Error
	switch {
	case err == nil:
		return false
	case !errors.As(err, &refusal):
		return true
	}
	return refusal.Category == uacsta.SystemResourceAvailability && (refusal.Value == uacsta.Generic || refusal.Value == uacsta.ResourceOutOfService)
}

// parties returns the devices that are known to be in a call.
func (c *calls) parties(shown string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.byShown[shown]; k != nil {
		return slices.Collect(maps.Keys(k.parties))
	}
	return nil
}

// only takes in a whole snapshot of a device: it is in no other calls.
func (c *calls) only(device string, snapshot *uacsta.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byParty[device]) == 0 {
		return
	}
	there := map[string]bool{}
	for _, x := range snapshot.Connections() {
		there[x.CallID()] = true
	}
	for k := range c.byParty[device] {
		if !there[k.shown] {
			c.leave(k, device)
			c.file(k)
		}
	}
}

// with returns the calls that a device is known to be in, as clients see them, and its states there.
func (c *calls) with(device string) map[string]uacsta.LocalConnectionState {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := map[string]uacsta.LocalConnectionState{}
	for k := range c.byParty[device] {
		in[k.shown] = k.parties[device].state
	}
	return in
}

// heard returns when a device was last heard of in a call; false where it is not known to be in
// it.
func (c *calls) heard(shown, device string) (at time.Time, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.byShown[shown]; k != nil {
		var p heardParty
		p, known = k.parties[device]
		at = p.at
	}
	return at, known
}

// forget forgets who is in which call: the link is down, and calls end and begin meanwhile.
// CallIDs keep their numbers.
func (c *calls) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.byLink {
		c.empty(k)
		c.file(k)
	}
}
