package softswitch

import (
	"fmt"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Every type of forwarding is told to the monitors of the device when it is set, when its destination changes, and when
// it is switched off; not when nothing changes, and to no other device.
func TestForwardingEvents(t *testing.T) {
	w := newWorld(t)
	if len(forwardings) != 12 { // ECMA-269 clause 22
		t.Errorf("%d types", len(forwardings))
	}
	for _, kind := range forwardings {
		set := func(on bool, to string) {
			t.Helper()
			req := uacsta.SetForwarding{Device: uacsta.Dev("101"), ForwardingType: kind, ActivateForward: on}
			if to != "" {
				number := uacsta.Dev(to)
				req.ForwardDN = &number
			}
			w.must(req)
		}
		event := func(on bool) string { return fmt.Sprintf("101: Forwarding %s %v", kind, on) }
		set(true, "102")
		w.expect("set", "answer", event(true))
		set(true, "102")
		w.expect("set again", "answer")
		set(true, "103")
		w.expect("another destination", "answer", event(true))
		told := w.raw[len(w.raw)-1]
		if to := told.Text("forwardTo"); to != "103" {
			t.Errorf("%s: forwardTo %q", kind, to)
		}
		if rings := told.Text("ringCount"); (rings != "") != hasRings(kind) {
			t.Errorf("%s: ringCount %q", kind, rings)
		}
		set(false, "")
		w.expect("switched off", "answer", event(false))
	}
	validateAll(t, w.raw)
	w.finish()
}
