package proxy

import (
	"cmp"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// plain is a picture without limits: a list of connections that is searched.
type plain map[party]uacsta.LocalConnectionState

func (p plain) drop(call string) {
	maps.DeleteFunc(p, func(id party, _ uacsta.LocalConnectionState) bool { return id.Call == call })
}

func (p plain) apply(ev *uacsta.Message, own string) {
	if changes := callmodel.Changes(ev, func(id party) callmodel.State { return p[id] }); len(changes) == 1 && changes[0].Device != "" {
		if p[changes[0].ID] = changes[0].State; changes[0].State == "" {
			delete(p, changes[0].ID)
		}
	}
	switch ev.Name() {
	case "CallClearedEvent":
		p.drop(ev.Text("clearedCall/callID"))
	case "ConferencedEvent":
		joined := plain{}
		var last party
		for _, c := range ev.Connections() {
			id := party{Call: c.CallID(), Device: c.DeviceID()}
			switch {
			case strings.HasSuffix(c.Path(), "newConnection"):
				last = id
				joined[id] = uacsta.Connected
			case strings.HasSuffix(c.Path(), "oldConnection"):
				joined[last] = cmp.Or(p[id], p[last], uacsta.Connected)
			}
		}
		p.drop(ev.Text("primaryOldCall/callID"))
		p.drop(ev.Text("secondaryOldCall/callID"))
		maps.Copy(p, joined)
	}
	if own != "" {
		in := map[string]bool{}
		for id := range p {
			in[id.Call] = in[id.Call] || owner(id.Device) == own
		}
		maps.DeleteFunc(p, func(id party, _ uacsta.LocalConnectionState) bool { return !in[id.Call] })
	}
}

// TestPicture compares picture with plain, for a device and for a call.
func TestPicture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own := rapid.SampledFrom([]string{"100", ""}).Draw(t, "own")
		memory := budget{most: 1 << 20}
		p, want := newPicture(own, owner, &memory), plain{}
		connection := func(name string) uacsta.ConnectionID {
			return uacsta.Conn(rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, name), rapid.SampledFrom([]string{"100", channel100, "101", "102"}).Draw(t, name+" device"))
		}
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			id := connection("connection")
			var ev any
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0:
				ev = uacsta.DeliveredEvent{Connection: id}
			case 1:
				ev = uacsta.EstablishedEvent{EstablishedConnection: id}
			case 2:
				ev = uacsta.HeldEvent{HeldConnection: id}
			case 3:
				ev = uacsta.ConnectionClearedEvent{DroppedConnection: id}
			case 4:
				ev = uacsta.CallClearedEvent{ClearedCall: id}
			default:
				joined := uacsta.ConferencedEvent{PrimaryOldCall: id}
				for range rapid.IntRange(0, 3).Draw(t, "parties") {
					next, old := connection("new"), connection("old")
					joined.ConferenceConnections = append(joined.ConferenceConnections, uacsta.ConnectionListItem{NewConnection: &next, OldConnection: &old})
				}
				ev = joined
			}
			m := uacsta.Encode(ev, uacsta.Edition3)
			before := maps.Clone(want)
			want.apply(m, own)
			changed := p.apply(m)
			got := plain{}
			for id := range p.Connections() {
				got[id] = p.State(id)
			}
			if !maps.Equal(got, want) || changed == maps.Equal(before, want) {
				t.Fatalf("%s: %v, changed: %v; want %v after %v", m, got, changed, want, before)
			}
			octets := 0
			for id := range want {
				octets += seenPartySize + len(id.Device)
			}
			for call := range p.calls {
				octets += seenCallSize + len(call)
			}
			if taken := int(memory.taken.Load()); taken != octets || p.recent.Len() != len(p.calls) {
				t.Fatalf("%d octets are taken, not %d, for %d calls", taken, octets, p.recent.Len())
			}
		}
		p.clear()
		if memory.taken.Load() != 0 {
			t.Fatal("nothing is left, but octets are taken")
		}
	})
}

func established(call int, device string) *uacsta.Message {
	return uacsta.Encode(uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn(fmt.Sprint(call), device)}, uacsta.Edition3)
}

// A picture is limited in calls, in parties of a call and in octets. The call that was reported
// longest ago is dropped.
func TestPictureIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	memory := budget{most: 1 << 20}
	p := newPicture("100", owner, &memory)
	for call := range 33000 {
		p.apply(established(call, "100"))
		p.apply(established(0, "100")) // it lives
	}
	if len(p.calls) != maxSeen || p.State(party{Call: "0", Device: "100"}) == "" || p.State(party{Call: "1", Device: "100"}) != "" || p.State(party{Call: "32999", Device: "100"}) == "" || p.dropped != 33000-maxSeen {
		t.Errorf("%d calls, %d gone", len(p.calls), p.dropped)
	}
	for n := range 2 * maxSeenParties {
		p.apply(established(0, fmt.Sprint("party", n)))
	}
	if got := len(p.calls["0"].parties); got != maxSeenParties {
		t.Errorf("%d parties", got)
	}
	other := newPicture("200", owner, &memory)
	long := strings.Repeat("9", 250)
	for call := range 3000 {
		other.apply(established(call, "200"))
		for n := range 10 {
			other.apply(established(call, long+fmt.Sprint(n)))
		}
	}
	if taken := memory.taken.Load(); taken > memory.most || len(p.calls) != maxSeen || len(other.calls) == 0 {
		t.Errorf("%d octets, %d and %d calls", taken, len(p.calls), len(other.calls))
	}
	third := newPicture("300", owner, &budget{most: 10})
	if third.apply(established(1, "300")) || third.dropped != 1 {
		t.Error("a call without room is seen")
	}
}
