package phones

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A telephone that makes or answers a second call without holding the first keeps both: the switch holds the first,
// and takes it back when the second ends.
func TestSecondCallWithoutHold(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	for _, answers := range []bool{true, false} {
		caller, _ := w.talking(a, b)
		var second *sip.Dialog // at the other one
		if answers {
			second, _ = w.talking(c, b)
		} else {
			_, second = w.talking(b, c)
		}
		w.event("100", "Held")
		if got := wait.Next(t, b.asked, "the hold"); got != "INVITE sendonly" {
			t.Error(got)
		}
		second.Bye()
		w.event("100", "Retrieved")
		if got := wait.Next(t, b.asked, "the retrieval"); got != "INVITE sendrecv" {
			t.Error(got)
		}
		caller.Bye()
		wait.Next(t, b.ended, "the end of the second call")
		wait.Next(t, b.ended, "the end of the first call")
		w.leave()
	}
}

// A second telephone of the extension takes nothing from the first: its call is refused while that one talks.
func TestSecondCallAtAnotherTelephone(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	w.handset("102")
	w.talking(a, b)
	other := w.newHandset("101", b.server)
	final, _ := other.call(t.Context(), "102")
	if o := wait.Next(t, final, "the refusal"); o.code() != 486 {
		t.Errorf("%d %v", o.code(), o.err)
	}
	if w.has("100", "Held") {
		t.Error("the first call is on hold")
	}
}

// A user takes the first call back without holding the second: a conference. Where the switch cannot make one, the
// telephone is refused.
func TestConferenceAtTelephone(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	_, first := w.talking(a, b)
	wait.Next(t, hold(first, "sendonly"), "the hold")
	w.event("100", "Held")
	final, progress := b.call(t.Context(), "102")
	in := wait.Next(t, c.calls, "the call")
	c.ring(in)
	wait.Next(t, progress, "ringing")
	if res := wait.Next(t, hold(first, "sendrecv"), "the refusal"); res.Code() != 488 {
		t.Errorf("while the second call rings: %d", res.Code())
	}
	c.answer(in)
	if o := wait.Next(t, final, "the answer"); o.err != nil {
		t.Fatal(o.err)
	}
	w.event("102", "Established")
	if res := wait.Next(t, hold(first, "sendrecv"), "the conference"); res.Code() != 200 {
		t.Fatal(res.Code())
	}
	w.event("100", "Conferenced")
	w.event("102", "Conferenced")
	wait.Next(t, b.ended, "the end of the leg that is not needed")
	w.must(uacsta.ClearConnection{ConnectionToBeCleared: w.established("101")})
	wait.Next(t, b.ended, "the end of the other")
}

// A user takes back a call that a client holds, and a refresh of the session does not.
func TestTakeBack(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	_, callee := w.talking(a, b)
	m := w.established("101")
	w.must(uacsta.HoldCall{CallToBeHeld: m})
	if got := wait.Next(t, b.asked, "the hold"); got != "INVITE sendonly" {
		t.Error(got)
	}
	w.event("100", "Held")
	res := wait.Next(t, hold(callee, "sendrecv"), "the refresh") // the same o= line as in its answer
	if got := directionOf(res.Response.Body()); res.Code() != 200 || got != "sendonly" {
		t.Errorf("refresh: %d %s", res.Code(), got)
	}
	answered := make(chan sip.Result, 1)
	callee.Reinvite(sdpType, []byte(strings.Replace(string(sdp("sendrecv")), "o=- 1 1", "o=- 1 2", 1)), func(res sip.Result) { answered <- res })
	res = wait.Next(t, answered, "the retrieval")
	if got := directionOf(res.Response.Body()); res.Code() != 200 || got != "sendrecv" {
		t.Errorf("retrieval: %d %s", res.Code(), got)
	}
	w.event("100", "Retrieved")
	callee.Bye()
	wait.Next(t, a.ended, "the end")
	w.leave()
}

// A hold that is refused, because it has no codec that we mix, leaves the call as it is.
func TestRefusedHold(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	_, callee := w.talking(a, b)
	answered := make(chan sip.Result, 1)
	offer := strings.NewReplacer("AVP 0", "AVP 9", "0 PCMU", "9 G722", "o=- 1 1", "o=- 1 2").Replace(string(sdp("sendonly")))
	callee.Reinvite(sdpType, []byte(offer), func(res sip.Result) { answered <- res })
	if res := wait.Next(t, answered, "the refusal"); res.Code() != 488 {
		t.Errorf("%d", res.Code())
	}
	callee.Bye()
	wait.Next(t, a.ended, "the end")
	w.leave()
	if w.has("100", "Held") {
		t.Error("the switch holds the call")
	}
}

// established returns the connection of a device that has one.
func (w *world) established(device string) uacsta.ConnectionID {
	w.Server.mu.Lock()
	defer w.Server.mu.Unlock()
	for _, p := range w.parties {
		if p.Device == device {
			return uacsta.Conn(p.call, device)
		}
	}
	w.t.Fatalf("%s is in no call", device)
	return uacsta.ConnectionID{}
}

// stubborn is a telephone that goes on holding, whatever it is offered.
type stubborn struct{ *handset }

// Request implements sip.DialogHandler.
func (h stubborn) Request(d *sip.Dialog, r *sip.Request) {
	d.RespondRefresh(r, sip.Answer{ContentType: sdpType, Body: sdp("sendonly")})
	h.asked <- r.Method() + " " + directionOf(r.Body())
}

// A client retrieves a call that the telephone's user goes on holding: it learns so.
func TestStillHeld(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	final, _ := a.call(t.Context(), "101")
	d, err := wait.Next(t, b.calls, "the call").Accept(stubborn{b}, sip.Answer{ContentType: sdpType, Body: sdp("sendrecv")})
	if err != nil {
		t.Fatal(err)
	}
	wait.Next(t, final, "the answer")
	w.event("100", "Established")
	wait.Next(t, hold(d, "sendonly"), "the hold")
	w.event("100", "Held")
	for range 2 {
		w.must(uacsta.RetrieveCall{CallToBeRetrieved: w.established("101")})
		if got := wait.Next(t, b.asked, "the offer"); got != "INVITE sendrecv" {
			t.Error(got)
		}
		w.event("100", "Retrieved")
		w.event("100", "Held")
	}
	wait.Next(t, hold(d, "sendrecv"), "the retrieval")
	w.event("100", "Retrieved")
	d.Bye()
	wait.Next(t, a.ended, "the end")
	w.leave()
}
