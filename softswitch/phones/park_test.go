package phones

import (
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// A user parks a call, by REFER or by dialling the park device while holding the call, and another user fetches it
// by dialling the same number. A place that is taken, and no call to park, are refused.
func TestPark(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	for _, dials := range []bool{false, true} {
		caller, callee := w.talking(a, b)
		if dials {
			wait.Next(t, hold(callee, "sendonly"), "the hold")
			w.event("100", "Held")
			final, _ := b.call(t.Context(), "700")
			if o := wait.Next(t, final, "the confirmation"); o.err != nil {
				t.Fatal(o.err)
			}
			wait.Next(t, b.ended, "the end of the call to the park device")
		} else {
			if code := refer(t, callee, "<sip:700@127.0.0.1>"); code != 202 {
				t.Fatal(code)
			}
			b.result(t, "100 Trying", false)
			b.result(t, "200 OK", false)
		}
		wait.Next(t, b.ended, "the end of the call that was parked")
		w.event("100", "Queued")
		final, _ := c.call(t.Context(), "700")
		o := wait.Next(t, final, "the call")
		if o.err != nil {
			t.Fatal(o.err)
		}
		w.event("102", "Established")
		o.dialog.Bye()
		wait.Next(t, a.ended, "the end")
		caller.Bye()
		w.leave()
	}
	final, _ := c.call(t.Context(), "700")
	if o := wait.Next(t, final, "the refusal"); o.code() != 404 {
		t.Errorf("nothing is parked: %d %v", o.code(), o.err)
	}
	w.talking(a, b)
	w.talking(a, c) // the first one is held
	if final, _ = a.call(t.Context(), "700"); wait.Next(t, final, "the refusal").code()/100 != 4 {
		t.Error("one of two calls is parked")
	}
}
