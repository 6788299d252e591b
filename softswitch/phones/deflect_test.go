package phones

import (
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A call that a client deflects to several telephones rings at all of them. One that rejects it drops out; the first that
// answers has it, and the others stop.
func TestDeflectedToSeveral(t *testing.T) {
	for _, rejects := range []bool{true, false} {
		w := aWorld(t, "", nil)
		a, b, c, d := w.handset("100"), w.handset("101"), w.handset("102"), w.handset("103")
		final, _ := a.call(t.Context(), "101")
		first := wait.Next(t, b.calls, "the call")
		b.ring(first)
		own := connection(w.event("101", "Delivered"), "101")
		several := uacsta.DeflectCall{CallToBeDiverted: own, NewDestination: []uacsta.DeviceID{uacsta.Dev("102"), uacsta.Dev("103")}}
		if _, err := w.sw.Ask(uacsta.Encode(several, uacsta.Edition6)); err != nil {
			t.Fatal(err)
		}
		atC := wait.Next(t, c.calls, "the call at 102")
		atD := wait.Next(t, d.calls, "the call at 103")
		stopped := make(chan struct{})
		atD.OnCancel(func(sip.Causes) { close(stopped) })
		c.ring(atC)
		d.ring(atD)
		w.event("102", "Delivered")
		w.event("103", "Delivered")
		if rejects {
			atD.Reject(sip.Answer{Code: 486})
			if ev := w.event("103", "ConnectionCleared"); ev.Text("cause") != "busy" {
				t.Errorf("%s", ev)
			}
		}
		last := c.answer(atC)
		if o := wait.Next(t, final, "the answer"); o.err != nil {
			t.Fatal(o.err)
		}
		w.event("102", "Established")
		if !rejects {
			wait.Next(t, stopped, "the end of ringing")
			w.event("103", "ConnectionCleared")
		}
		last.Bye()
		wait.Next(t, a.ended, "the end at the caller")
		w.leave()
	}
}

// A call that a client transfers to a telephone that rejects it rings at the telephone that had it.
func TestClientsTransferReturns(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	w.talking(a, b)
	own := uacsta.Conn("", "101") // its one call
	w.must(uacsta.SingleStepTransferCall{ActiveCall: own, TransferredTo: uacsta.Dev("102")})
	wait.Next(t, b.ended, "the end at the telephone that transfers")
	in := wait.Next(t, c.calls, "the call transferred")
	c.ring(in)
	w.event("102", "Delivered")
	in.Reject(sip.Answer{Code: 486})
	if ev := w.event("102", "Diverted"); ev.Text("cause") != "recallBusy" {
		t.Errorf("%s", ev)
	}
	back := wait.Next(t, b.calls, "the call that returns")
	b.ring(back)
	for w.event("101", "Delivered").Text("cause") != "recallBusy" {
		continue // that of the first call
	}
	last := b.answer(back)
	w.event("101", "Established")
	last.Bye()
	wait.Next(t, a.ended, "the end at the caller")
	w.leave()
}
