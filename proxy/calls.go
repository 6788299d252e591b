package proxy

import (
	"cmp"
	"container/list"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// calls records what the core knows of the calls at one link: the callID under which clients see each,
// and the devices in it. It learns from events, responses and snapshots. A callID of the link keeps
// its number for clients as long as the table has room. The calls that were reported longest ago are
// dropped first, cleared ones before others.
type calls struct {
	refs   *references
	static func(device string) string // the device that has connections with a canonical identifier

	mu       lock
	byLink   map[string]*knownCall
	byDevice map[string]map[*knownCall]struct{} // by static device
	byShown  map[string]*knownCall
	living   list.List // of *knownCall, the most recently reported first
	over     list.List
	octets   int // memory of all calls
	most     int // limit of octets
	began    int64
}

// knownCall is one call.
type knownCall struct {
	link, shown string
	parties     map[string]heardParty // by canonical device, of connections
	dialled     string                // what clients have dialled in it so far
	dialling    bool                  // further digits are out: the response settles the number
	place       *list.Element
	in          *list.List
}

// heardParty is the last report about a device in a call.
type heardParty struct {
	at    time.Time
	state uacsta.LocalConnectionState // callmodel.Unclear if not reported
}

const (
	maxLiving = 100000
	maxOver   = 10000
	maxKnown  = 16   // recorded devices of one call; for others the link is asked
	maxCallID = 1024 // octets; clients cannot refer to a longer one
	maxDevice = 255  // octets

	maxCallOctets = 96 << 20 // memory of all calls of a link
	// Their size without their texts.
	knownCallSize  = 600
	knownPartySize = 250
)

func newCalls(refs *references, static func(string) string) *calls {
	return &calls{mu: lock{rank: ofLife}, refs: refs, static: static, most: maxCallOctets, byLink: map[string]*knownCall{}, byDevice: map[string]map[*knownCall]struct{}{}, byShown: map[string]*knownCall{}}
}

// of returns the call with a callID of the link, and adds it if necessary. The caller holds c.mu.
func (c *calls) of(link string) *knownCall {
	k := c.byLink[link]
	if k == nil {
		link = strings.Clone(link) // the original would keep its whole message in memory
		k = &knownCall{link: link, shown: c.refs.next(), parties: map[string]heardParty{}}
		c.byLink[link], c.byShown[k.shown] = k, k
		c.octets += knownCallSize + len(link)
		c.began++
	}
	c.file(k)
	return k
}

// counts returns how many calls have parties, and how many calls there have been.
func (c *calls) counts() (living int, began int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.living.Len(), c.began
}

// file moves a call to the front of its list and drops calls that exceed the limits. The caller holds
// c.mu.
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
			c.drop(c.living.Back()) // it is not k: no call is that large
		}
	}
}

// drop removes a call. The caller holds c.mu.
func (c *calls) drop(place *list.Element) {
	k := place.Value.(*knownCall)
	c.empty(k)
	k.in.Remove(place)
	delete(c.byLink, k.link)
	delete(c.byShown, k.shown)
	c.octets -= knownCallSize + len(k.link)
}

// enter records that a device is in a call, and its state; "" keeps the last one. The caller holds
// c.mu.
func (c *calls) enter(k *knownCall, device string, state uacsta.LocalConnectionState, now time.Time) {
	before, known := k.parties[device]
	if !known {
		if len(k.parties) == maxKnown {
			return
		}
		before.state = callmodel.Unclear
		device = strings.Clone(device)
		c.octets += knownPartySize + len(device)
		of := c.static(device)
		if c.byDevice[of] == nil {
			c.byDevice[of] = map[*knownCall]struct{}{}
		}
		c.byDevice[of][k] = struct{}{}
	}
	k.parties[device] = heardParty{now, cmp.Or(state, before.state)}
}

// leave records that a device has left a call. The caller holds c.mu.
func (c *calls) leave(k *knownCall, device string) {
	if _, known := k.parties[device]; !known {
		return
	}
	delete(k.parties, device)
	c.octets -= knownPartySize + len(device)
	of := c.static(device)
	for range c.partiesOf(of, k) { // it has another one
		return
	}
	delete(c.byDevice[of], k)
	if len(c.byDevice[of]) == 0 {
		delete(c.byDevice, of)
	}
}

// partiesOf returns the connections of a static device in a call. The caller holds c.mu.
func (c *calls) partiesOf(device string, k *knownCall) iter.Seq[string] {
	return func(yield func(string) bool) {
		for party := range k.parties {
			if c.static(party) == device && !yield(party) {
				return
			}
		}
	}
}

// empty removes all devices from a call. The caller holds c.mu.
func (c *calls) empty(k *knownCall) {
	for device := range k.parties {
		c.leave(k, device)
	}
}

// leaves reports whether a message says that one of its connections no longer exists.
func leaves(message, part string) bool {
	switch part {
	case "droppedConnection", "clearedCall", "primaryOldCall", "secondaryOldCall":
		return true
	case "connection":
		return message == uacsta.NameDivertedEvent
	}
	return false
}

// toClient replaces the callIDs of a message of the link by those that clients see, and records who is
// in which call. The devices of the message are canonical already.
func (c *calls) toClient(m *uacsta.Message, now time.Time) {
	connections := m.Connections()
	if len(connections) == 0 {
		return
	}
	name := m.Name()
	whole := name == uacsta.NameCallClearedEvent || name == uacsta.NameTransferedEvent || name == uacsta.NameConferencedEvent
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, leaving := range [2]bool{true, false} { // leaving first: an old call may continue under its callID
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

// stateIn returns the state that a message reports for one of its connections, or "".
func stateIn(m *uacsta.Message, x uacsta.Connection) uacsta.LocalConnectionState {
	switch m.Name() {
	case uacsta.NameSnapshotDeviceResponse, uacsta.NameSnapshotDeviceData:
		return uacsta.LocalConnectionState(x.Beside("localCallState/compoundCallState/localConnectionState"))
	case uacsta.NameSnapshotCallResponse, uacsta.NameSnapshotCallData:
		return uacsta.LocalConnectionState(x.Beside("localConnectionInfo"))
	}
	return callmodel.StateAfter(m.Name(), x.Name())
}

// toLink replaces the callIDs of a request by those of the link. It returns false if the link has no
// such call.
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

// link returns the callID of the link for one that clients see.
func (c *calls) link(shown string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.byShown[shown]; k != nil {
		return k.link, true
	}
	return "", false
}

// shown returns the callID that clients see for one of the link.
func (c *calls) shown(link string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of(link).shown
}

// other returns the callID of the link for one that clients see, or the reverse; "" if the call is not known.
func (c *calls) other(callID string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.byShown[callID]; k != nil {
		return k.link
	}
	if k := c.byLink[callID]; k != nil {
		return k.shown
	}
	return ""
}

// has reports whether clients know a callID of the link.
func (c *calls) has(shown string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byShown[shown] != nil
}

// dial records what a client has dialled in a call.
func (c *calls) dial(shown, number string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.byShown[shown]; k != nil {
		k.dialled = number
	}
}

// dialMore appends digits to what clients have dialled in a call and returns the whole number. settle
// takes the result: refused digits were not dialled, and without a response the number is unknown from
// then on. dialMore returns false while a result is missing or the number is unknown: policy would
// decide on another number than the switch has.
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

// unanswered reports whether an error leaves open if the request was carried out: it timed out, or the
// link went down. Any other refusal means that it was not.
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

// only applies a whole snapshot of a device: the device has no other connections.
func (c *calls) only(device string, snapshot *uacsta.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byDevice[device]) == 0 {
		return
	}
	there := map[string][]string{}
	for _, x := range snapshot.Connections() {
		there[x.CallID()] = append(there[x.CallID()], x.DeviceID())
	}
	own := func(listed string) bool { return c.static(listed) == device }
	for k := range c.byDevice[device] {
		listed := there[k.shown]
		for one := range c.partiesOf(device, k) {
			if !slices.Contains(listed, one) && (len(listed) == 0 || slices.ContainsFunc(listed, own)) {
				c.leave(k, one)
				c.file(k)
			}
		}
	}
}

// with returns the connections that a device is known to have, with the callIDs of clients, and the state of each.
func (c *calls) with(device string) map[party]callmodel.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := map[party]callmodel.State{}
	for k := range c.byDevice[device] {
		for one := range c.partiesOf(device, k) {
			known[party{Call: k.shown, Device: one}] = k.parties[one].state
		}
	}
	return known
}

// heard returns when a device was last reported in a call, and whether it is known to be in it.
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

// forget removes all devices from all calls because the link is down. CallIDs keep their numbers.
func (c *calls) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.byLink {
		c.empty(k)
		c.file(k)
	}
}
