package phones

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// refer sends REFER, with a Refer-To line for each value, and returns the status code of the response.
func refer(t *testing.T, d *sip.Dialog, to ...string) int {
	t.Helper()
	var lines []sip.Header
	for _, value := range to {
		lines = append(lines, sip.Header{Name: "Refer-To", Value: value})
	}
	answered := make(chan int, 1)
	d.Send("REFER", "", nil, func(res sip.Result) { answered <- res.Code() }, lines...)
	return wait.Next(t, answered, "the response")
}

// transfers has the telephone transfer a call to 102, and checks that it is told that this goes on.
func (h *handset) transfers(t *testing.T, d *sip.Dialog, again bool) {
	t.Helper()
	if code := refer(t, d, "<sip:102@127.0.0.1>"); code != 202 {
		t.Fatal(code)
	}
	h.result(t, "100 Trying", again)
}

// result checks the next NOTIFY about a transfer: its status, and from the second transfer on, its number.
func (h *handset) result(t *testing.T, status string, again bool) {
	t.Helper()
	got := wait.Next(t, h.asked, status)
	if !strings.HasPrefix(got, "NOTIFY refer") || !strings.HasSuffix(got, " SIP/2.0 "+status) || again != strings.HasPrefix(got, "NOTIFY refer;id=") {
		t.Errorf("%q, want %s", got, status)
	}
}

// A user transfers a call by REFER: to what there is not, and to a number, which answers. The telephone learns how
// it goes on, and its call ends then.
func TestRefer(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	_, callee := w.talking(a, b)
	for _, to := range []string{"<sip:alice@127.0.0.1>", "<sip:102@127.0.0.1?Replaces=none>", "<sip:102@127.0.0.1>, <sip:103@127.0.0.1>"} {
		if code := refer(t, callee, to); code != 400 {
			t.Errorf("%s: %d", to, code)
		}
	}
	if code := refer(t, callee, "<sip:102@127.0.0.1>", "<sip:103@127.0.0.1>"); code != 400 {
		t.Errorf("two Refer-To lines: %d", code)
	}
	for n, tt := range []struct{ to, want string }{
		{"<sip:555@127.0.0.1>", "603 Declined"}, {"<sip:102@127.0.0.1?Replaces=none%3Bto-tag%3D1%3Bfrom-tag%3D2>", "481 Call/Transaction Does Not Exist"},
	} {
		if code := refer(t, callee, tt.to); code != 202 {
			t.Errorf("%s: %d", tt.to, code)
		}
		b.result(t, tt.want, n > 0)
	}
	b.transfers(t, callee, true)
	w.event("100", "Transfered")
	in := wait.Next(t, c.calls, "the call")
	c.ring(in)
	b.result(t, "180 Ringing", true)
	d := c.answer(in)
	b.result(t, "200 OK", true)
	wait.Next(t, b.ended, "the end at who transferred")
	w.event("102", "Established")
	d.Bye()
	wait.Next(t, a.ended, "the end")
	w.leave()
}

// A telephone learns that the other party of its transfer has given up, and its call ends.
func TestReferGivenUp(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	caller, callee := w.talking(a, b)
	b.transfers(t, callee, false)
	c.ring(wait.Next(t, c.calls, "the call"))
	b.result(t, "180 Ringing", false)
	if code := refer(t, callee, "<sip:103@127.0.0.1>"); code != 491 {
		t.Errorf("a second transfer meanwhile: %d", code)
	}
	caller.Bye()
	b.result(t, "487 Request Terminated", false)
	wait.Next(t, b.ended, "the end at who transferred")
	w.leave()
}

// A telephone learns that the target of its transfer has not taken the call, and has its call back as its user left it.
func TestReferFails(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	_, callee := w.talking(a, b)
	change := func(direction string) {
		t.Helper()
		answered := make(chan int, 1)
		callee.Reinvite(sdpType, sdp(direction), func(res sip.Result) { answered <- res.Code() })
		if code := wait.Next(t, answered, "the response"); code != 200 {
			t.Fatal(direction, code)
		}
	}
	for n, held := range []bool{false, true} {
		if held {
			change("sendonly")
			w.event("101", "Held")
		}
		b.transfers(t, callee, n > 0)
		in := wait.Next(t, c.calls, "the call")
		in.Reject(sip.Answer{Code: 486})
		b.result(t, "486 Busy Here", n > 0)
		for m := w.event("101", "Established"); m.Text("cause") != string(uacsta.CauseRecallBusy); {
			m = w.event("101", "Established")
		}
		if held {
			w.event("101", "Held")
			change("sendrecv")
			w.event("101", "Retrieved")
		}
	}
	b.transfers(t, callee, true) // and the next one succeeds
	d := c.answer(wait.Next(t, c.calls, "the call"))
	b.result(t, "200 OK", true)
	wait.Next(t, b.ended, "the end at who transferred")
	d.Bye()
	wait.Next(t, a.ended, "the end")
	w.leave()
}

// A telephone that has left does not get its call back.
func TestReferLeft(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	caller, callee := w.talking(a, b)
	b.transfers(t, callee, false)
	in := wait.Next(t, c.calls, "the call")
	callee.Bye()
	wait.For(t, "the end of its leg", func() bool { _, legs := w.Counts(); return legs == 2 })
	in.Reject(sip.Answer{Code: 486})
	w.event("102", "Failed")
	caller.Bye()
	w.leave()
}
