package softswitch

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var exhaustive = flag.Bool("exhaustive", false, "TestModel walks every state; it takes some minutes")

// TestModel walks every state that up to three extensions can reach with up to two
// calls, and tries every service on every connection in each of them. A state that
// differs from another only in which extension is which is the same state. In each
// it holds that
//   - the events are steps of the call model (ECMA-269 connection states), every
//     monitor concerned gets each of them, in the same order, with the right
//     local connection state;
//   - what a client computes from the events alone is what a snapshot says;
//   - a service is permitted exactly if it is accepted, and a refusal changes nothing;
//   - when everybody has hung up, nothing is left.
func TestModel(t *testing.T) {
	limit := 600
	switch {
	case *exhaustive:
		limit = math.MaxInt
	case raceEnabled || testing.Short():
		limit = 200
	}
	for _, tt := range []struct {
		name    string
		prepare func(*Switch)
		extra   func(*Config)
		booked  int
		twice   bool // the trunk is in one call twice
		most    int  // states; 0: all
	}{
		{name: "extensions"},
		{name: "two extensions and a call back", booked: 1, extra: func(cfg *Config) {
			cfg.Extensions = slices.Delete(slices.Clone(cfg.Extensions), 2, 3)
			cfg.PickupGroups = nil
		}},
		{name: "forwarding", prepare: func(s *Switch) {
			*s.devices["102"].forwarding[uacsta.ForwardBusy] = setting{on: true, to: "103"}
			*s.devices["103"].forwarding[uacsta.ForwardImmediate] = setting{on: true, to: "101"}
		}},
		{name: "do not disturb", prepare: func(s *Switch) { s.devices["102"].dnd = doNotDisturb{on: true} }},
		{name: "queue and trunk", most: 30_000 /* the nearest: all take longer than the other worlds together */, extra: func(cfg *Config) {
			cfg.Extensions = slices.Delete(slices.Clone(cfg.Extensions), 2, 3)
			cfg.PickupGroups = nil
			cfg.ParkDevices = nil
			cfg.Queues = []Queue{{Number: "300", MaxCalls: 1, AnswerTime: time.Hour, Overflow: "200"}}
			cfg.HuntGroups = []HuntGroup{{Number: "200", Members: []string{"101", "102"}, Order: Cascade, Rings: 1}}
			cfg.Trunks = []Trunk{{Number: "900", Prefixes: []string{"0"}, Inward: map[string]string{"5": "300"}, Lines: 1}}
		}, prepare: func(s *Switch) {
			group := s.devices["300"]
			a := &agent{id: "7", device: s.devices["102"], group: group, state: uacsta.AgentReady}
			a.device.agents, group.queue.agents = []*agent{a}, []*agent{a}
		}},
		{name: "one trunk twice", twice: true, extra: func(cfg *Config) {
			cfg.Extensions = slices.Delete(slices.Clone(cfg.Extensions), 2, 3)
			cfg.PickupGroups, cfg.ParkDevices = nil, nil
			cfg.Trunks = []Trunk{{Number: "900", Prefixes: []string{"0"}, Inward: map[string]string{"5": "101"}, Lines: 2}}
		}, prepare: func(s *Switch) {
			*s.devices["101"].forwarding[uacsta.ForwardBusy] = setting{on: true, to: "0170"}
		}},
		{name: "real telephones", extra: func(cfg *Config) {
			cfg.Extensions = slices.Delete(slices.Clone(cfg.Extensions), 2, 3)
			cfg.Extensions[0].Real, cfg.Extensions[1].Real = true, true
			cfg.PickupGroups, cfg.ParkDevices = []PickupGroup{{Number: "500", Members: []string{"101", "102", "109"}}}, nil
			cfg.Trunks = []Trunk{{Number: "900", Prefixes: []string{"0"}, Lines: 1, Real: true}}
		}, prepare: func(s *Switch) {
			for _, number := range []string{"101", "102", "900"} {
				s.devices[number].away, s.devices[number].talks = false, true
			}
		}},
		{name: "one line each", extra: func(cfg *Config) {
			cfg.Extensions = slices.Clone(cfg.Extensions)
			for i := range cfg.Extensions {
				cfg.Extensions[i].Lines = 1
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := &checker{t: t, offers: map[offer]bool{}, keys: map[string]string{}, prepare: tt.prepare, symmetric: tt.prepare == nil, booked: tt.booked, cfg: Config{
				Extensions:   []Extension{{Number: "101", Outside: []string{"0"}}, {Number: "102"}, {Number: "103"}, {Number: "109", Outside: []string{"0"}}},
				ParkDevices:  []ParkDevice{{Number: "400"}},
				PickupGroups: []PickupGroup{{Number: "500", Members: []string{"101", "102", "103", "109"}}},
				RingCycle:    time.Hour, AlertTime: time.Hour, PromptTime: time.Hour, FailTime: time.Hour, ParkTime: time.Hour,
			}}
			if tt.extra != nil {
				tt.extra(&c.cfg)
			}
			c.walk(min(limit, cmp.Or(tt.most, limit)))
			t.Logf("%d states, %d with two lines of a trunk in one call, %d services accepted, %d refused", c.states, c.twice, c.accepted, c.refused)
			if c.states < 100 || c.accepted < c.states || tt.twice != (c.twice > 0) {
				t.Error("that is not all")
			}
		})
	}
}

// operation is a service with its arguments.
type operation struct {
	name string
	bit  string // of servicesPermitted; "" for services that are not about a connection
	on   []uacsta.ConnectionID
	do   func(*Switch) (any, error)
}

// picture is what a client knows of the calls: the state of each connection.
type picture map[party]uacsta.LocalConnectionState

// party is a connection as a map key.
type party = callmodel.ID

func partyOf(id uacsta.ConnectionID) party { return party{Call: id.CallID, Device: id.DeviceID.ID} }

// idOf is the reverse of partyOf.
func idOf(s *Switch, p party) uacsta.ConnectionID {
	id := uacsta.Conn(p.Call, p.Device)
	if s.StaticDevice(p.Device) != "" {
		id.DeviceID = uacsta.Typed(p.Device, uacsta.Dynamic)
	}
	return id
}

// owner is the device that has a connection.
func owner(s *Switch, p party) string { return cmp.Or(s.StaticDevice(p.Device), p.Device) }

// local is the state of a device in a call: that of its first connection there.
func local(s *Switch, known picture, call, device string) uacsta.LocalConnectionState {
	first := party{}
	for id := range known {
		if id.Call == call && owner(s, id) == device && (first == party{} || id.Device == device || first.Device != device && id.Compare(first) < 0) {
			first = id
		}
	}
	return cmp.Or(known[first], uacsta.Null)
}

// node is a state: how to get there, and what a client that watched thinks of it.
type node struct {
	path  []operation
	known picture
	key   string
}

type checker struct {
	t         *testing.T
	cfg       Config
	prepare   func(*Switch)
	symmetric bool
	booked    int // call backs at a time
	offers    map[offer]bool
	keys      map[string]string // what key has returned

	states, twice, accepted, refused int // twice: states with two lines of a trunk in one call
	events                           []*uacsta.Message
	refs                             map[string]string
}

// Ready, Event and Request implement proxy.Upcalls.
func (c *checker) Ready() {}

func (c *checker) Request(*uacsta.Message) error { return nil }

func (c *checker) Event(ev *uacsta.Message) { c.events = append(c.events, ev) }

func (c *checker) walk(limit int) {
	seen := map[string]bool{}
	open := []node{{known: picture{}}}
	seen[c.key(c.replay(node{}))] = true
	for len(open) > 0 && c.states < limit && !c.t.Failed() {
		n := open[0]
		open = open[1:]
		c.states++
		for _, next := range c.tryAll(n) {
			if !seen[next.key] {
				seen[next.key] = true
				open = append(open, next)
			}
		}
	}
}

// offer is what a device has, in a state of one of its connections.
type offer struct {
	device    string
	permitted uacsta.ServicesPermitted
}

// offered checks that the device has each service that its connection permits.
func (c *checker) offered(s *Switch, x *connection, n node) {
	o := offer{x.device.number, *x.permitted()}
	if c.offers[o] {
		return
	}
	c.offers[o] = true
	has := s.Features(o.device).Services
	for name := range handlers {
		if o.permitted.Has(name) && !slices.Contains(has, name) {
			c.t.Errorf("%s: %s permits %s, which it does not have", n, o.device, name)
		}
	}
}

// replay creates a switch in a state. There are no monitors yet.
func (c *checker) replay(n node) *Switch {
	s, err := New(c.cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	s.prefix, s.core.up, s.library = "x", c, shelf{}
	if c.prepare != nil {
		c.prepare(s)
	}
	for _, op := range n.path {
		if err := c.apply(s, op); err != nil {
			c.t.Fatalf("%s: %v", n, err)
		}
	}
	return s
}

func (c *checker) apply(s *Switch, op operation) error {
	defer s.core.outbox.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := op.do(s); err != nil {
		s.pending = nil
		return err
	}
	s.flush()
	return nil
}

// watch starts a monitor on each device.
func (c *checker) watch(s *Switch) {
	c.refs, c.events = map[string]string{}, nil
	for i, d := range s.order {
		m := &monitor{sw: s, ref: fmt.Sprint(i), device: d}
		s.monitors[m.ref] = m
		d.monitors = []*monitor{m}
		c.refs[m.ref] = d.number
	}
}

func (n node) String() string {
	var steps []string
	for _, op := range n.path {
		steps = append(steps, op.String())
	}
	return strings.Join(steps, ", ")
}

// step is an operation in a state. It becomes a text where one is needed: there are millions.
type step struct {
	from node
	op   operation
}

func (st step) String() string { return st.from.String() + " + " + st.op.String() }

func (op operation) String() string {
	s := op.name
	for _, id := range op.on {
		s += " " + id.CallID + "/" + id.DeviceID.ID
	}
	return s
}

// tryAll tries every service in a state and returns the states it leads to.
func (c *checker) tryAll(n node) []node {
	s := c.replay(n)
	c.watch(s)
	c.compare(n, s, n.known)
	c.hangUp(n)
	for _, d := range s.order {
		if d.trunk == nil {
			continue
		}
		if d.inUse() > d.lines {
			c.t.Errorf("%s: %d lines of %s are in use, which has %d", n, d.inUse(), d.number, d.lines)
		}
		lines := map[*call]int{}
		for _, x := range d.connections {
			if !x.outside() {
				lines[x.call]++
			}
		}
		if slices.ContainsFunc(slices.Collect(maps.Values(lines)), func(n int) bool { return n > 1 }) {
			c.twice++
		}
	}
	permitted := map[party]uacsta.ServicesPermitted{}
	works := map[party]map[string]bool{}
	for _, call := range s.calls {
		for _, x := range call.connections {
			permitted[partyOf(x.id())] = *x.permitted()
			c.offered(s, x, n)
			works[partyOf(x.id())] = map[string]bool{}
		}
	}
	before, exactly := c.key(s), c.exactly(s)
	var next []node
	for _, op := range c.operations(s) {
		what := step{n, op}
		if err := c.apply(s, op); err != nil {
			c.refused++
			if len(c.events) > 0 || c.exactly(s) != exactly {
				c.t.Errorf("%s: refused with %v, but %d events: %s", what, err, len(c.events), c.key(s))
			}
			continue
		}
		c.accepted++
		for _, id := range op.on {
			works[partyOf(id)][op.bit] = true
		}
		after := node{path: append(slices.Clip(n.path), op), known: maps.Clone(n.known), key: c.key(s)}
		c.follow(what, s, after.known)
		c.compare(what, s, after.known)
		c.events = nil
		if after.key == before && maps.Equal(after.known, n.known) { // still the same
			continue
		}
		if len(s.calls) <= 2 && len(s.booked) <= c.booked && len(s.devices["109"].connections) == 0 {
			next = append(next, after)
		}
		s.stopTimers()
		s = c.replay(n)
		c.watch(s)
	}
	s.stopTimers()
	for id, p := range permitted {
		for bit, is := range bits(p) {
			if tried := is || works[id][bit]; tried && is != works[id][bit] {
				c.t.Errorf("%s: %s on %v: permitted %v, accepted %v", n, bit, id, is, works[id][bit])
			}
		}
	}
	return next
}

// bits lists what servicesPermitted says, by the name of the field.
func bits(p uacsta.ServicesPermitted) map[string]bool {
	all := map[string]bool{}
	for _, group := range []any{p.CallControlServices, p.CallAssociatedServices, p.VoiceServices} {
		v := reflect.ValueOf(group)
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.Bool {
				all[v.Type().Field(i).Name] = v.Field(i).Bool()
			}
		}
	}
	return all
}

// unused are steps of the call model that the switch does not take.
var unused = map[string][]uacsta.LocalConnectionState{
	"DigitsDialedEvent": {uacsta.Initiated},
	"OfferedEvent":      {""},
	"BridgedEvent":      {"", uacsta.Alerting, uacsta.Connected, uacsta.Hold},
	"DeliveredEvent":    {uacsta.Alerting, uacsta.Fail},
	"QueuedEvent":       {uacsta.Queued},
	"FailedEvent":       {uacsta.Alerting},
}

// declined are the states of a call that a real telephone can decline.
var declined = []uacsta.LocalConnectionState{uacsta.Alerting, uacsta.Queued}

// takes reports whether the switch may take a step of the call model. Its trunk is connected all
// the time.
func takes(event string, id party, from, to uacsta.LocalConnectionState) bool {
	if event == "DeliveredEvent" || event == "EstablishedEvent" {
		if trunk := id.Device == "900" || plain(id.Device) != id.Device; trunk != (from == uacsta.Connected) {
			return false
		}
	}
	return callmodel.Permits(event, from, to) && !slices.Contains(unused[event], from)
}

// follow computes a client's picture from the events, and checks each of them.
func (c *checker) follow(what fmt.Stringer, s *Switch, known picture) {
	events := c.events
	for len(events) > 0 {
		ev := events[0]
		if s.devices[ev.Text("device/deviceIdentifier")] != nil && !strings.HasPrefix(ev.Name(), "CallInformation") || ev.Name() == "CallBackEvent" || strings.HasPrefix(ev.Name(), "Agent") {
			events = events[1:] // of a device
			continue
		}
		before := maps.Clone(known)
		subject := c.step(what, s, ev, known)
		receivers := map[string]bool{}
		for len(events) > 0 && same(ev, events[0]) {
			d := c.refs[events[0].CrossRef()]
			if receivers[d] {
				break
			}
			receivers[d] = true
			local := local(s, known, subject.Call, d)
			if got := events[0].Text("localConnectionInfo"); got != string(local) && !slices.Contains(stateless, ev.Name()) {
				c.t.Errorf("%s: %s %v at %s: localConnectionInfo %s, want %s", what, ev.Name(), subject, d, got, local)
			}
			events = events[1:]
		}
		for id := range known {
			sends := id == subject && ev.Name() == uacsta.NameDtmfDetectedEvent // nobody detects the digits that they send
			if id.Call == subject.Call && !receivers[owner(s, id)] && !sends {
				c.t.Errorf("%s: %s %v did not reach %s", what, ev.Name(), subject, id.Device)
			}
		}
		for id := range before {
			_, still := known[id]
			if !still && !receivers[owner(s, id)] {
				c.t.Errorf("%s: %s %v ended the connection of %s, who was not told", what, ev.Name(), subject, id.Device)
			}
		}
	}
}

// stateless are the events that change no connection, and do not have the state of one.
var stateless = []string{
	uacsta.NameCallInformationEvent, uacsta.NameDigitsGeneratedEvent, uacsta.NameDtmfDetectedEvent, uacsta.NamePlayEvent, uacsta.NameRecordEvent, uacsta.NameStopEvent,
}

// same reports whether two events tell the same, on two monitors.
func same(a, b *uacsta.Message) bool {
	return a.Name() == b.Name() && a.Text("cause") == b.Text("cause") && slices.Equal(connectionsOf(a), connectionsOf(b))
}

func connectionsOf(ev *uacsta.Message) []party {
	var ids []party
	for _, c := range ev.Connections() {
		if !strings.Contains(c.Path(), "istory") {
			ids = append(ids, party{Call: c.CallID(), Device: c.DeviceID()})
		}
	}
	return ids
}

// step takes one event into the picture and returns the connection that it is
// about; of Transfered and Conferenced, one in the resulting call.
func (c *checker) step(what fmt.Stringer, s *Switch, ev *uacsta.Message, known picture) party {
	id := connectionsOf(ev)[0]
	changes := callmodel.Changes(ev, func(id party) uacsta.LocalConnectionState { return known[id] })
	switch name := ev.Name(); {
	case slices.Contains(stateless, name):
	case name == uacsta.NameTransferedEvent || name == uacsta.NameConferencedEvent:
		id = changes[len(changes)-1].ID
		for _, conn := range ev.Connections() {
			if old := (party{Call: conn.CallID(), Device: conn.DeviceID()}); strings.HasSuffix(conn.Path(), "oldConnection") && known[old] == "" {
				c.t.Errorf("%s: %s of %v, which there is not", what, ev.Name(), old)
			}
		}
	default:
		declines := s.devices[owner(s, id)].real && ev.Name() == uacsta.NameFailedEvent && slices.Contains(declined, known[id])
		if len(changes) != 1 || changes[0].ID != id || !declines && !takes(ev.Name(), id, known[id], changes[0].State) {
			c.t.Errorf("%s: %s of %v, which is %q", what, ev.Name(), id, known[id])
		}
	}
	for _, change := range changes {
		switch {
		case change.Device == "":
			maps.DeleteFunc(known, func(old party, _ uacsta.LocalConnectionState) bool { return old.Call == change.Call })
		case change.State == "":
			delete(known, change.ID)
		default:
			known[change.ID] = change.State
		}
	}
	return id
}

// compare compares a client's picture with the snapshots.
func (c *checker) compare(what fmt.Stringer, s *Switch, known picture) {
	actual := picture{}
	for _, d := range s.order {
		res, err := s.snapshotDevice(&uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(d.number)})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, info := range res.(uacsta.SnapshotDeviceResponse).CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo {
			actual[partyOf(info.ConnectionIdentifier)] = info.LocalCallState.CompoundCallState[0]
		}
	}
	if !maps.Equal(known, actual) {
		c.t.Errorf("%s: events say %v, snapshots %v", what, known, actual)
	}
	for id := range actual {
		res, err := s.snapshotCall(&uacsta.SnapshotCall{SnapshotObject: idOf(s, id)})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, info := range res.(uacsta.SnapshotCallResponse).CrossRefIDorSnapshotData.SnapshotData.SnapshotCallResponseInfo {
			if actual[partyOf(*info.CallIdentifier)] != info.LocalConnectionInfo {
				c.t.Errorf("%s: snapshot of call: %v is %s", what, partyOf(*info.CallIdentifier), info.LocalConnectionInfo)
			}
		}
	}
}

// hangUp checks that nothing is left when everybody hangs up.
func (c *checker) hangUp(n node) {
	s := c.replay(n)
	defer s.stopTimers()
	s.booked = nil
	for range 100 {
		for _, d := range s.order {
			if len(d.connections) > 0 {
				id := d.connections[0].id()
				if err := c.apply(s, operation{do: func(s *Switch) (any, error) {
					return s.clearConnection(&uacsta.ClearConnection{ConnectionToBeCleared: id})
				}}); err != nil {
					c.t.Errorf("%s: %v", n, err)
				}
			}
		}
	}
	for _, d := range s.order {
		if p, ok := d.terminal.(*virtualPhone); len(d.connections) > 0 || ok && len(p.ringing) > 0 {
			c.t.Errorf("%s: %s still has %d connections", n, d.number, len(d.connections))
		}
	}
	if len(s.calls) > 0 || len(s.freed) > 0 {
		c.t.Errorf("%s: %d calls are left", n, len(s.calls))
	}
}

// key names a state, the same for all that differ only in callIDs, and in which
// extension is which where they are alike.
func (c *checker) key(s *Switch) string {
	exactly := c.exactly(s)
	if !c.symmetric {
		return exactly
	}
	if c.keys[exactly] == "" {
		best := exactly
		for _, n := range [][]string{{"101", "103", "102"}, {"102", "101", "103"}, {"102", "103", "101"}, {"103", "101", "102"}, {"103", "102", "101"}} {
			as := map[string]string{"101": n[0], "102": n[1], "103": n[2]}
			best = min(best, c.signature(s, func(number string) string { return cmp.Or(as[number], number) }))
		}
		c.keys[exactly] = best
	}
	return c.keys[exactly]
}

// exactly names a state, the same for all that differ only in callIDs.
func (c *checker) exactly(s *Switch) string {
	return c.signature(s, func(number string) string { return number })
}

func (c *checker) signature(s *Switch, name func(string) string) string {
	parts := make([]string, 0, len(s.calls))
	var text []byte
	write := func(words ...string) {
		for _, w := range words {
			text = append(text, w...)
		}
	}
	for _, call := range s.calls {
		text = text[:0]
		if back := call.returning; back != nil {
			write("returning to ", name(back.to.number), ":")
		}
		if p := call.predictive; p != nil {
			write("predictive ", name(p.own.device.number), strconv.FormatBool(p.waits), " ", strconv.FormatBool(p.prompt), " ", string(p.condition), ":")
		}
		for _, x := range call.connections {
			write(" ", name(x.device.number), x.local.Type(), " ", string(x.state))
			if x.refused || x.state == uacsta.Initiated {
				write(" (", strconv.FormatBool(x.refused), " ", string(x.cause), ")")
			}
			if x.state == uacsta.Initiated && x.cause != uacsta.CauseJoinCall && x.call.predictive == nil {
				write(" to ", name(call.called))
			}
			if x.group != nil && x.state == uacsta.Alerting || x.agent != nil {
				write(" for ", x.group.number, " ", strconv.FormatBool(x.agent != nil))
			}
			if x.farEndRings() {
				write(" far")
			}
			if x.among != 0 && x.alerts() && len(call.others(x)) > 1 {
				write(" with others")
			}
			if x.coming != nil {
				write(" on its way, ", string(x.told()))
			}
			if x.parker != nil {
				write(" parked by ", name(x.parker.number))
			}
		}
		parts = append(parts, string(text))
	}
	slices.Sort(parts)
	for _, d := range s.order {
		for _, a := range d.agents {
			parts = append(parts, fmt.Sprintf("agent %s %s", a.state, a.pending))
		}
	}
	for _, b := range s.booked {
		parts = append(parts, fmt.Sprintf("%s calls back %s %v", name(b.origin.number), name(b.target.number), b.target.used > b.used))
	}
	return strings.Join(parts, "; ")
}
