package softswitch

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A number of the network leads to a device that takes calls, or there is no switch.
func TestInward(t *testing.T) {
	for to, valid := range map[string]bool{"100": true, "200": true, "300": true, "600": true, "900": false, "901": false, "400": false, "500": false, "777": false} {
		cfg := everything
		cfg.Trunks = []Trunk{{Number: "900", Inward: map[string]string{"5": to}}, {Number: "901"}}
		if _, err := New(cfg); (err == nil) != valid {
			t.Errorf("inward to %s: %v", to, err)
		}
	}
}

// outside is a switch with a real trunk.
func outside(t *testing.T) *world {
	t.Helper()
	w := newWorldOf(t, Config{
		Extensions: []Extension{{Number: "100", Name: "Alice", Outside: []string{"0"}}, {Number: "101"}, {Number: "102"}},
		Trunks:     []Trunk{{Number: "900", Prefixes: []string{"0"}, Inward: map[string]string{"5550100": "100", "5550101": "101"}, Caller: "0555123", Real: true}},
	}, "100", "101", "102", "900")
	w.sw.InService("900", true, false)
	return w
}

// last returns the last message with a name that was seen.
func (w *world) last(name string) *uacsta.Message {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.raw) - 1; i >= 0; i-- {
		if w.raw[i].Name() == name {
			return w.raw[i]
		}
	}
	w.t.Fatalf("no %s", name)
	return nil
}

// has checks that a message has each of the elements.
func (w *world) has(m *uacsta.Message, elements ...string) {
	w.t.Helper()
	for _, element := range elements {
		if text := m.String(); !strings.Contains(text, element) {
			w.t.Errorf("no %s in %s", element, text)
		}
	}
}

// callers are what a network says of a caller, and how each is named in events and in lists of connections.
var callers = map[string]struct {
	is        uacsta.ExtendedDeviceID
	ext, list string
}{
	"a number":             {uacsta.Ext("0309876"), "<deviceIdentifier>0309876</deviceIdentifier>", "<deviceID>0309876</deviceID>"},
	"an extension's":       {uacsta.Ext("102"), "<deviceIdentifier>102</deviceIdentifier>", "<deviceID>102</deviceID>"},
	"none":                 {uacsta.Ext(""), "<notKnown/>", "<notKnown/>"},
	"a caller's, withheld": {uacsta.ExtendedDeviceID{Restricted: true}, "<restricted/>", "<restricted/>"},
}

// Who calls from outside is told as the network tells it, also after transfers and a conference: the trunk is never the
// caller.
func TestCallerFromOutside(t *testing.T) {
	for name, caller := range callers {
		t.Run(name, func(t *testing.T) {
			w := outside(t)
			arrive := func(call string) {
				t.Helper()
				key, err := w.sw.Arrive("900", Arrival{Called: "5550100", Caller: caller.is}, nil)
				if err != nil || key == 0 {
					t.Fatal(err)
				}
				w.must(w.answer(call + "100"))
			}
			arrive("X")
			calling, nid := "<callingDevice>"+caller.ext+"</callingDevice>", "<associatedCallingDevice><deviceIdentifier>900</deviceIdentifier></associatedCallingDevice>"
			w.has(w.last(uacsta.NameDeliveredEvent), calling, nid, "<notRequired/>")
			if m := w.last(uacsta.NameServiceInitiatedEvent); strings.Contains(m.String(), "0555123") {
				t.Errorf("a number that nobody gave: %s", m)
			}
			if m := w.last(uacsta.NameDeliveredEvent); strings.Contains(m.String(), "callingDeviceName") {
				t.Errorf("an outside caller has an extension's name: %s", m)
			}
			w.has(w.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}), "<endpointDevice>"+caller.ext)
			w.has(w.must(uacsta.SnapshotCall{SnapshotObject: w.conn("X100")}), "<deviceOnCall>"+caller.ext)
			end := "<endpoint>" + caller.list + "</endpoint><associatedNID><deviceID>900</deviceID></associatedNID>"
			other := "<endpoint><deviceID>101</deviceID></endpoint></connectionListItem>"

			w.must(w.consult("X100", "101"))
			w.must(w.answer("Y101"))
			w.has(w.must(w.transfer("X100", "Y100")), end, other)
			w.has(w.last(uacsta.NameTransferedEvent), end, other, "<transferredToDevice><deviceIdentifier>101<")
			w.must(w.hold("Z101"))
			w.has(w.must(uacsta.SnapshotCall{SnapshotObject: w.conn("Z101")}), calling)
			w.must(w.clear("Z101"))

			arrive("W")
			w.has(w.must(w.singleStep("W100", "101")), end, other)
			w.has(w.last(uacsta.NameDeliveredEvent), calling, nid)
			w.finish()
		})
	}
}

// Somebody outside who was called is the endpoint after a transfer, and is then the caller, behind the trunk.
func TestCalledOutside(t *testing.T) {
	w := outside(t)
	end := "<endpoint><deviceID>0301234</deviceID></endpoint><associatedNID><deviceID>900</deviceID></associatedNID>"
	w.must(w.makeCall("100", "0301234"))
	w.answers("900")
	w.must(w.consult("X100", "101"))
	w.must(w.answer("Y101"))
	w.has(w.must(w.conference("X100", "Y100")), end)
	w.must(w.clearCall("Z100"))

	w.must(w.makeCall("101", "100"))
	w.must(w.answer("W100"))
	w.has(w.must(w.singleStep("W100", "0301234")), end)
	w.has(w.last(uacsta.NameTransferedEvent), end, "<transferredToDevice><deviceIdentifier>0301234<")
	w.rings("900")
	w.has(w.last(uacsta.NameDeliveredEvent), "<associatedCalledDevice><deviceIdentifier>900<")
	w.must(uacsta.ClearConnection{ConnectionToBeCleared: w.sw.devices["101"].connections[0].id()})

	w.must(w.makeCall("100", "0301234"))
	w.answers("900")
	first := w.last(uacsta.NameMakeCallResponse).Connections()[0].CallID()
	res := w.must(uacsta.ConsultationCall{ExistingCall: uacsta.Conn(first, "100"), ConsultedDevice: uacsta.Dev("101")})
	second := res.Connections()[0].CallID()
	w.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(second, "101")})
	w.must(uacsta.TransferCall{HeldCall: uacsta.Conn(first, "100"), ActiveCall: uacsta.Conn(second, "100")})
	m := w.last(uacsta.NameTransferedEvent)
	w.has(m, end)
	w.must(uacsta.SingleStepTransferCall{ActiveCall: w.sw.devices["101"].connections[0].id(), TransferredTo: uacsta.Dev("102")})
	m = w.last(uacsta.NameDeliveredEvent)
	w.has(m, "<callingDevice><deviceIdentifier>0301234<", "<associatedCallingDevice><deviceIdentifier>900<")
	if m.Has("associatedCalledDevice") || m.Has("networkCalledDevice") {
		t.Errorf("who was called outside is the caller now: %s", m)
	}
	w.finish()
}

// Who sent a call here before it came in is the last redirecting device, until a device of the switch diverts it. It
// gives the call no right: the call still reaches only the numbers of inward.
func TestRedirectedBefore(t *testing.T) {
	w := outside(t)
	from := Arrival{
		Called: "5550101", Caller: uacsta.Ext("0309876"), Redirected: uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev("100")}, Cause: uacsta.CauseCallForwardBusy,
	}
	if _, err := w.sw.Arrive("900", from, nil); err != nil {
		t.Fatal(err)
	}
	w.has(w.last(uacsta.NameDeliveredEvent), "<lastRedirectionDevice><numberDialed>100</numberDialed></lastRedirectionDevice>", "<oldDeviceID><numberDialed>100</numberDialed></oldDeviceID><eventCause>callForwardBusy<")
	w.must(w.deflect("X101", "102"))
	w.has(w.last(uacsta.NameDivertedEvent), "<numberDialed>100</numberDialed></lastRedirectionDevice>")
	w.must(w.clearCall("X102"))
	from.Called = "0301234" // 100 may call it
	if _, err := w.sw.Arrive("900", from, nil); err != nil {
		t.Fatal(err)
	}
	if m := w.sw.devices["900"].connections[0]; m.cause != uacsta.CauseDestNotObtainable {
		t.Errorf("a call from outside goes out: %s", m.cause)
	}
	w.must(uacsta.ClearConnection{ConnectionToBeCleared: w.sw.devices["900"].connections[0].id()})
	from.Called, from.Redirected = "5550100", uacsta.RedirectionDeviceID{Other: "notKnown"}
	if _, err := w.sw.Arrive("900", from, nil); err != nil {
		t.Fatal(err)
	}
	w.has(w.last(uacsta.NameDeliveredEvent), "<lastRedirectionDevice><notKnown/>")
	w.finish()
}

// A call goes out by the next trunk with a prefix of its number if the network of the first cannot take it and has said
// nothing of it; nobody is told of the first.
func TestNextTrunk(t *testing.T) {
	begins := []string{"answer", "100: ServiceInitiated X100 initiated makeCall", "100: Originated X100 connected newCall"}
	by := func(trunk string) []string {
		return []string{"100: NetworkReached X" + trunk + " connected newCall", trunk + ": NetworkReached X" + trunk + " connected newCall"}
	}
	failed := func(trunk string, cause uacsta.EventCause) []string {
		return []string{"100: Failed X" + trunk + " connected " + string(cause), trunk + ": Failed X" + trunk + " fail " + string(cause)}
	}
	for name, tt := range map[string]struct {
		number string
		then   func(w *world)
		want   []string
	}{
		"congestion": {"0123", func(w *world) { w.declines("900", uacsta.CauseNetworkCongestion); w.progress("901") }, by("901")},
		"the first is out of service meanwhile": {"0123", func(w *world) {
			w.sw.InService("900", false, false)
			w.events()
			w.declines("900", uacsta.CauseNetworkNotObtainable)
			w.progress("901")
		}, by("901")},
		"congestion of all": {"0123", func(w *world) {
			w.declines("900", uacsta.CauseNetworkOutOfOrder)
			w.declines("901", uacsta.CauseNetworkCongestion)
		}, failed("901", uacsta.CauseNetworkCongestion)},
		"the called number is busy":     {"0123", func(w *world) { w.declines("900", uacsta.CauseBusy) }, failed("900", uacsta.CauseBusy)},
		"congestion after a signal":     {"0123", func(w *world) { w.progress("900"); w.declines("900", uacsta.CauseNetworkCongestion) }, append(by("900"), failed("900", uacsta.CauseNetworkCongestion)...)},
		"no other trunk has the prefix": {"1123", func(w *world) { w.declines("900", uacsta.CauseNetworkCongestion) }, failed("900", uacsta.CauseNetworkCongestion)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldOf(t, Config{
				Extensions: []Extension{{Number: "100", Outside: []string{"0", "1"}}},
				Trunks:     []Trunk{{Number: "900", Prefixes: []string{"0", "1"}, Real: true}, {Number: "901", Prefixes: []string{"0"}, Real: true, Lines: 1}},
			}, "100", "900", "901")
			w.sw.InService("900", true, false)
			w.sw.InService("901", true, false)
			w.events()
			w.must(w.makeCall("100", tt.number))
			w.expect("the call", begins...)
			tt.then(w)
			w.expect(name, tt.want...)
			w.finish()
		})
	}
	w := newWorldOf(t, Config{
		Extensions: []Extension{{Number: "100", Outside: []string{"0"}}, {Number: "101", Outside: []string{"0"}}},
		Trunks:     []Trunk{{Number: "900", Prefixes: []string{"0"}, Real: true}, {Number: "901", Prefixes: []string{"0"}, Real: true, Lines: 1}},
	}, "100")
	w.sw.InService("901", true, false) // the first is not
	w.must(w.makeCall("100", "0123"))
	w.progress("901")
	w.must(w.makeCall("101", "0124"))
	w.events()
	w.must(w.clearCall("X100"))
	if n := len(w.sw.devices["900"].connections); n != 0 {
		t.Errorf("a trunk out of service has %d connections", n)
	}
	w.finish()
}

// A CAS extension with a real telephone: its user calls, answers and picks up by hand; no client lifts it, whatever the
// telephone says that it can.
func TestCAS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, Config{
			Extensions:   []Extension{{Number: "100", Kind: CAS, Real: true}, {Number: "101"}, {Number: "102"}},
			PickupGroups: []PickupGroup{{Number: "500", Members: []string{"100", "101"}}},
		}, "100")
		w.sw.InService("100", true, true)
		key, err := w.sw.Dial("100", "102", 0, false, "leg")
		if err != nil {
			t.Fatal(err)
		}
		w.sw.HungUp("100", key, uacsta.CauseNormalClearing)
		w.must(w.makeCall("102", "101"))
		ringing := w.sw.devices["101"].connections[0]
		if _, err := w.do(uacsta.DirectedPickupCall{CallToBePickedUp: ringing.id(), RequestingDevice: uacsta.Dev("100")}); refusal(err) != "operation/requestIncompatibleWithDevice" {
			t.Errorf("a client picks up: %v", err)
		}
		if err := w.sw.PickUp("100", "101", ringing.order, "leg"); err != nil {
			t.Errorf("its user picks up: %v", err)
		}
		w.must(uacsta.ClearConnection{ConnectionToBeCleared: w.sw.devices["100"].connections[0].id()})
		w.must(w.makeCall("102", "100"))
		own := w.sw.devices["100"].connections[0]
		if _, err := w.do(uacsta.AnswerCall{CallToBeAnswered: own.id()}); refusal(err) != "operation/requestIncompatibleWithDevice" {
			t.Errorf("a client answers: %v", err)
		}
		if err := w.sw.Answered("100", own.order, 0); err != nil {
			t.Errorf("its user answers: %v", err)
		}
		w.finish()
	})
}
