package callmodel

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// picture is what a client knows of the calls after every event.
type picture map[ID]State

func (p picture) State(id ID) State { return p[id] }

func (p picture) Connections() iter.Seq[ID] { return maps.Keys(p) }

func (p picture) Devices(call string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for id := range p {
			if id.Call == call && !yield(id.Device) {
				return
			}
		}
	}
}

func (p picture) apply(ev *uacsta.Message) {
	for _, c := range Changes(ev, p.State) {
		switch {
		case c.Device == "":
			maps.DeleteFunc(p, func(id ID, _ State) bool { return id.Call == c.Call })
		case c.State == none:
			delete(p, c.ID)
		default:
			p[c.ID] = c.State
		}
	}
}

// world has some calls under random transitions, and the clients that see their events.
type world struct {
	*rapid.T
	calls map[string]*Call[*Connection]
	last  int
	seen  picture
}

// actual returns the states of the model.
func (w *world) actual() picture {
	p := picture{}
	for _, c := range w.calls {
		for _, x := range c.Parties {
			if x.there() {
				p[ID{c.ID, x.Device}] = x.State
			}
		}
	}
	return p
}

// happens applies the notices of a transition: one event, for every device concerned.
func (w *world) happens(notices []Notice) {
	w.Helper()
	for id, c := range w.calls {
		if len(c.Parties) == 0 {
			delete(w.calls, id)
		}
	}
	now := w.actual()
	if len(notices) == 0 {
		w.Fatal("nobody is told")
	}
	before := maps.Clone(w.seen)
	first := uacsta.Encode(notices[0].For("1"), uacsta.Edition3)
	w.seen.apply(first)
	if id, one := subject(first); one && !Permits(first.Name(), before[id], w.seen[id]) {
		w.Fatalf("%s leads %v from %q to %q", first.Name(), id, before[id], w.seen[id])
	}
	if !maps.Equal(w.seen, now) {
		w.Fatalf("%s: events say %v, the model %v", first, w.seen, now)
	}
	again := maps.Clone(w.seen) // a snapshot has shown what the event tells
	if again.apply(first); !maps.Equal(again, now) {
		w.Fatalf("%s: told once more, events say %v, the model %v", first, again, now)
	}
	told := map[string]bool{}
	for _, n := range notices {
		ev := uacsta.Encode(n.For("2"), uacsta.Edition3)
		if told[n.Device] || ev.Name() != first.Name() || ev.CrossRef() != "2" {
			w.Fatalf("%s is told %s", n.Device, ev)
		}
		told[n.Device] = true
		device := n.Device
		if device == "20" {
			device = "555"
		}
		if local, got := now[ID{callOf(first), device}], ev.Text("localConnectionInfo"); got != string(orNull(local)) {
			w.Fatalf("%s: %s is told that it is %s, and is %s", ev, n.Device, got, local)
		}
	}
	for _, p := range []picture{before, now} { // who was in the call, and who is
		for id := range p {
			if id.Call == callOf(first) && !told[connection(id.Device).MonitoredDevice()] {
				w.Fatalf("%s does not reach %s", first, id.Device)
			}
		}
	}
}

// subject returns the connection that an event changes, if it is a single one.
func subject(ev *uacsta.Message) (ID, bool) {
	s, one := steps[ev.Name()]
	return ID{ev.Text(s.path + "/callID"), ev.Text(s.path + "/deviceID")}, one
}

// callOf returns the call that exists after an event.
func callOf(ev *uacsta.Message) string {
	for _, c := range ev.Connections() {
		if _, one := steps[ev.Name()]; one || c.Path() != "primaryOldCall" && c.Path() != "secondaryOldCall" {
			return c.CallID()
		}
	}
	return ""
}

func (w *world) newCall() *Call[*Connection] {
	w.last++
	c := &Call[*Connection]{ID: fmt.Sprint(w.last)}
	w.calls[c.ID] = c
	return c
}

// some picks a connection in one of some states.
func (w *world) some(states ...State) (Member[*Connection], bool) {
	var all []Member[*Connection]
	for _, id := range slices.Sorted(maps.Keys(w.calls)) {
		for _, x := range w.calls[id].Parties {
			if slices.Contains(states, x.State) {
				all = append(all, Member[*Connection]{w.calls[id], x})
			}
		}
	}
	if len(all) == 0 {
		return Member[*Connection]{}, false
	}
	return rapid.SampledFrom(all).Draw(w.T, "connection"), true
}

var devices = []string{"100", "101", "102", "555"}

// connection returns a connection of a device; 555 is in the network.
func connection(device string) *Connection {
	x := &Connection{Device: device}
	if device == "555" {
		x.Network, x.Trunk = true, "20"
	}
	return x
}

// free picks a device that is in no call.
func (w *world) free(c *Call[*Connection]) (*Connection, bool) {
	all := slices.DeleteFunc(slices.Clone(devices), func(d string) bool {
		return slices.ContainsFunc(c.Parties, func(x *Connection) bool { return x.Device == d })
	})
	if len(all) == 0 {
		return nil, false
	}
	return connection(rapid.SampledFrom(all).Draw(w.T, "device")), true
}

const cause = uacsta.CauseNormal

// in applies a function to a connection in one of some states.
func (w *world) in(do func(Member[*Connection]) []Notice, states ...State) func(*rapid.T) {
	return func(t *rapid.T) {
		w.T = t
		if m, ok := w.some(states...); ok {
			w.happens(do(m))
		}
	}
}

// comes adds a device to the call of a party.
func (w *world) comes(do func(*Call[*Connection], *Connection) []Notice) func(*rapid.T) {
	return w.in(func(m Member[*Connection]) []Notice {
		x, ok := w.free(m.Call)
		if !ok {
			return m.Call.Clear(m.Party, cause)
		}
		m.Call.Add(x)
		return do(m.Call, x)
	}, uacsta.Connected)
}

// consults has a talking device consult another one. It returns the held call, the active call, and
// the other parties; nil if none of them may be in both.
func (w *world) consults() (held, active Member[*Connection], others []Member[*Connection]) {
	held, ok := w.some(uacsta.Connected)
	if !ok {
		return held, active, nil
	}
	to, ok := w.free(held.Call)
	if !ok {
		return held, active, nil
	}
	w.happens(held.Call.Hold(held.Party, uacsta.CauseConsultation))
	active = Member[*Connection]{w.newCall(), connection(held.Party.Device)}
	active.Call.Add(active.Party)
	w.happens(active.Call.Initiate(active.Party, uacsta.CauseConsultation))
	w.happens(active.Call.Originate(active.Party, uacsta.CauseNewCall))
	active.Call.Add(to)
	switch rapid.IntRange(0, 2).Draw(w.T, "how far") {
	case 0: // it does not ring yet
	case 1:
		w.happens(active.Call.Deliver(to, uacsta.CauseNewCall))
	case 2:
		w.happens(active.Call.Establish(to, uacsta.CauseNewCall))
	}
	for _, x := range held.Call.Parties {
		if x != held.Party {
			others = append(others, Member[*Connection]{held.Call, x})
		}
	}
	return held, active, append(others, Member[*Connection]{active.Call, to})
}

// TestCalls makes random transitions. Every event is a permitted step, reaches every device of the
// call once with that device's own state, and the picture from the events equals the model. When all
// have hung up, nothing is left.
func TestCalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{T: t, calls: map[string]*Call[*Connection]{}, seen: picture{}}
		type member = Member[*Connection]
		queue := w.in(func(m member) []Notice { return m.Call.Queue(m.Party, 2, cause) }, uacsta.Alerting, uacsta.Connected)
		t.Repeat(map[string]func(*rapid.T){
			"off hook": func(t *rapid.T) {
				w.T = t
				c := w.newCall()
				x, _ := w.free(c)
				x.Inbound = true
				c.Calling = x.Device
				c.Add(x)
				w.happens(c.Initiate(x, cause))
			},
			"originate": w.in(func(m member) []Notice { return m.Call.Originate(m.Party, cause) }, uacsta.Initiated),
			"ring":      w.comes(func(c *Call[*Connection], x *Connection) []Notice { return c.Deliver(x, c.Cause()) }),
			"answered at once": w.comes(func(c *Call[*Connection], x *Connection) []Notice {
				return c.Establish(x, c.Cause())
			}),
			"by a trunk": w.comes(func(c *Call[*Connection], x *Connection) []Notice {
				if !x.Network {
					return c.Deliver(x, c.Cause())
				}
				return c.Reach(x, x.Trunk, c.Cause())
			}),
			"rings beyond": w.in(func(m member) []Notice { return m.Call.Deliver(m.Party, cause) }, uacsta.Connected, uacsta.Queued, uacsta.Fail),
			"answer":       w.in(func(m member) []Notice { return m.Call.Establish(m.Party, cause) }, uacsta.Alerting, uacsta.Queued),
			"hold":         w.in(func(m member) []Notice { return m.Call.Hold(m.Party, cause) }, uacsta.Connected),
			"retrieve":     w.in(func(m member) []Notice { return m.Call.Retrieve(m.Party, cause) }, uacsta.Hold),
			"queue":        queue,
			"fail":         w.in(func(m member) []Notice { return m.Call.Fail(m.Party, cause) }, uacsta.Initiated, uacsta.Alerting, uacsta.Connected),
			"divert":       w.in(func(m member) []Notice { return m.Call.Divert(m.Party, "100", cause) }, uacsta.Alerting, uacsta.Queued),
			"clear": w.in(func(m member) []Notice { return m.Call.Clear(m.Party, cause) },
				uacsta.Initiated, uacsta.Alerting, uacsta.Connected, uacsta.Hold, uacsta.Queued, uacsta.Fail),
			"single step transfer": w.in(func(m member) []Notice { return m.Call.SingleStepTransfer(m.Party, "100") }, uacsta.Connected),
			"single step conference": w.in(func(m member) []Notice {
				x, ok := w.free(m.Call)
				if !ok {
					return m.Call.Clear(m.Party, cause)
				}
				members := []member{{m.Call, x}}
				for _, y := range m.Call.Parties {
					members = append(members, member{m.Call, y})
				}
				list, notices := m.Call.Conference(Joining{By: m.Party.Device, Added: x.Device, Primary: m.Call.Connection(m.Party), Cause: cause}, members...)
				if len(list) != len(m.Call.Parties) || list[0].OldConnection != nil {
					w.Fatalf("%v", list)
				}
				return notices
			}, uacsta.Connected),
			"transfer": func(t *rapid.T) {
				w.T = t
				held, active, others := w.consults()
				if len(others) == 0 {
					return
				}
				z := w.newCall()
				list, notices := z.Transfer(held, active, "101", others...)
				if notices[0].Device != held.Party.MonitoredDevice() || notices[0].Local != uacsta.Null || held.Party.State != uacsta.Null || len(list) != len(others) {
					t.Fatalf("%v %v", list, notices)
				}
				w.happens(notices)
				if to := others[len(others)-1].Party; to.State == none {
					if list[len(list)-1].OldConnection != nil {
						t.Fatalf("%v", list)
					}
					w.happens(z.Deliver(to, z.Cause()))
				}
			},
			"conference": func(t *rapid.T) {
				w.T = t
				held, active, others := w.consults()
				if len(others) == 0 {
					return
				}
				c := active.Call // the call that stays may be one of the two
				if rapid.Bool().Draw(t, "new call") {
					c = w.newCall()
				}
				primary, secondary := held.connection(), active.connection()
				held.Call.Remove(held.Party)
				_, notices := c.Conference(Joining{By: held.Party.Device, Added: others[0].Party.Device, Primary: primary, Secondary: &secondary, Cause: cause},
					append([]member{active}, others...)...)
				w.happens(notices)
			},
		})
		for len(w.calls) > 0 {
			m, _ := w.some(uacsta.Initiated, uacsta.Alerting, uacsta.Connected, uacsta.Hold, uacsta.Queued, uacsta.Fail)
			w.happens(m.Call.Clear(m.Party, cause))
		}
		if len(w.seen) > 0 {
			t.Fatalf("%v is left", w.seen)
		}
	})
}

// TestDifference: the events between any two pictures of a call lead from one to the other, each as a
// permitted step or after something that the client missed.
func TestDifference(t *testing.T) {
	states := []State{none, uacsta.Initiated, uacsta.Alerting, uacsta.Connected, uacsta.Hold, uacsta.Queued, uacsta.Fail}
	rapid.Check(t, func(t *rapid.T) {
		old, now := picture{}, picture{}
		scenes := map[string]*Scene{}
		for _, call := range []string{"1", "2"} {
			for _, device := range devices {
				id := ID{call, device}
				if s := rapid.SampledFrom(states).Draw(t, "before"); s != none {
					old[id] = s
				}
				if s := rapid.SampledFrom(states).Draw(t, "after"); s != none {
					now[id] = s
					if scenes[call] == nil {
						scenes[call] = &Scene{ID: call}
					}
					scenes[call].Parties = append(scenes[call].Parties, id)
				}
			}
		}
		var all []Scene
		for _, call := range slices.Sorted(maps.Keys(scenes)) {
			calling := uacsta.Ext(rapid.SampledFrom(devices).Draw(t, "calling"))
			scenes[call].Calling = &calling
			all = append(all, *scenes[call])
		}
		got := maps.Clone(old)
		for _, ev := range Difference("", same, old, now, all) {
			got.apply(uacsta.Encode(ev, uacsta.Edition3))
		}
		// A connection cannot return from connected to alerting: what alerts in the network is
		// connected.
		for id, s := range now {
			if s == uacsta.Alerting && old[id] == uacsta.Connected {
				now[id] = uacsta.Connected
			}
		}
		if !maps.Equal(got, now) {
			t.Fatalf("the events lead to %v, not %v", got, now)
		}
		// A device-type monitor has its own side of each call right, also if its device has two connections in one.
		mine := devices[:rapid.IntRange(1, 2).Draw(t, "connections")]
		static := func(device string) string {
			if slices.Contains(mine, device) {
				return "900"
			}
			return device
		}
		local := func(p picture, call string) State {
			return cmp.Or(p[ID{call, mine[0]}], p[ID{call, mine[len(mine)-1]}])
		}
		seen := picture{}
		for id, s := range old {
			if local(old, id.Call) != none {
				seen[id] = s
			}
		}
		before := maps.Clone(seen)
		all = slices.DeleteFunc(all, func(s Scene) bool { return local(now, s.ID) == none })
		for _, ev := range Difference("900", static, before, now, all) {
			m := uacsta.Encode(ev, uacsta.Edition3)
			if id, _ := subject(m); m.Text("localConnectionInfo") != string(orNull(local(now, id.Call))) {
				t.Fatalf("%s: the device is %q", m, local(now, id.Call))
			}
			seen.apply(m)
		}
		for _, call := range []string{"1", "2"} {
			for _, device := range mine {
				if id := (ID{call, device}); seen[id] != now[id] {
					t.Fatalf("%s is %q in call %s, not %q", device, seen[id], call, now[id])
				}
			}
		}
	})
}

func same(device string) string { return device }

// orNull returns a state as localConnectionInfo has it.
func orNull(s State) State {
	if s == none {
		return uacsta.Null
	}
	return s
}

// TestBecome checks the events that bring a connection from one state to another.
func TestBecome(t *testing.T) {
	for _, tt := range []struct {
		device string
		before State
		state  State
		want   string
	}{
		{"100", none, uacsta.Initiated, "ServiceInitiatedEvent"},
		{"101", none, uacsta.Alerting, "DeliveredEvent"},
		{"101", uacsta.Alerting, uacsta.Connected, "EstablishedEvent"},
		{"101", uacsta.Hold, uacsta.Connected, "RetrievedEvent"},
		{"100", uacsta.Initiated, uacsta.Connected, "OriginatedEvent"},
		{"100", uacsta.Hold, uacsta.Connected, "RetrievedEvent"},
		{"101", uacsta.Connected, uacsta.Hold, "HeldEvent"},
		{"101", uacsta.Alerting, uacsta.Hold, "EstablishedEvent HeldEvent"},
		{"100", none, uacsta.Hold, "OriginatedEvent HeldEvent"},
		{"101", none, uacsta.Queued, "QueuedEvent"},
		{"101", uacsta.Connected, uacsta.Fail, "FailedEvent"},
	} {
		a := About{ID: "1", Calling: uacsta.Ext("100")}
		var names []string
		for _, event := range a.become(tt.device, tt.before, tt.state, true) {
			m := uacsta.Encode(event("1", tt.state), uacsta.Edition3)
			if id, _ := subject(m); id != (ID{"1", tt.device}) {
				t.Errorf("%s is about %v", m, id)
			}
			names = append(names, m.Name())
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%s from %q to %q: %s, want %s", tt.device, tt.before, tt.state, got, tt.want)
		}
	}
}
