package phones

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A telephone calls another one, which rings and answers; either of them clears.
func TestCall(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	for _, calleeClears := range []bool{false, true} {
		final, progress := a.call(t.Context(), "101")
		in := wait.Next(t, b.calls, "the call")
		if from := in.From(); !strings.HasPrefix(from.URI, "sip:100@") || directionOf(in.Body()) != "sendrecv" {
			t.Errorf("called by %s: %s", from.URI, in.Body())
		}
		b.ring(in)
		if code := wait.Next(t, progress, "ringing"); code != 180 {
			t.Errorf("the caller gets %d", code)
		}
		callee := b.answer(in)
		o := wait.Next(t, final, "the answer")
		if o.err != nil || directionOf(o.res.Body()) != "sendrecv" {
			t.Fatal(o.err)
		}
		for _, name := range []string{"Originated", "Delivered", "Established"} {
			w.event("100", name)
		}
		w.event("101", "Delivered")
		w.event("101", "Established")
		if reachable, legs := w.Counts(); reachable != 2 || legs != 2 {
			t.Errorf("%d telephones, %d in calls", reachable, legs)
		}
		if calleeClears {
			callee.Bye()
			wait.Next(t, a.ended, "the end at the caller")
		} else {
			o.dialog.Bye()
			wait.Next(t, b.ended, "the end at the callee")
		}
		w.event("100", "ConnectionCleared")
		w.event("101", "ConnectionCleared")
		w.leave()
	}
}

// A call that is not taken ends as its telephone says, and is shown so to the caller.
func TestNotAnswered(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	for code, want := range map[int]int{486: 486, 600: 486, 603: 603, 480: 480, 404: 404, 488: 488, 403: 403} {
		final, _ := a.call(t.Context(), "101")
		wait.Next(t, b.calls, "the call").Reject(sip.Answer{Code: code})
		if o := wait.Next(t, final, "the refusal"); o.code() != want {
			t.Errorf("%d: the caller gets %d %v, want %d", code, o.code(), o.err, want)
		}
		w.leave()
	}
	for number, want := range map[string]int{"103": 480, "555": 404} { // not registered, and no number
		final, _ := a.call(t.Context(), number)
		if o := wait.Next(t, final, "the refusal"); o.code() != want {
			t.Errorf("%s: the caller gets %d %v, want %d", number, o.code(), o.err, want)
		}
		w.leave()
	}
}

// A caller who gives up has the telephone stop ringing.
func TestGivenUp(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	ctx, cancel := context.WithCancel(t.Context())
	final, progress := a.call(ctx, "101")
	in := wait.Next(t, b.calls, "the call")
	stopped := make(chan struct{})
	in.OnCancel(func(sip.Causes) { close(stopped) })
	b.ring(in)
	wait.Next(t, progress, "ringing")
	cancel()
	wait.Next(t, stopped, "the end of ringing")
	if o := wait.Next(t, final, "the end"); !errors.Is(o.err, context.Canceled) {
		t.Error(o.err)
	}
	w.event("101", "ConnectionCleared")
	w.leave()
}

// A telephone that redirects to several numbers has the call sent to the next one when the one before is busy.
func TestRedirectedFurther(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c, d := w.handset("100"), w.handset("101"), w.handset("102"), w.handset("103")
	final, _ := a.call(t.Context(), "101")
	wait.Next(t, b.calls, "the call").Reject(sip.Answer{Code: 300, Headers: []sip.Header{
		{Name: "Contact", Value: "<sip:103@127.0.0.1>;q=0.1, <sip:555@127.0.0.1>;q=0.9"}, {Name: "Contact", Value: "<sip:102@127.0.0.1>;q=0.5"},
	}})
	wait.Next(t, c.calls, "the call sent on").Reject(sip.Answer{Code: 486})
	last := d.answer(wait.Next(t, d.calls, "the call sent further"))
	if o := wait.Next(t, final, "the answer"); o.err != nil {
		t.Fatal(o.err)
	}
	w.event("103", "Established")
	last.Bye()
	wait.Next(t, a.ended, "the end at the caller")
	w.leave()
}

// A telephone that redirects has the call sent on.
func TestRedirected(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	final, _ := a.call(t.Context(), "101")
	wait.Next(t, b.calls, "the call").Reject(sip.Answer{Code: 302, Headers: []sip.Header{{Name: "Contact", Value: "<sip:102@127.0.0.1>"}}})
	d := c.answer(wait.Next(t, c.calls, "the call sent on"))
	if o := wait.Next(t, final, "the answer"); o.err != nil {
		t.Fatal(o.err)
	}
	w.event("101", "Diverted")
	w.event("102", "Established")
	d.Bye()
	wait.Next(t, a.ended, "the end at the caller")
	w.leave()
}

// An extension with two telephones rings at both; the first to answer has the call, and the other one's is no
// missed one.
func TestTwoTelephones(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	other := w.newHandset("101", b.server)
	other.register(t)
	final, _ := a.call(t.Context(), "101")
	one, two := wait.Next(t, b.calls, "the call"), wait.Next(t, other.calls, "the call")
	stopped := make(chan struct{})
	two.OnCancel(func(sip.Causes) { close(stopped) })
	other.ring(two)
	b.answer(one)
	o := wait.Next(t, final, "the answer")
	if o.err != nil {
		t.Fatal(o.err)
	}
	o.dialog.Bye() // perhaps before the other telephone has answered the CANCEL
	wait.Next(t, b.ended, "the end")
	wait.Next(t, stopped, "the end of ringing at the other one")
	w.leave()
	for _, codes := range [][2]int{{486, 480}, {480, 486}, {500, 486}} { // the caller gets what says most
		final, _ = a.call(t.Context(), "101")
		one, two = wait.Next(t, b.calls, "the call"), wait.Next(t, other.calls, "the call")
		one.Reject(sip.Answer{Code: codes[0]})
		two.Reject(sip.Answer{Code: codes[1]})
		if o := wait.Next(t, final, "the refusal"); o.code() != 486 {
			t.Errorf("%v: %d %v", codes, o.code(), o.err)
		}
		w.leave()
	}
	for code, want := range map[int]int{600: 486, 603: 603} { // the user wants no telephone to ring
		final, _ = a.call(t.Context(), "101")
		one, two = wait.Next(t, b.calls, "the call"), wait.Next(t, other.calls, "the call")
		stopped := make(chan struct{})
		two.OnCancel(func(sip.Causes) { close(stopped) })
		other.ring(two)
		one.Reject(sip.Answer{Code: code})
		wait.Next(t, stopped, "the end of ringing at the other one")
		if o := wait.Next(t, final, "the refusal"); o.code() != want {
			t.Errorf("%d: %d %v", code, o.code(), o.err)
		}
		w.leave()
	}
}

// One telephone of an extension declines a call, which rings on at the other, as the configuration says.
func TestRingsOn(t *testing.T) {
	w := aWorld(t, "", func(cfg *Config) { cfg.RingsOn = true })
	a, b := w.handset("100"), w.handset("101")
	other := w.newHandset("101", b.server)
	other.register(t)
	final, _ := a.call(t.Context(), "101")
	wait.Next(t, b.calls, "the call").Reject(sip.Answer{Code: 603})
	other.answer(wait.Next(t, other.calls, "the call"))
	o := wait.Next(t, final, "the answer")
	if o.err != nil {
		t.Fatal(o.err)
	}
	o.dialog.Bye()
	wait.Next(t, other.ended, "the end")
	w.leave()
}

// A client makes a call: the caller's telephone is called first, and the other one once it has answered.
func TestMakeCall(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	res := w.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101"), AutoOriginate: "doNotPrompt"})
	in := wait.Next(t, a.calls, "the prompt")
	if info := in.Header("Call-Info"); !strings.Contains(info, "answer-after=0") {
		t.Errorf("it does not answer by itself: %q", info)
	}
	if from := in.From().URI; !strings.HasPrefix(from, "sip:101@") {
		t.Errorf("its display says %s", from)
	}
	a.answer(in)
	b.answer(wait.Next(t, b.calls, "the call"))
	w.event("101", "Established")
	call := res.Connections()[0].CallID()
	w.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(call, "100")})
	wait.Next(t, a.ended, "the end")
	wait.Next(t, b.ended, "the end")
	w.leave()
}

// A user holds a call, and takes it back; and so does a client.
func TestHold(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	caller, _ := w.talking(a, b)
	reinvite := func(direction string) {
		t.Helper()
		answered := make(chan sip.Result, 1)
		caller.Reinvite(sdpType, sdp(direction), func(res sip.Result) { answered <- res })
		if res := wait.Next(t, answered, "the answer"); res.Code() != 200 {
			t.Fatal(res.Code())
		}
	}
	reinvite("sendonly")
	w.event("101", "Held")
	reinvite("sendrecv")
	m := w.event("101", "Retrieved")
	w.event("100", "Held")
	w.event("100", "Retrieved")
	w.must(uacsta.HoldCall{CallToBeHeld: connection(m, "101")})
	if got := wait.Next(t, b.asked, "the hold"); got != "INVITE sendonly" {
		t.Error(got)
	}
	w.event("100", "Held")
	w.must(uacsta.RetrieveCall{CallToBeRetrieved: connection(m, "101")})
	if got := wait.Next(t, b.asked, "the retrieval"); got != "INVITE sendrecv" {
		t.Error(got)
	}
	w.event("100", "Retrieved")
	w.must(uacsta.ClearConnection{ConnectionToBeCleared: connection(m, "101")})
	wait.Next(t, a.ended, "the end")
	w.leave()
}

// A client consults and transfers over a telephone that knows nothing of it: it has one leg for both calls.
func TestConsultation(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	w.talking(a, b)
	active := uacsta.Conn("", "")
	w.Server.mu.Lock()
	for _, p := range w.parties {
		if p.Device == "101" {
			active = uacsta.Conn(p.call, "101")
		}
	}
	w.Server.mu.Unlock()
	res := w.must(uacsta.ConsultationCall{ExistingCall: active, ConsultedDevice: uacsta.Dev("102")})
	consulted := uacsta.Conn(res.Connections()[0].CallID(), "101")
	dialog := c.answer(wait.Next(t, c.calls, "the consultation"))
	w.event("102", "Established")
	if _, legs := w.Counts(); legs != 3 {
		t.Errorf("%d legs", legs)
	}
	w.must(uacsta.TransferCall{HeldCall: active, ActiveCall: consulted})
	wait.Next(t, b.ended, "the end at who transferred")
	w.event("100", "Transfered")
	dialog.Bye()
	wait.Next(t, a.ended, "the end")
	w.leave()
}

// A user consults by a second call, and leaves the two others to each other by REFER with Replaces.
func TestReferWithReplaces(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	_, first := w.talking(a, b)
	held := make(chan sip.Result, 1)
	first.Reinvite(sdpType, sdp("sendonly"), func(res sip.Result) { held <- res })
	wait.Next(t, held, "the hold")
	w.event("101", "Held")
	second, _ := w.talking(b, c)
	local, remote := second.Tags()
	answered := make(chan int, 1)
	first.Send("REFER", "", nil, func(res sip.Result) { answered <- res.Code() }, sip.Header{
		Name: "Refer-To", Value: "<sip:102@127.0.0.1?Replaces=" + second.CallID() + "%3Bto-tag%3D" + remote + "%3Bfrom-tag%3D" + local + ">",
	})
	if code := wait.Next(t, answered, "the response"); code != 202 {
		t.Fatal(code)
	}
	for _, want := range []string{"100 Trying", "200 OK"} {
		if got := wait.Next(t, b.asked, want); got != "NOTIFY refer SIP/2.0 "+want {
			t.Errorf("%q, want %s", got, want)
		}
	}
	w.event("100", "Transfered")
	w.event("102", "Transfered")
	wait.Next(t, b.ended, "the end of one call")
	wait.Next(t, b.ended, "the end of the other")
	w.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})
	if _, legs := w.Counts(); legs < 2 {
		t.Errorf("%d legs", legs)
	}
}

// A telephone takes a call that rings at another one of its pickup group, by INVITE with Replaces; one of no
// such group may not, and nobody what there is not.
func TestPickUp(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b, c, d := w.handset("100"), w.handset("101"), w.handset("102"), w.handset("103")
	final, progress := a.call(t.Context(), "101")
	in := wait.Next(t, b.calls, "the call")
	stopped := make(chan struct{})
	in.OnCancel(func(sip.Causes) { close(stopped) })
	early, err := in.Progress(b, sip.Answer{Code: 180})
	if err != nil {
		t.Fatal(err)
	}
	wait.Next(t, progress, "ringing")
	local, remote := early.Tags()
	replaces := sip.Header{Name: "Replaces", Value: early.CallID() + ";to-tag=" + local + ";from-tag=" + remote}
	if o := outcomeOf(t, d, replaces); o.code() != 403 {
		t.Errorf("of another group: %d %v", o.code(), o.err)
	}
	if o := outcomeOf(t, c, sip.Header{Name: "Replaces", Value: "none;to-tag=1;from-tag=2"}); o.code() != 481 {
		t.Errorf("what there is not: %d %v", o.code(), o.err)
	}
	taken := outcomeOf(t, c, replaces)
	if taken.err != nil {
		t.Fatal(taken.err)
	}
	wait.Next(t, stopped, "the end of ringing")
	if o := wait.Next(t, final, "the answer"); o.err != nil {
		t.Fatal(o.err)
	}
	w.event("102", "Established")
	taken.dialog.Bye()
	wait.Next(t, a.ended, "the end")
	w.leave()
}

func outcomeOf(t *testing.T, h *handset, replaces sip.Header) outcome {
	t.Helper()
	final, _ := h.call(t.Context(), "101", replaces)
	return wait.Next(t, final, "the outcome")
}

// Keys that come by INFO reach the other telephone, and clients.
func TestKeys(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	caller, _ := w.talking(a, b)
	info := func(contentType, body string) int {
		t.Helper()
		answered := make(chan int, 1)
		caller.Send("INFO", contentType, []byte(body), func(res sip.Result) { answered <- res.Code() })
		return wait.Next(t, answered, "the response")
	}
	for _, tt := range []struct{ contentType, body, want string }{
		{"application/dtmf-relay", "Signal=5\r\nDuration=100\r\n", "5"}, {"application/dtmf", "11", "#"}, {"application/dtmf", "b", "B"},
	} {
		if code := info(tt.contentType, tt.body); code != 200 {
			t.Errorf("%q: %d", tt.body, code)
		}
		if got := wait.Next(t, b.asked, "the key"); !strings.Contains(got, "Signal="+tt.want) {
			t.Errorf("%q: %q", tt.body, got)
		}
		if m := w.event("101", "DtmfDetected"); m.Text("dtmfChar") != tt.want {
			t.Errorf("%q: %s", tt.body, m)
		}
	}
	for contentType, want := range map[string]int{"application/dtmf": 400, "text/plain": 415} {
		if code := info(contentType, "none"); code != want {
			t.Errorf("%s: %d", contentType, code)
		}
	}
	caller.Bye()
	wait.Next(t, b.ended, "the end")
	w.leave()
}

// An offer that cannot be used is refused, and none is answered by an offer of ours.
func TestOffers(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	invite := func(contentType string, body []byte) outcome {
		own := "sip:100@127.0.0.1"
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		d, res, err := a.ua.Invite(ctx, sip.Invite{To: own, Target: sip.WithUser(a.server, "101"), From: own, Username: "100", Password: "secret", ContentType: contentType, Body: body}, a)
		return outcome{d, res, err}
	}
	if o := invite("text/plain", []byte("hello")); o.code() != 415 {
		t.Errorf("no description: %d %v", o.code(), o.err)
	}
	if o := invite(sdpType, []byte("v=0\r\n")); o.code() != 488 {
		t.Errorf("a description of nothing: %d %v", o.code(), o.err)
	}
	answered := make(chan *sip.Dialog, 1)
	go func() { answered <- b.answer(<-b.calls) }()
	o := invite("", nil)
	if o.err != nil || !strings.Contains(string(o.res.Body()), "m=audio") {
		t.Fatal(o.err)
	}
	wait.Next(t, answered, "the answer").Bye()
	wait.Next(t, a.ended, "the end")
	w.leave()
}

// A re-INVITE without offer gets ours; one that cannot be used changes nothing; and what a telephone may not ask
// in a call is refused.
func TestRenegotiation(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	caller, _ := w.talking(a, b)
	for _, tt := range []struct {
		contentType string
		body        []byte
		code        int
	}{{"text/plain", []byte("hello"), 415}, {sdpType, []byte("v=0\r\n"), 488}, {sdpType, sdp("inactive"), 200}, {sdpType, sdp("sendrecv"), 200}} {
		answered := make(chan sip.Result, 1)
		caller.Reinvite(tt.contentType, tt.body, func(res sip.Result) { answered <- res })
		if res := wait.Next(t, answered, "the answer"); res.Code() != tt.code {
			t.Errorf("%s %q: %d", tt.contentType, tt.body, res.Code())
		}
	}
	w.event("100", "Retrieved")
	answered := make(chan sip.Result, 1)
	caller.Reinvite("", nil, func(res sip.Result) { answered <- res })
	if res := wait.Next(t, answered, "the answer"); res.Code() != 200 || !strings.Contains(string(res.Response.Body()), "m=audio") {
		t.Errorf("without offer: %d", res.Code())
	}
	for method, want := range map[string]int{"NOTIFY": 200, "SUBSCRIBE": 501} {
		caller.Send(method, "", nil, func(res sip.Result) { answered <- res }, sip.Header{Name: "Event", Value: "refer"}, sip.Header{Name: "Subscription-State", Value: "active"})
		if res := wait.Next(t, answered, "the answer"); res.Code() != want {
			t.Errorf("%s: %d", method, res.Code())
		}
	}
	caller.Bye()
	wait.Next(t, b.ended, "the end")
	w.leave()
}

// A telephone whose answer cannot be used does not have the call; and one that is not heard any more loses it.
func TestUselessAnswer(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	final, _ := a.call(t.Context(), "101")
	if _, err := wait.Next(t, b.calls, "the call").Accept(b, sip.Answer{ContentType: sdpType, Body: []byte("v=0\r\n")}); err != nil {
		t.Fatal(err)
	}
	wait.Next(t, b.ended, "the end at the callee")
	if o := wait.Next(t, final, "the refusal"); o.code() != 488 {
		t.Errorf("the caller gets %d %v", o.code(), o.err)
	}
	w.leave()
	w.talking(a, b)
	w.Server.mu.Lock()
	var one *leg
	for l := range w.all {
		one = l
	}
	w.Server.mu.Unlock()
	one.Dead(media.ErrSilent) // as its voice says
	wait.Next(t, a.ended, "the end at the caller")
	wait.Next(t, b.ended, "the end at the callee")
	w.leave()
}
