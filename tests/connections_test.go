package tests

import (
	"slices"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/connections"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A client that names a connection which does not exist is refused, whatever the service: somebody
// else's callID with a device of its own, or a callID alone, reaches no call. Nobody in either
// call hears anything.
func TestConnectionsNamed(t *testing.T) {
	t.Parallel()
	r := serve(t, everybody)
	c := r.xml()
	o := &overseer{xmlClient: r.xml(), refs: map[string]string{}}
	for _, device := range []string{"1000", "2000", "1001", "2001"} {
		o.refs[o.monitor(device)] = device
	}
	talking := func(from, to string) string {
		id := c.ask(call(from, to)).Text("callingDevice/callID")
		o.until(to, "Established")
		return id
	}
	own, foreign := talking("1000", "2000"), talking("1001", "2001")
	o.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1000")}) // all that came before is read
	o.news = nil
	named := connections.Named{Active: uacsta.Conn(own, "1000"), Held: uacsta.Conn(own, "1000"), To: "1009"}
	refusals := []string{"invalidConnectionID", "invalidHeldConnectionID", "invalidActiveConnectionID", "serviceNotSupported"}
	for _, service := range connections.Services(func(string) bool { return true }) {
		for _, wrong := range connections.Wrong(t, service, named, uacsta.Conn(foreign, "2001")) {
			if m := c.send(wrong.Request); m.Err() == nil || !slices.Contains(refusals, m.Err().Value) {
				t.Errorf("%s: %s", wrong.Name, m)
			}
		}
	}
	for device, want := range map[string]string{"1000": own, "2000": own, "1001": foreign, "2001": foreign} {
		if calls := o.calls(device); len(calls) != 1 || calls[0].CallID != want {
			t.Errorf("%s is in %v", device, calls)
		}
	}
	if len(o.news) > 0 {
		t.Errorf("something happened: %s", o.news)
	}
	r.stop()
}
