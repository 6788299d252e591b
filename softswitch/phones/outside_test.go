package phones

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Calls go out over a trunk and come in over it.
func TestTrunk(t *testing.T) {
	w, peer, at := withTrunk(t, "0309876", nil)
	a := w.handset("100")
	final, _ := a.call(t.Context(), "0301234")
	in := wait.Next(t, peer.calls, "the call to the network")
	if !strings.HasPrefix(in.URI(), "sip:0301234@") || !strings.Contains(in.Header("P-Asserted-Identity"), "sip:100@") {
		t.Errorf("%s, %s", in.URI(), in.Header("P-Asserted-Identity"))
	}
	out := peer.answer(in)
	if o := wait.Next(t, final, "the answer"); o.err != nil {
		t.Fatal(o.err)
	}
	w.event("100", "Established")
	out.Bye()
	wait.Next(t, a.ended, "the end")
	w.leave()

	final, _ = peer.call(t.Context(), "5550100")
	in = wait.Next(t, a.calls, "the call from the network")
	if !strings.HasPrefix(in.From().URI, "sip:0309876@") {
		t.Error(in.From())
	}
	d := a.answer(in)
	if o := wait.Next(t, final, "the answer"); o.err != nil {
		t.Fatal(o.err)
	}
	refused := make(chan int, 1)
	d.Send("REFER", "", nil, func(res sip.Result) { refused <- res.Code() }, sip.Header{Name: "Refer-To", Value: "<sip:alice@127.0.0.1>"})
	if code := wait.Next(t, refused, "the response"); code != 400 {
		t.Error(code)
	}
	d.Bye()
	wait.Next(t, peer.ended, "the end")
	w.leave()
	final, _ = peer.call(t.Context(), "4711")
	if o := wait.Next(t, final, "the refusal"); o.code() != 404 {
		t.Errorf("a number that is not ours: %d %v", o.code(), o.err)
	}
	w.leave()
	if w.whereabouts("900") != at.Addr() || w.whereabouts("100") != at.Addr() || w.whereabouts("103").IsValid() {
		t.Error(w.whereabouts("900"), w.whereabouts("100"), w.whereabouts("103"))
	}
	for _, target := range []string{"sip:127.0.0.1:1;transport=tcp", "sip:nowhere.invalid"} {
		away := &trunk{Trunk: Trunk{Number: "901", Peer: target, Qualify: time.Minute}, server: w.Server}
		if method, err := away.checked(); err == nil {
			t.Errorf("a trunk whose peer is away responds to %s", method)
		}
	}
}

// Clients learn that a call alerts when the telephone or the network says so, and nothing of it before.
func TestAlerting(t *testing.T) {
	w, peer, _ := withTrunk(t, "0309876", nil)
	a, b, c := w.handset("100"), w.handset("101"), w.handset("102")
	quiet := func(events ...string) {
		t.Helper()
		for _, event := range events {
			if w.has("100", event) {
				t.Errorf("%s, too early", event)
			}
		}
	}
	rings := func(of *handset, in *sip.Invitation, code int) {
		t.Helper()
		if _, err := in.Progress(of, sip.Answer{Code: code}); err != nil {
			t.Fatal(err)
		}
	}
	forget := func() {
		w.leave()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = nil
	}

	// a telephone that refuses the call without ringing
	final, _ := a.call(t.Context(), "101")
	in := wait.Next(t, b.calls, "the call")
	rings(b, in, 182)
	quiet("Delivered")
	in.Reject(sip.Answer{Code: 488})
	wait.Next(t, final, "the refusal")
	if m := w.event("100", "Failed"); m.Text("cause") != "incompatibleDestination" || m.Text("failedConnection/deviceID") != "101" {
		t.Errorf("%s", m)
	}
	quiet("Delivered")
	forget()

	// telephones that ring by 180, by 183 or by nothing but the answer; one that the call is deflected from before it rings
	for _, code := range []int{180, 183, 200} {
		final, progress := a.call(t.Context(), "101")
		in := wait.Next(t, b.calls, "the call")
		w.event("100", "Originated")
		quiet("Delivered")
		if code < 200 {
			rings(b, in, code)
			w.event("101", "Delivered")
			w.event("100", "Delivered")
			if got := wait.Next(t, progress, "ringing"); got != 180 {
				t.Errorf("%d reaches the caller as %d", code, got)
			}
			quiet("Established")
		}
		d := b.answer(in)
		if o := wait.Next(t, final, "the answer"); o.err != nil {
			t.Fatal(o.err)
		}
		w.event("100", "Established")
		if delivered := w.has("100", "Delivered"); delivered != (code == 200) { // then it comes with the answer
			t.Errorf("after %d: Delivered %v", code, delivered)
		}
		d.Bye()
		wait.Next(t, a.ended, "the end")
		forget()
	}
	final, _ = a.call(t.Context(), "101")
	in = wait.Next(t, b.calls, "the call")
	stopped := make(chan struct{})
	in.OnCancel(func(sip.Causes) { close(stopped) })
	rings(b, in, 182) // so that it can be cancelled
	id := connection(w.event("100", "Originated"), "101")
	w.must(uacsta.DeflectCall{CallToBeDiverted: id, NewDestination: []uacsta.DeviceID{uacsta.Dev("102")}})
	wait.Next(t, stopped, "the end of the call at the first telephone")
	in = wait.Next(t, c.calls, "the deflected call")
	quiet("Delivered")
	rings(c, in, 180)
	w.event("102", "Delivered")
	w.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id.CallID, "100")})
	wait.Next(t, final, "the end")
	forget()

	// the network
	final, _ = a.call(t.Context(), "0301234")
	in = wait.Next(t, peer.calls, "the call to the network")
	w.event("100", "Originated")
	quiet("NetworkReached", "Delivered")
	rings(peer, in, 181)
	w.event("100", "NetworkReached")
	quiet("Delivered")
	rings(peer, in, 180)
	if m := w.event("100", "Delivered"); m.Text("alertingDevice/deviceIdentifier") != "0301234" || m.Text("cause") != "networkSignal" {
		t.Errorf("%s", m)
	}
	in.Reject(sip.Answer{Code: 404})
	wait.Next(t, final, "the refusal")
	w.event("100", "Failed")
	forget()
}

// A redirection by a trunk's peer is followed at its own host only, and to numbers that the caller may call, the best
// target first.
func TestTrunkRedirects(t *testing.T) {
	w, peer, at := withTrunk(t, "0309876", nil)
	a := w.handset("100")
	redirect := func(contacts string) {
		t.Helper()
		wait.Next(t, peer.calls, "the call").Reject(sip.Answer{Code: 302, Headers: []sip.Header{{Name: "Contact", Value: contacts}}})
	}
	final, _ := a.call(t.Context(), "0301234")
	here, away := "@"+at.String(), "@"+strings.Replace(at.String(), "127.0.0.1", "127.0.0.66", 1)
	redirect("<sip:evil" + away + ">, <sip:evil" + here + ";maddr=127.0.0.66>, <tel:evil>, <sip:third" + here + ">;q=0.1, <sip:first" + here + ">;q=0.9, <sip:second" + here + ">;q=0.5")
	for _, user := range []string{"first", "second"} {
		in := wait.Next(t, peer.calls, user)
		if in.URI() != "sip:"+user+here || !strings.HasPrefix(in.To().URI, "sip:0301234@") {
			t.Errorf("%s to %s, want %s", in.URI(), in.To().URI, user)
		}
		in.Reject(sip.Answer{Code: 486})
	}
	in := wait.Next(t, peer.calls, "third")
	d := peer.answer(in)
	if o := wait.Next(t, final, "the answer"); o.err != nil || !strings.HasPrefix(in.URI(), "sip:third@") {
		t.Fatal(o.err, in.URI())
	}
	w.event("100", "Established")
	d.Bye()
	wait.Next(t, a.ended, "the end")
	w.leave()

	final, _ = a.call(t.Context(), "0301234")
	redirect("<sip:evil" + away + ">")
	if o := wait.Next(t, final, "the refusal"); o.code() < 400 {
		t.Errorf("sent on to another host: %d %v", o.code(), o.err)
	}
	w.leave()

	final, _ = a.call(t.Context(), "0301234") // 100 may call numbers that begin with 0
	redirect("<sip:1900555" + here + ">;q=0.9, <sip:%31900555" + here + ">;q=0.8, <sip:0305678" + here + ">;q=0.5, <sip:0301234;x=y" + here + ">;q=0.4")
	for _, number := range []string{"0305678", "0301234;x=y"} {
		in := wait.Next(t, peer.calls, number)
		if in.URI() != "sip:"+number+here {
			t.Errorf("sent on to %s, want %s", in.URI(), number)
		}
		in.Reject(sip.Answer{Code: 486})
	}
	wait.Next(t, final, "the refusal")
	w.leave()
}

// A peer that refers a call to many places that it may not go to cannot fill the log.
func TestTrunkRedirectsOften(t *testing.T) {
	log := make(lines, 1000)
	w, peer, _ := withTrunk(t, "0309876", func(cfg *Config) { cfg.Telephones.Log = slog.New(slog.NewTextHandler(log, nil)) })
	began := time.Now()
	final, _ := w.handset("100").call(t.Context(), "0301234")
	var contacts []string
	for n := range 100 {
		contacts = append(contacts, fmt.Sprintf("<sip:%d@192.0.2.1>", n))
	}
	wait.Next(t, peer.calls, "the call").Reject(sip.Answer{Code: 302, Headers: []sip.Header{{Name: "Contact", Value: strings.Join(contacts, ",")}}})
	wait.Next(t, final, "the refusal")
	logged, most := 0, 1+int(time.Since(began)/time.Second)
	for len(log) > 0 {
		if strings.Contains(<-log, "refused a redirection") {
			logged++
		}
	}
	if logged == 0 || logged > most {
		t.Errorf("%d lines, want 1 to %d", logged, most)
	}
	w.leave()
}

// What telephones tell by uaCSTA changes features of the switch, and goes to clients.
func TestUpcalls(t *testing.T) {
	w := aWorld(t, "", nil)
	w.handset("100")
	up := upcalls{w.Server}
	send := func(ev any) { up.Event("100", uacsta.Encode(ev, uacsta.Edition3)) }
	send(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "7", Device: uacsta.Ext("100"), DoNotDisturbOn: true})
	if m := w.event("100", "DoNotDisturb"); m.Text("doNotDisturbOn") != "true" {
		t.Error(m)
	}
	to := uacsta.Dev("101")
	send(uacsta.ForwardingEvent{MonitorCrossRefID: "7", Device: uacsta.Ext("100"), ForwardingType: uacsta.ForwardBusy, ForwardStatus: true, ForwardTo: &to})
	if m := w.event("100", "Forwarding"); !strings.Contains(m.String(), "101") {
		t.Error(m)
	}
	send(uacsta.MicrophoneMuteEvent{MonitorCrossRefID: "7", InvokingDevice: uacsta.Ext("9"), MicrophoneMuteOn: true})
	if m := w.event("100", "MicrophoneMute"); !strings.Contains(m.String(), "<deviceIdentifier>100<") {
		t.Error(m)
	}
	send(uacsta.SpeakerMuteEvent{MonitorCrossRefID: "7", InvokingDevice: uacsta.Ext("9")})
	w.event("100", "SpeakerMute")
	send(uacsta.SpeakerVolumeEvent{MonitorCrossRefID: "7", InvokingDevice: uacsta.Ext("9")})
	w.event("100", "SpeakerVolume")
	send(uacsta.DeliveredEvent{MonitorCrossRefID: "7"}) // its calls are known from its legs
	if w.has("100", "Delivered") {
		t.Error("an event of a telephone about a call is passed on")
	}
	res, err := up.Ask("100", nil, uacsta.Encode(uacsta.GetDoNotDisturb{Device: uacsta.Dev("101")}, uacsta.Edition3))
	if err != nil || res.Text("doNotDisturbOn") != "true" {
		t.Errorf("of its own extension: %s %v", res, err)
	}
	if _, err := up.Ask("100", nil, uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("101"), CalledDirectoryNumber: uacsta.Dev("100")}, uacsta.Edition3)); err == nil {
		t.Error("a telephone makes calls outside dialogs")
	}
	up.Session("100", nil)
	up.Late("100", nil, nil, nil)
	up.Event("100", uacsta.NewMessage(uacsta.NamespaceED3, uacsta.NameMicrophoneMuteEvent)) // nothing of it can be read
	up.Standing("100", registrar.Standing{Reachable: true, Physical: true})
	if _, err := w.do(uacsta.GetMicrophoneMute{Device: uacsta.Dev("100")}); err == nil {
		t.Error("a telephone without session is asked")
	}
}

// What telephones show of features, messages and calls follows the switch.
func TestDocuments(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	document := func(name string) string {
		t.Helper()
		for _, d := range w.featureDocuments("100") {
			if d.Name == name {
				return d.Text
			}
		}
		t.Fatalf("no %q", name)
		return ""
	}
	set := func(contentType, body string) string { return w.changeFeature("100", contentType, []byte(body)) }
	const ns = ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"`
	if name := set(featureType, "<SetDoNotDisturb"+ns+"><device/><doNotDisturbOn>true</doNotDisturbOn></SetDoNotDisturb>"); name != "DoNotDisturb" || !strings.Contains(document(name), "<doNotDisturbOn>true<") {
		t.Errorf("%s: %s", name, document("DoNotDisturb"))
	}
	if name := set(featureType, "<SetForwarding"+ns+"><device/><forwardingType>forwardNoAns</forwardingType><activateForward>true</activateForward><forwardDN>101</forwardDN><ringCount>3</ringCount></SetForwarding>"); name != "Forwarding forwardNoAns" || !strings.Contains(document(name), "<forwardTo>101<") {
		t.Errorf("%s: %s", name, document("Forwarding forwardNoAns"))
	}
	if name := set(featureType, "<MakeCall"+ns+"/>"); name != "none" {
		t.Error(name)
	}
	if name := set("text/plain", "x"); name != "" {
		t.Error(name)
	}
	if list := w.featureDocuments("555"); list != nil {
		t.Error(list)
	}
	if d := w.waitingDocument("100"); !strings.Contains(d.Text, "Messages-Waiting: no\r\n") || !strings.Contains(d.Text, "sip:100@tr87proxy") {
		t.Error(d.Text)
	}
	w.must(uacsta.SetMessageWaitingIndicator{Device: uacsta.Dev("100"), MessageWaitingOn: true})
	if d := w.waitingDocument("100"); !strings.Contains(d.Text, "Messages-Waiting: yes\r\n") {
		t.Error(d.Text)
	}
	if d := w.dialogDocument("101", "102", false); strings.Contains(d.Text, "<dialog ") {
		t.Error(d.Text)
	}
	final, progress := a.call(t.Context(), "101")
	in := wait.Next(t, b.calls, "the call")
	b.ring(in)
	wait.Next(t, progress, "ringing")
	w.event("101", "Delivered")
	if d := w.dialogDocument("101", "102", false); !strings.Contains(d.Text, `direction="recipient"><state>early<`) || !strings.Contains(d.Text, "call-id=") || !strings.Contains(d.Text, "sip:100@") {
		t.Error(d.Text)
	}
	if d := w.dialogDocument("100", "102", false); !strings.Contains(d.Text, `direction="initiator"><state>confirmed<`) {
		t.Error(d.Text)
	}
	// Who may not replace a call does not learn its Call-ID and tags.
	for _, lamp := range [][2]string{{"101", "103"}, {"100", "102"}} {
		if d := w.dialogDocument(lamp[0], lamp[1], false); strings.Contains(d.Text, "call-id=") {
			t.Errorf("%s learns %s", lamp[1], d.Text)
		}
	}
	wait.For(t, "the dialog's identifiers", func() bool { // its leg gets them after the 180 has gone
		return strings.Contains(w.dialogDocument("100", "100", false).Text, "call-id=")
	})
	in.Reject(sip.Answer{Code: 486})
	wait.Next(t, final, "the refusal")
	w.leave()
}

// Features and registrations outlive a restart.
func TestRestart(t *testing.T) {
	path := t.TempDir() + "/state.db"
	keep := func(cfg *Config) { cfg.State = path }
	t.Run("before", func(t *testing.T) {
		w := aWorld(t, "", keep)
		w.must(uacsta.SetDoNotDisturb{Device: uacsta.Dev("101"), DoNotDisturbOn: true})
		w.event("101", "DoNotDisturb")
		device := uacsta.Dev("101")
		w.must(uacsta.SetCallerIDStatus{Device: &device})
		w.event("101", "CallerIDStatus")
	})
	t.Run("after", func(t *testing.T) {
		w := aWorld(t, "", keep)
		if res := w.must(uacsta.GetDoNotDisturb{Device: uacsta.Dev("101")}); res.Text("doNotDisturbOn") != "true" {
			t.Error(res)
		}
		device := uacsta.Dev("101")
		if res := w.must(uacsta.GetCallerIDStatus{Device: &device}); res.Text("callerIDProvided") != "false" {
			t.Error(res)
		}
		if _, err := New(Config{Switch: w.sw, State: path}); err == nil || !strings.Contains(err.Error(), "is in use") {
			t.Error(err)
		}
	})
}

// The log says which calls failed and why, and which telephone did not take the voice that was offered.
func TestFailedCallsInLog(t *testing.T) {
	said := make(lines, 100)
	w := aWorld(t, "sip:127.0.0.1:1;transport=tcp", func(cfg *Config) { cfg.Telephones.Log = slog.New(slog.NewTextHandler(said, nil)) })
	a, b, c := w.handset("101"), w.handset("102"), w.handset("100")
	wants := func(parts ...string) {
		t.Helper()
		for line := wait.Next(t, said, parts[0]); ; line = wait.Next(t, said, parts[0]) {
			if strings.Contains(line, parts[0]) {
				for _, part := range parts {
					if !strings.Contains(line, part) {
						t.Errorf("no %s in %s", part, line)
					}
				}
				return
			}
		}
	}
	final, _ := a.call(t.Context(), "0170123")
	if o := wait.Next(t, final, "the refusal"); o.code() != 403 {
		t.Errorf("%d %v", o.code(), o.err)
	}
	wants(`msg="a call failed"`, "device=101", "caller=101", "called=0170123", "cause=blocked")
	final, _ = c.call(t.Context(), "102")
	wait.Next(t, b.calls, "the call").Reject(sip.Answer{Code: 488})
	wait.Next(t, final, "the refusal")
	wants(`msg="telephone refused our offer of voice"`, "device=102", "code=488", "offered=RTP/AVP")
	wants(`msg="a call failed"`, "device=100", "called=102", "cause=incompatibleDestination")
	w.leave()
}

// lines is a log, line by line.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// A caller who gives up before the telephones follow the switch leaves nothing behind, and nobody is called: neither the
// number of who calls from outside, nor the telephone that has called.
func TestGivenUpAtOnce(t *testing.T) {
	peer := newPeer(t)
	at, err := peer.ua.ListenUDP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	devices := softswitch.Config{
		Extensions: []softswitch.Extension{{Number: "100", Real: true}, {Number: "108"}},
		Trunks:     []softswitch.Trunk{{Number: "900", Prefixes: []string{"0"}, Inward: map[string]string{"5550108": "108"}, Real: true}},
	}
	cfg := Config{Trunks: []Trunk{{Number: "900", Peer: "sip:" + at.String() + ";transport=udp"}}}
	if cfg.Switch, err = softswitch.New(devices); err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg) // which does not run, so that it follows the switch when we say so
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.sw.InService("100", true, false)
	for _, device := range []string{"900", "100"} {
		l, err := s.newLeg(device, s.trunks[device], at.Addr())
		if err != nil {
			t.Fatal(err)
		}
		var key int
		if l.trunk != nil {
			key, err = s.sw.Arrive(device, softswitch.Arrival{Called: "5550108", Caller: uacsta.Ext("0900123")}, l)
		} else {
			key, err = s.sw.Dial(device, "108", 0, false, l)
		}
		if err != nil {
			t.Fatal(err)
		}
		l.must(func() { // CANCEL
			l.hungUp = true
			l.gone("")
		})
		<-l.over
		s.follow(s.inbox.take())
		if state := s.sw.State(device, key); state != uacsta.Null && state != "" {
			t.Errorf("the connection of %s stays %s", device, state)
		}
		s.mu.Lock()
		if len(s.all) != 0 {
			t.Errorf("%s is called", device)
		}
		s.mu.Unlock()
		s.follow(s.inbox.take())
		s.mu.Lock()
		if len(s.parties)+len(s.leaving)+len(s.calls)+len(s.legs) != 0 {
			t.Errorf("%s leaves behind %v, %v, %v, %v", device, s.parties, s.leaving, s.calls, s.legs)
		}
		s.mu.Unlock()
	}
}
