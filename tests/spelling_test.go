package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A client gets its own device as it wrote it, with its subaddress and its typeOfNumber, in events, in connections and in
// responses; one number counts for policy, for the audit file and for the switch. What could be another device is refused.
func TestSpellings(t *testing.T) {
	t.Parallel()
	r := serve(t, everyKind)
	called := map[string]string{"1000": "1010", "1001": "1011", "1002": "1012", "1003": "1013"}
	for device, tt := range map[string]struct{ spelled, want string }{ // a device of its own for each, so that no event is of another call
		"1000": {`>N&lt;1000&gt;<`, ":N<1000>"},
		"1001": {`>N&lt;1001!98&gt;<`, ":N<1001!98>"},
		"1002": {` typeOfNumber="dialingNumber">1002<`, "dialingNumber:1002"},
		"1003": {` typeOfNumber="implicitPrivate">N&lt;1003!98&gt;<`, "implicitPrivate:N<1003!98>"},
	} {
		c := r.xml()
		c.write(1, `<MonitorStart xmlns="`+uacsta.NamespaceED3+`"><monitorObject><deviceObject`+tt.spelled+`/deviceObject></monitorObject></MonitorStart>`)
		if _, m, err := c.read(); err != nil || m.Err() != nil {
			t.Fatalf("%s: %v %v", tt.spelled, m, err)
		}
		c.write(2, `<MakeCall xmlns="`+uacsta.NamespaceED3+`"><callingDevice`+tt.spelled+`/callingDevice><calledDirectoryNumber>`+called[device]+`</calledDirectoryNumber><autoOriginate>doNotPrompt</autoOriginate></MakeCall>`)
		var told []string
		for _, want := range []string{"MakeCallResponse", "ServiceInitiatedEvent", "OriginatedEvent", "DeliveredEvent"} {
			_, m, err := c.read()
			if err != nil || m.Name() != want {
				t.Fatalf("%s: %v %v, want %s", tt.spelled, m, err, want)
			}
			for _, d := range m.Devices() {
				if strings.Contains(d.ID(), device) {
					told = append(told, d.Type()+":"+d.ID())
				}
			}
		}
		for _, got := range told {
			if got != tt.want {
				t.Errorf("%s comes back as %s", tt.spelled, got)
			}
		}
		if len(told) < 5 {
			t.Errorf("%s comes back %d times only", tt.spelled, len(told))
		}
	}
	c := r.xml()
	for _, other := range []string{"N<1000!>", "N<1000!98&1>", "N<1000/7>", "N<1000!98!99>"} {
		if m := c.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(other)}); !uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID).Is(m.Err()) {
			t.Errorf("%s: %v", other, m)
		}
	}
	r.stop()
}

// The edition of a request is that of its response, also for what the edition does not define, and for a refusal.
func TestEditionsOfResponses(t *testing.T) {
	t.Parallel()
	r := serve(t, everyKind)
	c := r.xml()
	for _, edition := range []uacsta.Edition{2, 3, 4, 5, 6, 7} {
		for _, request := range []string{
			"GetCallBack><device>1000</device></GetCallBack", "GetMonitors></GetMonitors", "GetCSTAFeatures></GetCSTAFeatures", "SnapshotDevice><snapshotObject>1000</snapshotObject></SnapshotDevice",
			"SnapshotDevice><snapshotObject>9999</snapshotObject></SnapshotDevice", "SnapshotDevice><snapshotObject>1000</snapshotObject><snapshotObject>1001</snapshotObject></SnapshotDevice",
			"GetForwarding><device>1000</device></GetForwarding", "SystemRegister><requestTypes><systemStatus>true</systemStatus></requestTypes></SystemRegister", "Nonsense></Nonsense",
		} {
			name, rest, _ := strings.Cut(request, ">")
			c.write(7, fmt.Sprintf(`<%s xmlns="%s">%s>`, name, edition.Namespace(), rest))
			_, m, err := c.read()
			if err != nil {
				t.Fatal(err)
			}
			if m.Namespace() != edition.Namespace() {
				t.Errorf("%s in edition %d: %s", name, edition, m)
			}
		}
	}
	r.stop()
}
