package phones

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A caller from the network whom a telephone sends on to somebody in the network talks with them over two lines of the
// same trunk, whichever way the telephone does it: by redirecting the call, by a transfer, or by a transfer after asking.
func TestSentOutAgain(t *testing.T) {
	w, peer, _ := withTrunk(t, "0309876", nil)
	a := w.handset("100")
	const out = "<sip:0301234@127.0.0.1>"
	for name, send := range map[string]func(in *sip.Invitation){
		"redirected": func(in *sip.Invitation) {
			in.Reject(sip.Answer{Code: 302, Headers: []sip.Header{{Name: "Contact", Value: out}}})
			peer.answer(wait.Next(t, peer.calls, "the call to the network"))
		},
		"transferred": func(in *sip.Invitation) {
			d := a.answer(in)
			w.event("100", "Established")
			if code := refer(t, d, out); code != 202 {
				t.Fatal(code)
			}
			peer.answer(wait.Next(t, peer.calls, "the call to the network"))
			wait.Next(t, a.ended, "the end of the call at the telephone")
		},
		"transferred after asking": func(in *sip.Invitation) {
			d := a.answer(in)
			w.event("100", "Established")
			held := make(chan int, 1)
			d.Reinvite(sdpType, sdp("sendonly"), func(res sip.Result) { held <- res.Code() })
			wait.Next(t, held, "hold")
			final, _ := a.call(t.Context(), "0301234")
			peer.answer(wait.Next(t, peer.calls, "the call to the network"))
			o := wait.Next(t, final, "the answer")
			if o.err != nil {
				t.Fatal(o.err)
			}
			w.event("100", "Established")
			local, remote := o.dialog.Tags()
			replaces := url.QueryEscape(fmt.Sprintf("%s;to-tag=%s;from-tag=%s", o.dialog.CallID(), remote, local))
			if code := refer(t, d, "<sip:0301234@127.0.0.1?Replaces="+replaces+">"); code != 202 {
				t.Fatal(code)
			}
			for range 2 {
				wait.Next(t, a.ended, "the end of the calls at the telephone")
			}
		},
	} {
		final, _ := peer.call(t.Context(), "5550100")
		send(wait.Next(t, a.calls, "the call from the network"))
		o := wait.Next(t, final, "the answer")
		if o.err != nil {
			t.Fatal(name, o.err)
		}
		wait.For(t, name, func() bool { _, legs := w.Counts(); return legs == 2 })
		res := w.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("900")})
		lines := res.Connections()
		if len(lines) != 2 || lines[0].CallID() != lines[1].CallID() || lines[0].DeviceID() != "900" || lines[1].DeviceType() != uacsta.Dynamic {
			t.Errorf("%s: %s", name, res)
		}
		w.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.ConnectionID{CallID: lines[1].CallID(), DeviceID: uacsta.Typed(lines[1].DeviceID(), uacsta.Dynamic)}})
		for range 2 {
			wait.Next(t, peer.ended, "the end of both calls")
		}
		w.leave()
		w.mu.Lock()
		w.seen = nil
		w.mu.Unlock()
	}
}
