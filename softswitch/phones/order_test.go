package phones

import (
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
)

// often is how often a test repeats what goes wrong only now and then.
const often = 20

// hold sends a re-INVITE with a direction, and waits for nothing.
func hold(d *sip.Dialog, direction string) (answered chan sip.Result) {
	answered = make(chan sip.Result, 1)
	d.Reinvite(sdpType, sdp(direction), func(res sip.Result) { answered <- res })
	return answered
}

// A user answers a waiting call: the telephone holds the first one and accepts the second at once.
func TestAnswerWaitingCall(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	for range often {
		_, first := w.talking(a, b)
		final, _ := c.call(t.Context(), "101")
		waiting := wait.Next(t, b.calls, "the waiting call")
		held := hold(first, "sendonly")
		second := b.answer(waiting)
		if res := wait.Next(t, held, "the answer to the hold"); res.Code() != 200 {
			t.Fatalf("hold: %d", res.Code())
		}
		if o := wait.Next(t, final, "the answer"); o.err != nil {
			t.Fatal(o.err)
		}
		w.event("100", "Held")
		w.event("102", "Established")
		first.Bye()
		second.Bye()
		wait.Next(t, a.ended, "the end of the first call")
		wait.Next(t, c.ended, "the end of the second call")
		w.leave()
	}
}

// A user swaps two calls: the telephone holds one and retrieves the other without waiting for a response.
func TestSwapInOneBurst(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	_, first := w.talking(a, b)
	wait.Next(t, hold(first, "sendonly"), "the hold")
	w.event("100", "Held")
	second, _ := w.talking(b, c)
	active, other, names := second, first, []string{"102", "100"}
	for n := range often {
		holds, retrieves := hold(active, "sendonly"), hold(other, "sendrecv")
		for what, answered := range map[string]chan sip.Result{"hold": holds, "retrieval": retrieves} {
			if res := wait.Next(t, answered, what); res.Code() != 200 {
				t.Fatalf("swap %d, %s: %d", n, what, res.Code())
			}
		}
		w.event(names[n%2], "Held")
		w.event(names[1-n%2], "Retrieved")
		active, other = other, active
	}
}
