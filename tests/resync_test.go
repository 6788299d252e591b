package tests

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// observer is a client's model of the calls at a device, made from events alone.
type observer struct {
	device string
	known  map[[2]string]string // call and device: state
}

// see takes an event in, which must be news.
func (o *observer) see(t *testing.T, ev *uacsta.Message) {
	t.Helper()
	if !o.take(ev) {
		t.Errorf("%s was told before: %s", ev.Name(), ev)
	}
}

// take takes an event in, and reports whether it is news.
func (o *observer) take(ev *uacsta.Message) (news bool) {
	news = true
	state := map[string]string{
		"ServiceInitiatedEvent": "initiated", "OriginatedEvent": "connected", "DeliveredEvent": "alerting", "EstablishedEvent": "connected", "HeldEvent": "hold",
		"RetrievedEvent": "connected", "QueuedEvent": "queued", "FailedEvent": "fail", "DivertedEvent": "", "ConnectionClearedEvent": "",
	}
	conns := ev.Connections()
	if next, one := state[ev.Name()]; one {
		id := [2]string{conns[0].CallID(), conns[0].DeviceID()}
		news = next == "" || o.known[id] != next
		o.known[id] = next
		if next == "" {
			delete(o.known, id)
		}
	} else if ev.Name() == "TransferedEvent" || ev.Name() == "ConferencedEvent" {
		joined := map[[2]string]string{}
		var last [2]string
		for _, c := range conns {
			id := [2]string{c.CallID(), c.DeviceID()}
			switch {
			case strings.HasSuffix(c.Path(), "newConnection"):
				last = id
				if ev.Name() == "ConferencedEvent" {
					joined[id] = "connected"
				}
			case strings.HasSuffix(c.Path(), "oldConnection"):
				delete(joined, last) // a party of a call that was not seen: it may be on hold
				s := cmp.Or(o.known[id], o.known[last])
				if s == "" && last[1] == o.device {
					s = ev.Text("localConnectionInfo")
				}
				if s != "" {
					joined[last] = s
				}
			}
		}
		for _, path := range []string{"primaryOldCall/callID", "secondaryOldCall/callID"} {
			maps.DeleteFunc(o.known, func(id [2]string, _ string) bool { return id[0] == ev.Text(path) })
		}
		maps.Copy(o.known, joined)
	}
	maps.DeleteFunc(o.known, func(id [2]string, _ string) bool { return o.known[[2]string{id[0], o.device}] == "" })
	return news
}

// direct sends a request to the switch itself, past the core.
func (o *office) direct(req any) *uacsta.Message {
	answer := make(chan *uacsta.Message, 1)
	o.link.Switch.Request(o.link.named(uacsta.Encode(req, uacsta.Edition3), false), func(m *uacsta.Message, _ error) { answer <- m })
	return <-answer // another goroutine may give it
}

// truth is what the switch says of a device's calls, to who asks so: its own connections, and
// the others' in the same calls.
func (o *office) truth(ask func(any) *uacsta.Message, device string) (own, all map[[2]string]string) {
	own, all = map[[2]string]string{}, map[[2]string]string{}
	var res uacsta.SnapshotDeviceResponse
	if err := ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}).Decode(&res); err != nil {
		o.t.Fatal(err)
	}
	for _, info := range res.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo {
		own[[2]string{info.ConnectionIdentifier.CallID, device}] = string(info.LocalCallState.CompoundCallState[0])
		var call uacsta.SnapshotCallResponse
		if err := ask(uacsta.SnapshotCall{SnapshotObject: info.ConnectionIdentifier}).Decode(&call); err != nil {
			o.t.Fatal(err)
		}
		for _, party := range call.CrossRefIDorSnapshotData.SnapshotData.SnapshotCallResponseInfo {
			all[[2]string{party.CallIdentifier.CallID, party.CallIdentifier.DeviceID.ID}] = string(party.LocalConnectionInfo)
		}
	}
	return own, all
}

// callOf is the switch's own callID of a device's call.
func (o *office) callOf(device string) string {
	own, _ := o.truth(o.direct, device)
	for id := range own {
		return id[0]
	}
	o.t.Fatal(device, " is in no call")
	return ""
}

// happen lets something happen at the switch; most of what is tried is refused.
func (o *office) happen(r *rand.Rand) {
	device := func() uacsta.DeviceID { return uacsta.Dev(fmt.Sprint(100 + r.IntN(4))) }
	var conns []uacsta.ConnectionID
	for n := range 4 {
		own, _ := o.truth(o.direct, fmt.Sprint(100+n))
		for id := range own {
			conns = append(conns, uacsta.Conn(id[0], id[1]))
		}
	}
	one := func() uacsta.ConnectionID {
		if len(conns) == 0 {
			return uacsta.Conn("none", "100")
		}
		return conns[r.IntN(len(conns))]
	}
	how := []uacsta.AutoOriginate{uacsta.Prompt, uacsta.DoNotPrompt, uacsta.DoNotPrompt}[r.IntN(3)]
	requests := []any{
		uacsta.MakeCall{CallingDevice: device(), CalledDirectoryNumber: device(), AutoOriginate: how},
		uacsta.MakeCall{CallingDevice: device(), CalledDirectoryNumber: uacsta.Dev("300"), AutoOriginate: how},
		uacsta.AnswerCall{CallToBeAnswered: one()}, uacsta.AnswerCall{CallToBeAnswered: one()}, uacsta.AnswerCall{CallToBeAnswered: one()},
		uacsta.ClearConnection{ConnectionToBeCleared: one()}, uacsta.HoldCall{CallToBeHeld: one()}, uacsta.RetrieveCall{CallToBeRetrieved: one()},
		uacsta.ConsultationCall{ExistingCall: one(), ConsultedDevice: device()}, uacsta.AlternateCall{HeldCall: one(), ActiveCall: one()},
		uacsta.TransferCall{HeldCall: one(), ActiveCall: one()}, uacsta.ConferenceCall{HeldCall: one(), ActiveCall: one()},
		uacsta.DeflectCall{CallToBeDiverted: one(), NewDestination: []uacsta.DeviceID{device()}},
		uacsta.SingleStepTransferCall{ActiveCall: one(), TransferredTo: device()},
		uacsta.SingleStepConferenceCall{ActiveCall: one(), DeviceToJoin: device(), ParticipationType: uacsta.ParticipationActive},
		uacsta.DirectedPickupCall{CallToBePickedUp: one(), RequestingDevice: device()}, uacsta.CamponCall{CamponConnection: one()},
	}
	o.direct(requests[r.IntN(len(requests))])
}

// Random histories, during which the link is lost and comes back: at the end what a
// client knows from the events alone is what the switch says, and nothing was told
// twice. Every other switch comes back with other names for its calls.
func TestResync(t *testing.T) {
	t.Parallel()
	seeds := 1000
	if testing.Short() {
		seeds = 50
	}
	for seed := range seeds {
		inOffice(t, everything, func(o *office) {
			r := rand.New(rand.NewPCG(uint64(seed), 87))
			o.link.renumbers = seed%2 == 1
			m := o.open("boss", "")
			observers := map[string]*observer{}
			for n := range 4 {
				d := uacsta.Dev(fmt.Sprint(100 + n))
				ref := m.want(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &d}}, "MonitorStartResponse").CrossRef()
				observers[ref] = &observer{d.ID, map[[2]string]string{}}
			}
			for range 1 + r.IntN(2) { // losses
				for range r.IntN(12) {
					o.happen(r)
				}
				m.look(observers)
				o.link.lose <- struct{}{}
				for range r.IntN(12) {
					o.happen(r)
				}
				time.Sleep(5 * time.Second)
				for range r.IntN(6) {
					o.happen(r)
				}
			}
			m.look(observers)
			for _, seen := range observers {
				own, all := o.truth(m.ask, seen.device)
				for id, state := range own {
					if seen.known[id] != state {
						t.Errorf("seed %d: %s knows %v as %q, but it is %q", seed, seen.device, id, seen.known[id], state)
					}
				}
				for id, state := range seen.known {
					if all[id] != state {
						t.Errorf("seed %d: %s believes that %v is %q, but it is %q", seed, seen.device, id, state, all[id])
					}
				}
			}
			for n := range 4 { // everybody hangs up: no timer is left
				own, _ := o.truth(o.direct, fmt.Sprint(100+n))
				for id := range own {
					o.direct(uacsta.ClearCall{CallToBeCleared: uacsta.Conn(id[0], id[1])})
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}

// look gives the observers what came.
func (m *member) look(observers map[string]*observer) {
	m.o.t.Helper()
	for _, ev := range m.told() {
		if seen := observers[ev.CrossRef()]; seen != nil {
			seen.see(m.o.t, ev)
		}
	}
}

// A monitor on a call outlives a loss, if the call does, and tells what happened in it.
func TestResyncOfCall(t *testing.T) {
	t.Parallel()
	inOffice(t, everything, func(o *office) {
		m := o.open("boss", "")
		id := m.want(call("100", "101"), "MakeCallResponse").Text("callingDevice/callID")
		caller := uacsta.Conn(id, "100")
		for _, ends := range []bool{false, true} {
			ref := m.want(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &caller}}, "MonitorStartResponse").CrossRef()
			m.told()
			o.link.lose <- struct{}{}
			synctest.Wait()
			if ends {
				o.direct(uacsta.ClearCall{CallToBeCleared: uacsta.Conn(o.callOf("100"), "100")})
			} else {
				o.direct(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(o.callOf("101"), "101")})
			}
			time.Sleep(5 * time.Second)
			var names []string
			for _, ev := range m.told() {
				if ev.CrossRef() == ref {
					names = append(names, ev.Name()+" "+ev.Text("establishedConnection/deviceID"))
				}
			}
			if got, want := strings.Join(names, ","), map[bool]string{false: "EstablishedEvent 101", true: "MonitorStop "}[ends]; got != want {
				t.Errorf("told %s, want %s", got, want)
			}
		}
	})
}
