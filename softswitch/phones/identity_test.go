package phones

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// display is a telephone that reports who it shows after each re-INVITE.
type display struct {
	*handset
	shows chan string
}

// Request implements sip.DialogHandler.
func (h display) Request(d *sip.Dialog, r *sip.Request) {
	d.RespondRefresh(r, sip.Answer{ContentType: sdpType, Body: sdp("sendrecv")})
	h.shows <- r.Header("P-Asserted-Identity")
}

// A telephone whose call is joined to that of somebody without a number shows nobody, and not the one who has joined them.
// Somebody outside is not the extension whose number they show.
func TestNobody(t *testing.T) {
	w, peer, _ := withTrunk(t, "jane", nil)
	a, b := w.handset("100"), w.handset("101")
	phone := display{b, make(chan string, 10)}
	final, _ := peer.call(t.Context(), "5550100")
	in := wait.Next(t, a.calls, "the call from the network")
	if !strings.HasPrefix(in.From().URI, "sip:anonymous@") {
		t.Error(in.From())
	}
	a.answer(in)
	out := wait.Next(t, final, "the answer").dialog
	w.event("100", "Established")
	first := w.established("100")
	res := w.must(uacsta.ConsultationCall{ExistingCall: first, ConsultedDevice: uacsta.Dev("101")})
	if _, err := wait.Next(t, b.calls, "the consultation").Accept(phone, sip.Answer{ContentType: sdpType, Body: sdp("sendrecv")}); err != nil {
		t.Fatal(err)
	}
	w.event("101", "Established")
	w.must(uacsta.TransferCall{HeldCall: first, ActiveCall: uacsta.Conn(res.Connections()[0].CallID(), "100")})
	for got := ""; !strings.HasPrefix(got, "<sip:anonymous@"); { // a re-INVITE may only change the voice
		if got = wait.Next(t, phone.shows, "a re-INVITE that shows nobody"); got != "" && !strings.Contains(got, "anonymous") {
			t.Fatalf("it shows %s", got)
		}
	}
	out.Bye()
	w.leave()

	peer.number = "100"
	final, _ = peer.call(t.Context(), "5550100")
	in = wait.Next(t, a.calls, "the call from the network")
	a.ring(in)
	w.event("100", "Delivered")
	if d := w.dialogDocument("100", "100", false); !strings.Contains(d.Text, `direction="recipient"`) || strings.Contains(d.Text, `direction="initiator"`) {
		t.Error(d.Text)
	}
	in.Reject(sip.Answer{Code: 486})
	wait.Next(t, final, "the refusal")
	w.leave()
}

// A telephone with one leg for two calls shows who its user talks with, whatever a client does, and so does the one
// that is transferred.
func TestIdentity(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	phone := display{b, make(chan string, 10)}
	final, _ := a.call(t.Context(), "101")
	if _, err := wait.Next(t, b.calls, "the call").Accept(phone, sip.Answer{ContentType: sdpType, Body: sdp("sendrecv")}); err != nil {
		t.Fatal(err)
	}
	if got := wait.Next(t, final, "the answer").res.Header("P-Asserted-Identity"); !strings.HasPrefix(got, `"Telephone 101" <sip:101@`) {
		t.Errorf("the caller shows %s", got)
	}
	w.event("101", "Established")
	first := w.established("101")
	res := w.must(uacsta.ConsultationCall{ExistingCall: first, ConsultedDevice: uacsta.Dev("102")})
	second := uacsta.Conn(res.Connections()[0].CallID(), "101")
	c.answer(wait.Next(t, c.calls, "the consultation"))
	w.event("102", "Established")
	shows := func(number string) {
		t.Helper()
		for got := ""; !strings.HasPrefix(got, `"Telephone `+number+`" <sip:`+number+"@"); { // a re-INVITE may only change the voice
			if got = wait.Next(t, phone.shows, "a re-INVITE that shows "+number); got != "" && !strings.Contains(got, number) {
				t.Fatalf("it shows %s, want %s", got, number)
			}
		}
	}
	shows("102")
	w.must(uacsta.AlternateCall{HeldCall: first, ActiveCall: second})
	shows("100")
	w.must(uacsta.AlternateCall{HeldCall: second, ActiveCall: first})
	shows("102")
	w.must(uacsta.TransferCall{HeldCall: first, ActiveCall: second})
	wait.Next(t, b.ended, "the end at who transferred")
	w.event("100", "Transfered")
}
