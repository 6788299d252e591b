package events

import (
	"container/list"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// line is the calls of one device as its monitor reports them. Its size is limited even if calls never seem to end: the
// call without news for longest is dropped.
type line struct {
	device string // canonical
	own    string // as connections have it
	calls  map[string]*record
	recent list.List // of *record, the most recently reported first
}

// record is one call at one device.
type record struct {
	id               string
	state            string
	caller, called   string
	redirected       string
	correlator, user string
	since            time.Time
	parties          []party
	more             bool // parties for which there was no room
	joined           bool // by a transfer or conference: the caller is ours to know
	place            *list.Element
}

// party is a connection of a call.
type party struct {
	device, number string // number: at the far end of a trunk; "" if it is the device
	state          string
}

// name returns the number by which others know a party.
func (p party) name() string {
	if p.number != "" {
		return p.number
	}
	return p.device
}

const (
	maxCalls   = 1000 // of a device
	maxParties = 100  // of a call
	null       = string(uacsta.Null)
)

func newLine(device, own string) *line {
	return &line{device: device, own: own, calls: map[string]*record{}}
}

// open returns the record of a call, which it opens if there is none.
func (l *line) open(call string, at time.Time) *record {
	r := l.calls[call]
	if r == nil {
		if len(l.calls) >= maxCalls {
			l.drop(l.recent.Back().Value.(*record).id)
		}
		r = &record{id: strings.Clone(call), since: at}
		r.place = l.recent.PushFront(r)
		l.calls[r.id] = r
	}
	l.recent.MoveToFront(r.place)
	return r
}

// drop removes a call.
func (l *line) drop(call string) {
	if r := l.calls[call]; r != nil {
		l.recent.Remove(r.place)
		delete(l.calls, call)
	}
}

// stateOf returns the state of a connection, or "".
func (l *line) stateOf(id callmodel.ID) callmodel.State {
	if r := l.calls[id.Call]; r != nil {
		if i := r.at(id.Device); i >= 0 {
			return callmodel.State(r.parties[i].state)
		}
	}
	return ""
}

// apply applies an event, and returns the call that it is about, as it is after the event; nil if it is about none.
func (l *line) apply(ev *uacsta.Message, at time.Time) *record {
	changes := callmodel.Changes(ev, l.stateOf)
	joins := ev.Name() == uacsta.NameTransferedEvent || ev.Name() == uacsta.NameConferencedEvent
	id := l.callOf(ev, changes, joins)
	if id == "" {
		return nil
	}
	var r *record
	switch {
	case joins:
		r = l.join(ev, id, changes, at)
	case l.calls[id] == nil && !callmodel.Concerns(ev):
		r = &record{id: id, since: at} // the call may have ended; the event says what it says
		r.learn(ev)
	default:
		r = l.open(id, at)
		r.learn(ev)
		for _, c := range changes {
			r.change(c, l.own)
		}
	}
	l.settle(r, ev, changes)
	return r
}

// settle brings the device's own state up to date, and removes a call that the device has left.
func (l *line) settle(r *record, ev *uacsta.Message, changes []callmodel.Change) {
	own := r.at(l.own)
	switch local := ev.Text("localConnectionInfo"); {
	case local != "":
		r.state = strings.Clone(local)
		if own >= 0 && local != null {
			r.parties[own].state = r.state
		}
	case own >= 0:
		r.state = r.parties[own].state
	case slices.ContainsFunc(changes, func(c callmodel.Change) bool { return c.Device == l.own || c.Device == "" && c.Call == r.id }):
		r.state = null
	}
	if r.state == null && l.calls[r.id] == r {
		l.drop(r.id)
	}
}

// callOf returns the call that an event is about.
func (l *line) callOf(ev *uacsta.Message, changes []callmodel.Change, joins bool) string {
	if joins {
		if id := ev.Text("primaryOldCall/callID"); ev.Text("localConnectionInfo") == null || ev.Text("transferringDevice/deviceIdentifier") == l.own {
			return id
		}
		id := ""
		for _, c := range changes {
			if c.Device != "" && (id == "" || c.Device == l.own) {
				id = c.Call
			}
		}
		return id
	}
	if len(changes) > 0 {
		return changes[0].Call
	}
	for _, c := range ev.Connections() {
		if id := c.CallID(); id != "" {
			return id
		}
	}
	return ""
}

// join makes one record of the calls that a transfer or conference joins. The device that transfers leaves: its record
// says what was.
func (l *line) join(ev *uacsta.Message, id string, changes []callmodel.Change, at time.Time) *record {
	primary, secondary := ev.Text("primaryOldCall/callID"), ev.Text("secondaryOldCall/callID")
	var was *record
	for _, old := range []string{primary, secondary, id} {
		if r := l.calls[old]; r != nil && was == nil {
			was = r
		}
	}
	if was == nil {
		was = &record{since: at}
	}
	before := *was
	for _, old := range []string{primary, secondary} {
		if old != id {
			l.drop(old)
		}
	}
	r := l.open(id, before.since)
	r.caller, r.called, r.redirected, r.correlator, r.user, r.state = before.caller, before.called, before.redirected, before.correlator, before.user, before.state
	r.joined = true
	r.learn(ev)
	if ev.Text("localConnectionInfo") == null {
		return r
	}
	r.parties = r.parties[:0]
	for _, c := range changes {
		if c.Device != "" && c.State != "" {
			r.change(c, l.own)
		}
	}
	for _, c := range ev.Connections() {
		if i := r.at(c.DeviceID()); i >= 0 && c.Name() == "newConnection" {
			if number := c.Beside("endpoint/deviceID"); number != r.parties[i].device {
				r.parties[i].number = strings.Clone(number)
			}
		}
	}
	if !r.has(r.caller) {
		r.succeed(l.own)
	}
	return r
}

// learn takes what an event says of the call as a whole.
func (r *record) learn(ev *uacsta.Message) {
	set := func(p *string, path string) {
		if text := ev.Text(path); text != "" && text != *p {
			*p = strings.Clone(text)
		}
	}
	if r.caller == "" || !r.joined {
		set(&r.caller, "callingDevice/deviceIdentifier")
	}
	if r.called == "" || !r.joined {
		set(&r.called, "calledDevice/deviceIdentifier")
	}
	set(&r.redirected, "lastRedirectionDevice/numberDialed")
	set(&r.correlator, "correlatorData/string")
	set(&r.user, "userData/string")
}

// change applies one change of an event.
func (r *record) change(c callmodel.Change, own string) {
	i := r.at(c.Device)
	switch {
	case c.Device == "":
		r.parties = nil
	case c.State == "" && i >= 0:
		left := r.parties[i]
		r.parties = slices.Delete(r.parties, i, i+1)
		if r.caller != own && (r.caller == left.device || r.caller == left.number) && c.Device != own {
			r.succeed(own)
		}
	case c.State == "":
	case i >= 0:
		r.parties[i].state = strings.Clone(string(c.State))
	case len(r.parties) < maxParties:
		r.parties = append(r.parties, party{device: strings.Clone(c.Device), state: strings.Clone(string(c.State))})
	default:
		r.more = true
	}
}

// succeed makes another party the caller, after the caller has left a call that goes on.
func (r *record) succeed(own string) {
	for _, p := range r.parties {
		if p.device != own {
			r.caller, r.joined = p.name(), true
			return
		}
	}
}

// has reports whether a number is that of a party.
func (r *record) has(number string) bool {
	return number != "" && (r.more || slices.ContainsFunc(r.parties, func(p party) bool { return p.device == number || p.number == number }))
}

// at returns the place of a device among the parties, or -1.
func (r *record) at(device string) int {
	return slices.IndexFunc(r.parties, func(p party) bool { return p.device == device })
}

// public returns the call as subscribers see it.
func (r *record) public() Call {
	c := Call{
		Call: r.id, State: r.state, Caller: r.caller, Called: r.called, LastRedirection: r.redirected, Since: stamp(r.since),
		Correlator: Text(r.correlator), UserData: Text(r.user), Parties: make([]Party, 0, len(r.parties)),
	}
	for _, p := range r.parties {
		c.Parties = append(c.Parties, Party{p.name(), p.state})
	}
	return c
}

// list returns the calls, the oldest first.
func (l *line) list() []Call {
	calls := make([]Call, 0, len(l.calls))
	for _, r := range l.calls {
		calls = append(calls, r.public())
	}
	slices.SortFunc(calls, func(a, b Call) int {
		if a.Since != b.Since {
			return strings.Compare(a.Since, b.Since)
		}
		return strings.Compare(a.Call, b.Call)
	})
	return calls
}
