package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// exchange is a tr87proxy whose switch has real telephones.
type exchange struct {
	*running
	sip    int // port of the telephones
	sipTLS int
	files  string // directory of its state, music and messages
}

// serveTelephones starts an exchange with the extensions 100 to 103, of which 102 may speak uaCSTA and
// 103 may not call outside. more is YAML for the key switch, and telephones has YAML for the key
// telephones, perhaps followed by grants. A line elsewhere in it goes into the key media.
func serveTelephones(t *testing.T, more, telephones string) *exchange {
	t.Helper()
	x := &exchange{sip: freePort(t), sipTLS: freePort(t)}
	dir := t.TempDir()
	x.files = dir
	writeTone(t, filepath.Join(dir, "music.wav"), tones["music"])
	if err := os.Mkdir(filepath.Join(dir, "messages"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeTone(t, filepath.Join(dir, "messages", "hello.wav"), tones["message"])
	sessions := "never" // with 102, which would open between what a handset played by hand expects
	if without, found := strings.CutPrefix(telephones, "uacsta: monitored\n"); found {
		sessions, telephones = "monitored", without
	}
	var b strings.Builder
	for n := 100; n < 104; n++ {
		outside := `, outside: ["0"]`
		if n == 103 {
			outside = ""
		}
		name := map[int]string{100: ", name: Alice"}[n]
		fmt.Fprintf(&b, "  - {number: \"%d\"%s, sip: {password: secret%d, uacsta: %s}%s}\n", n, name, n, map[bool]string{true: sessions, false: "never"}[n == 102], outside)
	}
	certificates(t, dir)
	access := everybody
	if strings.Contains(telephones, "trusted:") {
		access = ""
	}
	voice := "timeout: 1h" // handsets played by hand send none
	for key, inMedia := range map[string]string{"elsewhere: ": "timeout: 1h, elsewhere: ", "voice: ": "timeout: "} {
		if before, rest, found := strings.Cut(telephones, key); found {
			value, after, _ := strings.Cut(rest, "\n")
			voice, telephones = inMedia+value, before+after
		}
	}
	first := 10000 + 200*(phoneCount()%74) // below the ports that freePort finds
	fmt.Fprintf(&b, `%s
telephones:
  listen:
  - {transport: udp, address: "127.0.0.1:%[2]d"}
  - {transport: tcp, address: "127.0.0.1:%[2]d"}
  - {transport: tls, address: "127.0.0.1:%[8]d", certificate: %[3]s/cert.pem, key: %[3]s/key.pem}
  state: %[3]s/state.db
  music: %[3]s/music.wav
  messages: %[3]s/messages
  media: {ports: "%[4]d-%[5]d", %[9]s}
%[6]s
%[7]s`, more, x.sip, dir, first, first+190, telephones, access, x.sipTLS, voice)
	x.running = serve(t, b.String())
	return x
}

func (x *exchange) phone(number, mode string, media ...string) *softphone {
	x.t.Helper()
	p := baresip(x.t, x.sip, number, "secret"+number, mode, media...)
	waitFor(x.t, "the registration of "+number, func() bool {
		return strings.Contains(x.out.String(), "device="+number+" reachable=true")
	})
	return p
}

// overseer is a CSTA client that watches telephones.
type overseer struct {
	*xmlClient
	refs map[string]string // cross reference -> device
}

func (r *running) watch(devices ...string) *overseer {
	o := &overseer{xmlClient: r.xml(), refs: map[string]string{}}
	for _, d := range devices {
		o.refs[o.monitor(d)] = d
	}
	return o
}

// until waits for an event at a device, and returns it.
func (o *overseer) until(device, event string) *uacsta.Message {
	o.t.Helper()
	var seen []string
	for {
		m := o.hear()
		name := o.refs[m.CrossRef()] + " " + m.Name()
		seen = append(seen, name)
		if name == device+" "+event+"Event" {
			return m
		}
		if len(seen) > 200 {
			o.t.Fatalf("%s %s did not come: %v", device, event, seen)
		}
	}
}

// calls returns the connections of a device.
func (c *xmlClient) calls(device string) []uacsta.ConnectionID {
	var list []uacsta.ConnectionID
	res := c.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)})
	var snapshot uacsta.SnapshotDeviceResponse
	if err := res.Decode(&snapshot); err != nil {
		c.t.Fatal(err)
	}
	if data := snapshot.CrossRefIDorSnapshotData.SnapshotData; data != nil {
		for _, own := range data.SnapshotDeviceResponseInfo {
			list = append(list, own.ConnectionIdentifier)
		}
	}
	return list
}

// A telephone calls another by hand; each one's monitor sees it, and they hear each other,
// but not on hold.
func TestTelephones(t *testing.T) {
	long(t)
	x := serveTelephones(t, "", "")
	a, b := x.phone("100", "manual"), x.phone("101", "manual")
	o := x.watch("100", "101")
	a.do("dial", "101")
	o.until("100", "Originated")
	if m := o.until("101", "Delivered"); m.PrivateText("callingDeviceName") != "Alice" {
		t.Errorf("%s", m)
	}
	b.sees("CALL_INCOMING", 1)
	a.sees("CALL_RINGING", 1)
	b.do("accept", "")
	o.until("100", "Established")
	a.hears("101")
	b.hears("100")
	a.do("hold", "")
	o.until("101", "Held")
	b.hears("music")
	a.do("resume", "")
	o.until("101", "Retrieved")
	b.hears("100")
	b.do("hangup", "")
	o.until("100", "ConnectionCleared")
	a.sees("CALL_CLOSED", 1)
	x.stop()
}

// up makes a call between two telephones by CSTA and returns its connections.
func (o *overseer) up(a, b *softphone) (from, to uacsta.ConnectionID) {
	o.t.Helper()
	res := o.ask(call(a.number, b.number))
	id := res.Text("callingDevice/callID")
	if id == "" {
		o.t.Fatalf("%s", res)
	}
	o.until(b.number, "Established")
	return uacsta.Conn(id, a.number), uacsta.Conn(id, b.number)
}

// must sends a request that must succeed.
func (o *overseer) must(req any) *uacsta.Message {
	o.t.Helper()
	res := o.ask(req)
	if res.Err() != nil {
		o.t.Fatalf("%T: %s", req, res)
	}
	return res
}

// A CSTA client calls for its user, who hears the other before it holds, not on hold, and
// again after.
func TestMakeCallAndHold(t *testing.T) {
	long(t)
	x := serveTelephones(t, "", "")
	a, b := x.phone("100", "auto"), x.phone("101", "auto")
	o := x.watch("100", "101")
	from, to := o.up(a, b)
	a.hears("101")
	b.hears("100")
	o.must(uacsta.HoldCall{CallToBeHeld: from})
	o.until("101", "Held")
	b.hears("music")
	o.must(uacsta.RetrieveCall{CallToBeRetrieved: from})
	o.until("101", "Retrieved")
	b.hears("100") // this baresip writes no file any more at who was held
	o.must(uacsta.ClearConnection{ConnectionToBeCleared: to})
	a.sees("CALL_CLOSED", 1)
	b.sees("CALL_CLOSED", 1)
	x.stop()
}

// Consultation, alternation, and transfer to a third telephone, by CSTA: none of the
// telephones knows of it.
func TestConsultAndTransfer(t *testing.T) {
	long(t)
	x := serveTelephones(t, "", "")
	a, b, c := x.phone("100", "auto"), x.phone("101", "auto"), x.phone("102", "auto")
	o := x.watch("100", "101", "102")
	held, _ := o.up(a, b)
	a.hears("101")
	res := o.must(uacsta.ConsultationCall{ExistingCall: held, ConsultedDevice: uacsta.Dev("102")})
	active := uacsta.Conn(res.Text("initiatedCall/callID"), "100")
	o.until("102", "Established")
	a.hears("102")
	c.hears("100")
	b.hears("music")
	o.must(uacsta.AlternateCall{HeldCall: held, ActiveCall: active})
	a.hears("101")
	b.hears("100")
	c.hears("music")
	o.must(uacsta.TransferCall{HeldCall: active, ActiveCall: held})
	o.until("101", "Transfered")
	a.sees("CALL_CLOSED", 1)
	b.hears("102")
	c.hears("101")
	x.stop()
}

// In a conference each hears both others, and one who only listens is not heard.
func TestConference(t *testing.T) {
	long(t)
	x := serveTelephones(t, "", "")
	a, b, c, d := x.phone("100", "auto"), x.phone("101", "auto"), x.phone("102", "auto"), x.phone("103", "auto")
	o := x.watch("100", "101", "102")
	held, _ := o.up(a, b)
	res := o.must(uacsta.ConsultationCall{ExistingCall: held, ConsultedDevice: uacsta.Dev("102")})
	o.until("102", "Established")
	joined := o.must(uacsta.ConferenceCall{HeldCall: held, ActiveCall: uacsta.Conn(res.Text("initiatedCall/callID"), "100")})
	o.until("101", "Conferenced")
	a.hears("101", "102")
	b.hears("100", "102")
	c.hears("100", "101")
	conference := uacsta.Conn(joined.Text("conferenceCall/callID"), "100")
	o.must(uacsta.SingleStepConferenceCall{ActiveCall: conference, DeviceToJoin: uacsta.Dev("103"), ParticipationType: uacsta.ParticipationSilent})
	d.hears("100", "101", "102")
	a.hears("101", "102")
	o.must(uacsta.ClearConnection{ConnectionToBeCleared: conference})
	a.sees("CALL_CLOSED", 1)
	b.hears("102")
	x.stop()
}

// A call that rings is deflected, forwarded in each way, or transferred by the telephone's
// user.
func TestSendOn(t *testing.T) {
	long(t)
	x := serveTelephones(t, "  ring-cycle: 500ms\n", "")
	a, b, c := x.phone("100", "auto"), x.phone("101", "manual"), x.phone("102", "auto")
	o := x.watch("100", "101", "102")
	over := func(n int) {
		t.Helper()
		c.sees("CALL_ESTABLISHED", n)
		o.until("102", "Established")
		a.hears("102")
		c.hears("100")
		a.do("hangup", "")
		o.until("102", "ConnectionCleared")
		c.sees("CALL_CLOSED", n)
	}
	res := o.must(call("100", "101"))
	o.until("101", "Delivered")
	b.sees("CALL_INCOMING", 1)
	o.must(uacsta.DeflectCall{CallToBeDiverted: uacsta.Conn(res.Text("callingDevice/callID"), "101"), NewDestination: []uacsta.DeviceID{uacsta.Dev("102")}})
	b.sees("CALL_CLOSED", 1)
	over(1)
	to := uacsta.Dev("102")
	forward := func(kind uacsta.ForwardingType, on bool) {
		rings := 2
		o.must(uacsta.SetForwarding{Device: uacsta.Dev("101"), ForwardingType: kind, ActivateForward: on, ForwardDN: &to, RingCount: &rings})
	}
	for i, kind := range []uacsta.ForwardingType{uacsta.ForwardImmediate, uacsta.ForwardNoAns, uacsta.ForwardBusy} {
		forward(kind, true)
		a.do("dial", "101")
		if kind == uacsta.ForwardBusy {
			b.sees("CALL_INCOMING", 3)
			b.do("hangup", "") // 486
		}
		over(i + 2)
		forward(kind, false)
	}
	// the user transfers: REFER
	_, _ = o.up(a, c)
	a.hears("102")
	a.do("transfer", "101")
	o.until("102", "Transfered")
	b.sees("CALL_INCOMING", 4)
	b.do("accept", "")
	b.hears("102")
	c.hears("101")
	x.stop()
}

// Telephones that are not what one hopes for: with a wrong password, killed in a call, one
// that never answers.
func TestUnhappyTelephones(t *testing.T) {
	long(t)
	x := serveTelephones(t, "  alert-time: 2s\n", "voice: 3s\n")
	wrong := baresip(t, x.sip, "103", "guessed", "auto")
	wrong.sees("REGISTER_FAIL", 1)
	a, b := x.phone("100", "manual"), x.phone("101", "auto")
	o := x.watch("100", "101")
	if res := o.ask(call("103", "101")); res.Err() == nil || res.Err().Value != "callingDeviceOutOfService" {
		t.Errorf("%s", res)
	}
	a.do("dial", "103")
	if m := o.until("100", "Failed"); m.Text("cause") != "destOutOfOrder" {
		t.Errorf("%s", m)
	}
	a.sees("CALL_CLOSED", 1)
	b.do("dial", "100")
	o.until("100", "Delivered")
	a.sees("CALL_INCOMING", 1)
	if m := o.until("101", "ConnectionCleared"); m.Text("cause") == "" {
		t.Errorf("%s", m)
	}
	a.sees("CALL_CLOSED", 2)
	b.sees("CALL_CLOSED", 1)
	if calls := o.calls("100"); len(calls) != 0 {
		t.Errorf("a call that nobody answers is still there: %v", calls)
	}
	a.do("dial", "101")
	o.until("101", "Established")
	b.hears("100")
	_ = b.cmd.Process.Kill()
	o.until("100", "ConnectionCleared")
	a.sees("CALL_CLOSED", 3)
	waitFor(t, "the end of the call", func() bool { return len(o.calls("101")) == 0 && len(o.calls("100")) == 0 })
	x.stop()
}

// A message is played in a call, the call is recorded, and digits go through.
func TestMessages(t *testing.T) {
	long(t)
	x := serveTelephones(t, "", "")
	a, b := x.phone("100", "auto"), x.phone("101", "auto")
	o := x.watch("100", "101")
	from, to := o.up(a, b)
	b.hears("100")
	for _, name := range []string{"../state.db", "/etc/passwd", "none"} {
		if res := o.ask(uacsta.PlayMessage{MessageToBePlayed: name, OverConnection: from}); res.Err() == nil || res.Err().Value != "invalidMsgID" {
			t.Errorf("%s: %s", name, res)
		}
	}
	recorded := o.must(uacsta.RecordMessage{CallToBeRecorded: from}).Text("resultingMessage")
	o.until("100", "Record")
	o.must(uacsta.PlayMessage{MessageToBePlayed: "hello", OverConnection: from})
	o.until("101", "Play")
	b.hears("100", "message")
	a.hears("101", "message")
	o.must(uacsta.Stop{Connection: from, MessageToBeStopped: "hello"})
	o.stops("101", uacsta.CauseNormal)
	b.hears("100")
	o.must(uacsta.Stop{Connection: from, MessageToBeStopped: recorded})
	o.stops("100", uacsta.CauseMessageDurationExceeded)
	data, err := os.ReadFile(recorded)
	if err != nil || len(data) < 8000 {
		t.Fatal(len(data), err)
	}
	samples := pcm(data)
	for _, name := range []string{"100", "101", "message"} {
		if share(samples, tones[name]) < 0.02 {
			t.Errorf("%s is not in the recording", name)
		}
	}
	o.must(uacsta.GenerateDigits{ConnectionToSendDigits: from, CharactersToSend: "5"})
	o.until("101", "DigitsGenerated")
	b.sees("CALL_DTMF_START", 1)
	b.do("sndcode", "7")
	if m := o.until("100", "DtmfDetected"); m.Text("dtmfChar") != "7" || m.Text("overConnection/deviceID") != to.DeviceID.ID {
		t.Errorf("%s", m)
	}
	a.sees("CALL_DTMF_START", 1)
	x.stop()
}

// A call waits in a queue with an announcement, until an agent answers; a hunt group's next
// member rings when one is busy; who hangs up with a call on hold is called back.
func TestQueueHuntAndRecall(t *testing.T) {
	long(t)
	x := serveTelephones(t, `  queues: [{number: "300", announcement: hello}]
  hunt-groups: [{number: "200", members: ["101", "102"]}]
`, "")
	a, b, c := x.phone("100", "manual"), x.phone("101", "manual"), x.phone("102", "auto")
	o := x.watch("100", "101", "102")
	a.do("dial", "300")
	o.until("100", "Queued")
	a.hears("message")
	agent := uacsta.SetAgentState{Device: uacsta.Dev("102"), RequestedAgentState: uacsta.RequestLoggedOn, AgentID: "7"}
	o.must(agent)
	agent.RequestedAgentState = uacsta.RequestReady
	o.must(agent)
	o.until("102", "Established")
	a.hears("102")
	c.hears("100")
	a.do("hangup", "")
	o.until("102", "ConnectionCleared")
	c.sees("CALL_CLOSED", 1)
	a.do("dial", "200")
	b.sees("CALL_INCOMING", 1)
	b.do("hangup", "") // 486: the next one
	o.until("102", "Established")
	a.hears("102")
	// one call is held for another by CSTA; the telephone's user hangs up: it rings again
	o.must(uacsta.ConsultationCall{ExistingCall: o.calls("102")[0], ConsultedDevice: uacsta.Dev("101")})
	b.sees("CALL_INCOMING", 2)
	a.hears("music")
	c.hears("ringback")
	c.do("hangup", "")
	for o.until("102", "Delivered").Text("cause") != "recall" {
	}
	o.until("102", "Established")
	a.hears("102")
	a.do("hangup", "")
	o.until("102", "ConnectionCleared")
	x.stop()
}

// The demonstration with telephones, as a newcomer sees it.
func TestDemoPhones(t *testing.T) {
	long(t)
	port := freePort(t)
	demo := start(t, program(t), "demo", "--phones", "--once", "--phone-port", fmt.Sprint(port))
	waitFor(t, "the instructions", func() bool { return strings.Contains(demo.out.String(), "lift both") })
	for _, number := range []string{"100", "101"} {
		baresip(t, port, number, "demo", "auto")
	}
	if err := demo.wait(patience); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"BackInService     at 101", "Held              at 101", "Retrieved         at 100", "ConnectionCleared at 101"} {
		if !strings.Contains(demo.out.String(), want) {
			t.Errorf("no %q in\n%s", want, demo.out)
		}
	}
}
