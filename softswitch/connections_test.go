package softswitch

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/tests/connections"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// situations say where a service that names connections starts from, in calls of 100, and what
// it names: active, held, and another device. 103 and 108 talk in a call of their own.
var situations = map[string]struct {
	setup        func(*world)
	active, held string
	to           string
}{
	"AlternateCall":            {(*world).consulted, "Y100", "X100", ""},
	"AnswerCall":               {func(w *world) { w.must(w.makeCall("101", "100")) }, "X100", "", ""},
	"AssociateData":            {(*world).talking, "X100", "", ""},
	"CallBack":                 {func(w *world) { w.must(w.makeCall("100", "104")) }, "X100", "", ""},
	"CamponCall":               {func(w *world) { w.must(w.makeCall("100", "104")) }, "X100", "", ""},
	"ClearCall":                {(*world).talking, "X100", "", ""},
	"ClearConnection":          {(*world).talking, "X100", "", ""},
	"ConferenceCall":           {(*world).consulted, "Y100", "X100", ""},
	"ConsultationCall":         {(*world).talking, "X100", "", "109"},
	"DeflectCall":              {func(w *world) { w.must(w.makeCall("101", "100")) }, "X100", "", "109"},
	"DirectedPickupCall":       {func(w *world) { w.must(w.makeCall("101", "100")) }, "X100", "", "109"},
	"GenerateDigits":           {(*world).talking, "X100", "", ""},
	"HoldCall":                 {(*world).talking, "X100", "", ""},
	"IntrudeCall":              {busy, "Y100", "", ""},
	"JoinCall":                 {(*world).talking, "X100", "", "109"},
	"MonitorStart":             {(*world).talking, "X100", "", ""},
	"ParkCall":                 {(*world).talking, "X100", "", "400"},
	"PlayMessage":              {(*world).talking, "X100", "", ""},
	"ReconnectCall":            {(*world).consulted, "Y100", "X100", ""},
	"RecordMessage":            {(*world).talking, "X100", "", ""},
	"RetrieveCall":             {func(w *world) { w.talking(); w.must(w.hold("X100")) }, "X100", "", ""},
	"SendUserInformation":      {(*world).talking, "X100", "", ""},
	"SingleStepConferenceCall": {(*world).talking, "X100", "", "109"},
	"SingleStepTransferCall":   {(*world).talking, "X100", "", "109"},
	"SnapshotCall":             {(*world).talking, "X100", "", ""},
	"Stop":                     {playing, "X100", "", ""},
	"TransferCall":             {(*world).consulted, "Y100", "X100", ""},
}

// busy has 100 hear that 107 is in another call.
func busy(w *world) {
	w.must(w.makeCall("101", "107"))
	w.must(w.answer("X107"))
	w.must(w.makeCall("100", "107"))
}

// playing has a message played in a call of 100 and 101.
func playing(w *world) {
	w.talking()
	w.must(uacsta.PlayMessage{MessageToBePlayed: "hello", OverConnection: w.conn("X100")})
}

var connectionType = reflect.TypeFor[uacsta.ConnectionID]()

// A service is carried out on exactly the connection that it names: what is put together of a
// callID and a device of different connections, or has no device, is refused, and nothing happens
// in either call. A device alone names the one of its connections that the service can be carried out on.
func TestConnections(t *testing.T) {
	carried := connections.Services(func(service string) bool { return handlers[service] != nil })
	for service := range handlers {
		asks := reflect.TypeOf(uacsta.New(service)).Elem()
		for i := range asks.NumField() {
			if kind := asks.Field(i).Type; !connections.Names(service) && (kind == connectionType || kind == reflect.PointerTo(connectionType)) {
				t.Errorf("no case for %s", service)
			}
		}
	}
	for _, service := range carried {
		t.Run(service, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { namesConnections(t, service) })
		})
	}
}

func namesConnections(t *testing.T, service string) {
	at := situations[service]
	if at.setup == nil {
		t.Fatal("no situation")
	}
	w := newWorldOf(t, everything, "100", "101", "102", "103", "104", "107", "108", "109")
	w.sw.SetLibrary(shelf{})
	at.setup(w)
	foreign := uacsta.Conn(w.apart(), "108")
	named := connections.Named{Active: w.conn(at.active), To: at.to}
	if at.held != "" {
		named.Held = w.conn(at.held)
	}
	w.events()
	ask := func(m *uacsta.Message) error {
		answer := make(chan error, 1)
		w.sw.Request(m, func(_ *uacsta.Message, err error) { answer <- err })
		return <-answer
	}
	for _, wrong := range connections.Wrong(t, service, named, foreign) {
		got := refusal(ask(wrong.Request))
		if !slices.Contains([]string{"operation/invalidConnectionID", "operation/invalidHeldConnectionID", "operation/invalidActiveConnectionID"}, got) {
			t.Errorf("%s: %q", wrong.Name, got)
		}
		if seen := w.events(); len(seen) > 0 {
			t.Errorf("%s: %s", wrong.Name, strings.Join(seen, "\n"))
		}
	}
	if err := ask(connections.DeviceOnly(t, service, named)); err != nil {
		t.Errorf("by the device alone: %v", err)
	}
	w.finish()
}

// apart has two devices talk in a call of their own, and returns its callID.
func (w *world) apart() string {
	w.t.Helper()
	res := w.must(w.makeCall("103", "108"))
	id := res.Text("callingDevice/callID")
	w.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "108")})
	return id
}
